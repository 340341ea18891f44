package accounts

import (
	"strings"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// Org is an organisation: the boundary that no caller sees across.
type Org struct {
	ID        ident.OrgID
	Name      string
	Slug      string // unique, for people to type: see checkSlug
	Status    Status
	CreatedAt time.Time
}

// maxSlug is the longest slug, the length of a DNS label.
const maxSlug = 63

// checkSlug accepts lower-case letters, digits and single hyphens inside.
func checkSlug(s string) error {
	ok := s != "" && len(s) <= maxSlug && s[0] != '-' && s[len(s)-1] != '-' && !strings.Contains(s, "--")
	for _, c := range []byte(s) {
		ok = ok && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-')
	}
	if !ok {
		return fault.Refuse("slug", "must be 1 to 63 characters of a-z, 0-9 and single hyphens inside")
	}
	return nil
}

// slugOf proposes a slug for a name, with room left for a suffix.
func slugOf(name string) string {
	var b strings.Builder
	for _, c := range strings.ToLower(name) {
		switch {
		case c >= 'a' && c <= 'z' || c >= '0' && c <= '9':
			b.WriteRune(c)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
		if b.Len() >= maxSlug-12 { // leave room for a suffix
			break
		}
	}
	if s := strings.TrimRight(b.String(), "-"); s != "" {
		return s
	}
	return "org"
}

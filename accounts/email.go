package accounts

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"github.com/tokenhouse/tokenhouse/internal/fault"
)

// maxEmail is the longest e-mail address, in bytes (RFC 5321 §4.5.3.1.3: a
// path of 256 less the angle brackets).
const maxEmail = 254

// Email is an address and the form under which it is unique.
type Email struct {
	Typed     string // without spaces around it
	Canonical string // NFKC, case-folded, the domain in Punycode
}

// domains reads a domain as a browser would, and refuses what DNS cannot hold.
var domains = idna.New(idna.MapForLookup(), idna.Transitional(false), idna.BidiRule(), idna.StrictDomainName(true), idna.VerifyDNSLength(true))

// ParseEmail reads an address once and for all: nothing else in tokenhouse
// takes an address apart. It accepts a dot-string with the letters of any
// language (RFC 5321 §4.1.2, RFC 6531 §3.3) and a domain name; quoted local
// parts, comments, address literals and trailing dots are refused.
func ParseEmail(s string) (Email, error) {
	typed := strings.TrimSpace(s)
	if detail := emailTrouble(typed); detail != "" {
		return Email{}, fault.Refuse("email", detail)
	}
	canonical, ok := canonicalEmail(typed)
	if !ok {
		return Email{}, fault.Refuse("email", "must be an address of the form name@example.com")
	}
	return Email{Typed: typed, Canonical: canonical}, nil
}

// Identifier returns the one spelling of what a person typed to log in, so
// that every variant of an address meets the same account and the same
// counters. It is total: a text that is no address has an identifier too.
func Identifier(s string) string {
	if e, err := ParseEmail(s); err == nil {
		return e.Canonical
	}
	return folded(strings.TrimSpace(strings.ToValidUTF8(s, "\uFFFD")))
}

// emailTrouble says what a person can put right by themselves.
func emailTrouble(s string) string {
	switch {
	case s == "":
		return "must not be empty"
	case len(s) > maxEmail:
		return "must have at most 254 bytes"
	case !utf8.ValidString(s):
		return "must be valid UTF-8"
	case strings.Count(s, "@") != 1:
		return "must contain exactly one @"
	case strings.ContainsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }):
		return "must not contain spaces or control characters"
	}
	return ""
}

func canonicalEmail(s string) (string, bool) {
	s = folded(s)
	// A look-alike of @ has become one by now: what was refused to be counted
	// above must not slip through here.
	local, domain, ok := strings.Cut(s, "@")
	if !ok || strings.Contains(domain, "@") || !dotString(local) || strings.HasSuffix(domain, ".") {
		return "", false
	}
	ascii, err := domains.ToASCII(domain)
	if err != nil || strings.HasSuffix(ascii, ".") {
		return "", false
	}
	// A label that decodes to something which does not encode to it again has
	// two spellings.
	if again, err := domains.ToUnicode(ascii); err != nil || mustASCII(again) != ascii {
		return "", false
	}
	canonical := local + "@" + ascii
	return canonical, len(canonical) <= maxEmail && len(local) <= 64 // RFC 5321 §4.5.3.1.1
}

func mustASCII(domain string) string {
	ascii, err := domains.ToASCII(domain)
	if err != nil {
		return ""
	}
	return ascii
}

// folded returns s in compatibility form and without case. Folding can undo
// the normal form, so both are repeated until nothing changes.
func folded(s string) string {
	for range 8 {
		next := norm.NFKC.String(cases.Fold().String(norm.NFKC.String(s)))
		if next == s {
			break
		}
		s = next
	}
	return s
}

// dotString reports whether s is atoms joined by dots.
func dotString(s string) bool {
	if s == "" || s[0] == '.' || s[len(s)-1] == '.' || strings.Contains(s, "..") {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return r != '.' && !atext(r) })
}

// atext reports the characters of an atom: RFC 5322 §3.2.3, and beyond ASCII
// whatever leaves a visible mark, since two addresses must not look alike by an
// invisible difference.
func atext(r rune) bool {
	if r < utf8.RuneSelf {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("!#$%&'*+-/=?^_`{|}~", r)
	}
	return unicode.IsGraphic(r) && !unicode.IsSpace(r) &&
		!unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

package oauth

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strings"

	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// Subjects tells clients by which sub they know a user (OpenID Connect Core
// 1.0 §8).
type Subjects struct {
	// Key makes pairwise subjects, 32 bytes. It is the same for ever: a sub is
	// never given to another user, and a user keeps theirs.
	Key []byte
}

// Sub is what the client is told: the user's id, or what only the clients of
// one sector know the user by.
func (s *Subjects) Sub(r Registered, user ident.UserID) string {
	if !r.Settings.Subject.Pairwise {
		return string(user)
	}
	mac := hmac.New(sha256.New, s.Key)
	mac.Write([]byte(sectorOf(r) + "|" + string(user)))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// SubjectTypes lists both (OpenID Connect Discovery 1.0 §3).
func SubjectTypes() []string { return []string{"public", "pairwise"} }

// sectorOf is the sector identifier (OpenID Connect Core 1.0 §8.1). A client
// without one is a sector of its own.
func sectorOf(r Registered) string {
	return cmp.Or(strings.ToLower(r.Sector()), string(r.ID))
}

package verify

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// Claims is what a verified token says (RFC 9068 §2.2). Values may be shared
// between requests: read, do not write.
type Claims struct {
	Issuer      string
	Subject     string    // sub: "user_…"
	Audience    []string  // aud, a list of one where the token has a string
	ExpiresAt   time.Time // exp
	NotBefore   time.Time // nbf; zero where absent
	IssuedAt    time.Time // iat
	ID          string    // jti: names this token
	SessionID   string    // sid: names the login; empty where there is none
	OrgID       string    // org_id: the organisation everything is filtered by; never empty
	Roles       []string
	Permissions []string
	ClientID    string
	Scope       string // space separated (RFC 8693 §4.2)
	// Raw is the whole payload, for claims that this package does not know.
	Raw json.RawMessage
}

// Allows reports whether the token carries the permission, "resource:action",
// or a wildcard that covers it ("agents:*", "*:read", "*:*").
func (c Claims) Allows(permission string) bool {
	return slices.ContainsFunc(c.Permissions, func(p string) bool { return covers(p, permission) })
}

func covers(p, want string) bool {
	if p == want {
		return true
	}
	pr, pa, ok := strings.Cut(p, ":")
	wr, wa, wok := strings.Cut(want, ":")
	return ok && wok && (pr == "*" || pr == wr) && (pa == "*" || pa == wa)
}

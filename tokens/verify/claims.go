package verify

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
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
	Bound       Bound
	// Raw is the whole payload, for claims that this package does not know.
	Raw json.RawMessage
}

// Bound is what the token stands and falls with beside its own id, its session
// and its subject.
type Bound struct {
	KeyID    string // key_id: the API key the token was exchanged for; mostly empty
	SignedBy string // kid of the signing key, from the header
	Status   Status // its URI is empty where the token names no status list
}

// Status names one entry of a status list (draft-ietf-oauth-status-list §6.2).
type Status struct {
	URI   string
	Index uint32
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

// readClaims decodes a payload whose signature held. A claim of the wrong type
// makes the token invalid: it is never taken for an absent one.
func readClaims(payload json.RawMessage) (Claims, error) {
	ms, err := members(payload)
	if err != nil {
		return Claims{}, ErrInvalid.because("payload: %v", err)
	}
	c := Claims{Raw: payload}
	for _, m := range ms {
		if !c.read(m) {
			return Claims{}, ErrInvalid.because("the claim %s is not of its type", m.name)
		}
	}
	if c.ExpiresAt.IsZero() || c.IssuedAt.IsZero() {
		return Claims{}, ErrInvalid.because("the token has no exp or no iat")
	}
	return c, nil
}

// read takes one claim; false where it is not of its type.
func (c *Claims) read(m member) (ok bool) {
	switch m.name {
	case "iss":
		c.Issuer, ok = asString(m.raw)
	case "sub":
		c.Subject, ok = asString(m.raw)
	case "aud":
		c.Audience, ok = asAudience(m.raw)
	case "exp":
		c.ExpiresAt, ok = asTime(m.raw)
	case "nbf":
		c.NotBefore, ok = asTime(m.raw)
	case "iat":
		c.IssuedAt, ok = asTime(m.raw)
	case "jti":
		c.ID, ok = asString(m.raw)
	case "sid":
		c.SessionID, ok = asString(m.raw)
	case "org_id":
		c.OrgID, ok = asString(m.raw)
	case "roles":
		c.Roles, ok = asStrings(m.raw)
	case "permissions":
		c.Permissions, ok = asStrings(m.raw)
	case "client_id":
		c.ClientID, ok = asString(m.raw)
	case "scope":
		c.Scope, ok = asString(m.raw)
	case "key_id":
		c.Bound.KeyID, ok = asString(m.raw)
	case "status":
		c.Bound.Status, ok = asStatus(m.raw)
	default:
		ok = true
	}
	return ok
}

// asStatus reads a status claim. Other mechanisms than a status list may stand
// in it; they are nobody's here.
func asStatus(raw json.RawMessage) (s Status, ok bool) {
	ms, err := members(raw)
	if err != nil {
		return s, false
	}
	for _, m := range ms {
		if m.name != "status_list" {
			continue
		}
		var list struct {
			Index *uint32 `json:"idx"`
			URI   *string `json:"uri"`
		}
		if json.Unmarshal(m.raw, &list) != nil || list.Index == nil || list.URI == nil || *list.URI == "" {
			return s, false
		}
		s = Status{URI: *list.URI, Index: *list.Index}
	}
	return s, true
}

// asAudience reads aud, a string or a list of strings (RFC 7519 §4.1.3).
func asAudience(raw json.RawMessage) ([]string, bool) {
	if s, ok := asString(raw); ok {
		return []string{s}, true
	}
	return asStrings(raw)
}

// lastSecond is the end of the year 9999: later than any expiry that is meant.
const lastSecond = 253402300799

// asTime reads a NumericDate (RFC 7519 §2), a fraction included. A number that
// is not positive, not finite or beyond the year 9999 is refused, so that no
// overflow makes a token eternal.
func asTime(raw json.RawMessage) (time.Time, bool) {
	if c := raw[0]; c < '0' || c > '9' {
		return time.Time{}, false
	}
	if n, err := strconv.ParseInt(string(raw), 10, 64); err == nil {
		return time.Unix(n, 0).UTC(), n > 0 && n <= lastSecond
	}
	f, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || f <= 0 || f > lastSecond {
		return time.Time{}, false
	}
	whole, fraction := math.Modf(f)
	return time.Unix(int64(whole), int64(fraction*1e9)).UTC(), true
}

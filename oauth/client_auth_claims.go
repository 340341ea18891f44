package oauth

import (
	"bytes"
	"encoding/json"
	"errors"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// assertionClaims is what an assertion says of itself (RFC 7523 §3). A claim of
// another type than here makes it unreadable: an aud that is a list, above all.
type assertionClaims struct {
	Issuer    string      `json:"iss"`
	Subject   string      `json:"sub"`
	Audience  string      `json:"aud"`
	ID        string      `json:"jti"`
	ExpiresAt numericDate `json:"exp"`
	NotBefore numericDate `json:"nbf"`
	IssuedAt  numericDate `json:"iat"`
}

// good reports whether the assertion is the client's, for us, and of now. Two
// clocks never agree, so each comparison allows clockSkew.
func (c assertionClaims) good(client ident.ClientID, issuer string, now time.Time) bool {
	future, past := now.Add(clockSkew), now.Add(-clockSkew)
	switch {
	case c.Issuer != string(client) || c.Subject != string(client) || c.Audience != issuer:
		return false
	case c.ID == "" || len(c.ID) > maxJTI:
		return false
	case c.ExpiresAt == 0 || !c.ExpiresAt.time().After(past) || c.ExpiresAt.time().After(future.Add(assertionTTL)):
		return false
	default:
		return !c.NotBefore.time().After(future) && !c.IssuedAt.time().After(future)
	}
}

// numericDate is whole seconds since 1970 (RFC 7519 §2); 0 where absent. A
// fraction is cut off.
type numericDate int64

func (n numericDate) time() time.Time { return time.Unix(int64(n), 0) }

var errNoDate = errors.New("not a date in seconds")

// UnmarshalJSON reads a number that a date can be.
func (n *numericDate) UnmarshalJSON(b []byte) error {
	var f float64
	if bytes.Equal(b, []byte("null")) || json.Unmarshal(b, &f) != nil || f < 1 || f > 1<<40 {
		return errNoDate
	}
	*n = numericDate(f)
	return nil
}

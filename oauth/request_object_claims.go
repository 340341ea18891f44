package oauth

import (
	"slices"

	"github.com/tokenhouse/tokenhouse/tokens"
)

// objectClaims is what a request object says of itself (RFC 9101 §4).
type objectClaims struct {
	Issuer    string          `json:"iss"`
	Subject   string          `json:"sub"`
	Audience  tokens.Audience `json:"aud"`
	ExpiresAt numericDate     `json:"exp"`
	NotBefore numericDate     `json:"nbf"`
	IssuedAt  numericDate     `json:"iat"`
}

// trouble says what is wrong with a request object whose signature is good;
// empty where nothing is. One that is sent along must say how long it counts.
// One that the client registered the address of is what the client leaves
// there: OpenID Connect Core 1.0 §6.2 asks for no dates.
func (c objectClaims) trouble(q *authorizing, fetched bool) string {
	future, past := q.now.Add(clockSkew), q.now.Add(-clockSkew)
	switch {
	case c.Issuer != "" && c.Issuer != string(q.client.ID):
		return "The iss of the request object is not the client."
	case c.Subject == string(q.client.ID): // RFC 9101 §10.8.1: it would be a client assertion
		return "The sub of the request object must not be the client."
	case !slices.Contains(c.Audience, q.Issuer) && (len(c.Audience) > 0 || !fetched):
		return "The aud of the request object is not this server."
	case !fetched && (c.ExpiresAt == 0 || c.NotBefore == 0):
		return "The request object needs nbf and exp."
	case c.ExpiresAt != 0 && !c.ExpiresAt.time().After(past):
		return "The request object has expired."
	case c.NotBefore.time().After(future):
		return "The request object does not count yet."
	case c.NotBefore != 0 && c.NotBefore.time().Before(past.Add(-objectTTL)):
		return "The nbf of the request object is more than an hour ago."
	case c.NotBefore != 0 && c.ExpiresAt != 0 && c.ExpiresAt.time().Sub(c.NotBefore.time()) > objectTTL:
		return "The request object lives for more than an hour."
	case c.IssuedAt.time().After(future):
		return "The request object was issued in the future."
	}
	return ""
}

package tokens

import (
	"encoding/json"

	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// AccessTokenType is the typ header of an access token (RFC 9068 §2.1).
const AccessTokenType = "at+jwt"

// Claims is the payload of an access token: the claims of RFC 9068 §2.2 and,
// for this house, the session (sid), the organisation (org_id) and what the
// bearer may do in it. Times are whole seconds since 1970 (RFC 7519 §2).
//
// There is no member for claims from elsewhere, so nothing a user, an
// administrator or a client can set ever stands beside the reserved names.
type Claims struct {
	Issuer      string          `json:"iss"`
	Subject     ident.UserID    `json:"sub"`
	Audience    Audience        `json:"aud"`
	ExpiresAt   int64           `json:"exp"`
	IssuedAt    int64           `json:"iat"`
	NotBefore   int64           `json:"nbf"`
	ID          ident.TokenID   `json:"jti"`
	Session     ident.SessionID `json:"sid,omitempty"`
	Org         ident.OrgID     `json:"org_id,omitempty"`
	Roles       []string        `json:"roles"`       // never null
	Permissions []string        `json:"permissions"` // concrete ones, never null
	Client      ident.ClientID  `json:"client_id"`
	// Key is the API key that the token was exchanged for (RFC 8693); it dies with it.
	Key    ident.APIKeyID `json:"key_id,omitempty"`
	Status *StatusClaim   `json:"status,omitempty"`
	Scope  string         `json:"scope"` // what was granted, space separated (RFC 8693 §4.2): the permissions, and of OpenID Connect
}

// Audience is the aud of a token: whom it is for (RFC 7519 §4.1.3).
type Audience []string

// MarshalJSON writes one value as a string, several as a list.
func (a Audience) MarshalJSON() ([]byte, error) {
	if len(a) == 1 {
		return json.Marshal(a[0])
	}
	return json.Marshal([]string(a))
}

// UnmarshalJSON reads both forms.
func (a *Audience) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*a = Audience{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(a))
}

// Payload returns the claims as the JSON that is signed. It fails for none.
func (c Claims) Payload() ([]byte, error) {
	if c.Roles == nil {
		c.Roles = []string{}
	}
	if c.Permissions == nil {
		c.Permissions = []string{}
	}
	return json.Marshal(c)
}

package oauth

import (
	"encoding/json"
	"fmt"
	"time"
)

// Authorization is what a user allowed a client: what an authorization code
// stands for, and then the family of tokens it was redeemed for.
type Authorization struct {
	Scopes    Scopes        `json:"scope"`
	Resources []string      `json:"resource,omitempty"` // RFC 8707; empty: the default audience
	Claims    ClaimsRequest `json:"claims,omitzero"`
	Nonce     string        `json:"nonce,omitempty"` // for the first ID token only (OpenID Connect Core 1.0 §12.2)
	// Authenticated is when and how the user proved who they are.
	Authenticated Authentication `json:"auth"`
}

// Authentication is how a user proved who they are.
type Authentication struct {
	Time    int64    `json:"time"`          // auth_time, seconds since 1970
	Methods []string `json:"amr,omitempty"` // RFC 8176
	ACR     string   `json:"acr,omitempty"` // the class that was reached and asked for
	// TimeWanted: max_age or require_auth_time makes auth_time a duty (OpenID Connect Core 1.0 §2).
	TimeWanted bool `json:"time_wanted,omitempty"`
}

// At is Time as a time.
func (a Authentication) At() time.Time { return time.Unix(a.Time, 0).UTC() }

// ClaimsRequest is the claims parameter (OpenID Connect Core 1.0 §5.5), as far
// as it names claims we have: which are wanted where.
type ClaimsRequest struct {
	IDToken  []string `json:"id_token,omitempty"`
	UserInfo []string `json:"userinfo,omitempty"`
}

// IsZero reports whether nothing is asked for.
func (c ClaimsRequest) IsZero() bool { return len(c.IDToken) == 0 && len(c.UserInfo) == 0 }

// text is the authorization as storage keeps it.
func (a Authorization) text() (string, error) {
	b, err := json.Marshal(a)
	return string(b), err
}

// readAuthorization is the inverse of text; the zero Authorization for "".
func readAuthorization(text string) (a Authorization, err error) {
	if text == "" {
		return a, nil
	}
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		return a, fmt.Errorf("read an authorization: %w", err)
	}
	return a, nil
}

package oauth

import (
	"time"

	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// Consent is what a user allows a client without being asked again.
type Consent struct {
	User      ident.UserID
	Client    ident.ClientID
	Scopes    Scopes
	GrantedAt time.Time // first
	UpdatedAt time.Time // last
}

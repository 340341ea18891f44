package oauth

import (
	"context"
	"errors"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/tokens"
)

// Consent is what a user allows a client without being asked again.
type Consent struct {
	User      ident.UserID
	Client    ident.ClientID
	Scopes    Scopes
	GrantedAt time.Time // first
	UpdatedAt time.Time // last
}

// Consents shows people what they allowed, and takes it back. Every field is
// required.
type Consents struct {
	Store    AuthorizationStore
	Clients  ClientSource
	Sessions *tokens.Service
	Now      func() time.Time
}

// GivenConsent is a consent, and to whom.
type GivenConsent struct {
	Consent
	ClientName string
}

// List returns everything the caller allows, in whichever organisation. Who is
// not a person allowed nothing.
func (s *Consents) List(ctx context.Context, c ident.Caller) ([]GivenConsent, error) {
	if c.Kind != ident.Person {
		return nil, nil
	}
	found, err := s.Store.Consents(ctx, c.User)
	if err != nil {
		return nil, err
	}
	out := make([]GivenConsent, len(found))
	for i, given := range found {
		r, err := s.Clients.Lookup(ctx, given.Client)
		if err != nil && !errors.Is(err, fault.NotFound) { // deleted meanwhile
			return nil, err
		}
		out[i] = GivenConsent{given, r.Name}
	}
	return out, nil
}

// Withdraw takes back what the caller allows a client: its sessions of this
// user end in the same commit, offline or not, and its codes are no good. It
// is fault.NotFound where nothing is allowed.
func (s *Consents) Withdraw(ctx context.Context, c ident.Caller, client ident.ClientID) error {
	if c.Kind != ident.Person {
		return fault.NotFound
	}
	now := s.Now().Truncate(time.Microsecond)
	return s.Store.InAuthorizationTx(ctx, func(tx AuthorizationTx) error {
		if err := tx.DeleteConsent(c.User, client); err != nil {
			return err
		}
		ended := tokens.Ending{User: c.User, Client: client, Reason: "consent_withdrawn", At: now}
		if _, err := s.Sessions.EndIn(tx, c, ended); err != nil {
			return err
		}
		return tx.Record(audit.By(c, now, audit.ConsentWithdrawn, audit.Target{Type: "client", ID: string(client)}))
	})
}

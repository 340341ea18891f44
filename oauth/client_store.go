package oauth

import (
	"context"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// ClientStore keeps registered clients. They are read with their secrets,
// current first.
type ClientStore interface {
	// AnyClient returns a client of whatever organisation, disabled where that is
	// not active; fault.NotFound where there is none.
	AnyClient(ctx context.Context, id ident.ClientID) (Registered, error)
	// Client returns a client of the tenant; fault.NotFound where there is none.
	Client(ctx context.Context, t ident.Tenant, id ident.ClientID) (Registered, error)
	// Clients returns a page of the tenant's clients, newest first. Page.Before
	// is a client's id.
	Clients(ctx context.Context, t ident.Tenant, p ident.Page) ([]Registered, error)
	// ExpiredClients returns clients whose Settings.Dynamic.ExpiresAt is reached
	// at now, of whatever organisation, the longest expired first, limit at most.
	ExpiredClients(ctx context.Context, now time.Time, limit int) ([]Registered, error)
	// InClientTx runs fn in a transaction. fn may run twice.
	InClientTx(ctx context.Context, fn func(ClientTx) error) error
}

// ClientTx is one transaction on registered clients.
type ClientTx interface {
	audit.Sink
	changes.Sink
	// LockClient returns a client of the tenant and keeps others from changing
	// it until the commit; fault.NotFound where there is none.
	LockClient(t ident.Tenant, id ident.ClientID) (Registered, error)
	// InsertClient stores a new client and its secrets.
	InsertClient(Registered) error
	// UpdateClient stores everything but the organisation, the method, the
	// creation and the secrets.
	UpdateClient(Registered) error
	// PutClientSecrets makes these the only secrets of the client.
	PutClientSecrets(id ident.ClientID, secrets []ClientSecret) error
	// DeleteClient forgets a client and its secrets.
	DeleteClient(id ident.ClientID) error
	// CountOpenClients counts the clients that registered with nobody's leave:
	// all of them, and those that did from the network named so after since.
	CountOpenClients(from string, since time.Time) (living, recent int, err error)
	// EndClientFamilies ends the families that users gave the client, announces
	// each until until, and returns how many there were.
	EndClientFamilies(client ident.ClientID, at, until time.Time, reason string) (int, error)
}

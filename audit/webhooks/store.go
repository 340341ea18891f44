package webhooks

import (
	"context"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// Store keeps endpoints for those who manage them.
type Store interface {
	// Webhook returns an endpoint of the tenant, or fault.NotFound.
	Webhook(ctx context.Context, t ident.Tenant, id ident.WebhookID) (Overview, error)
	// Webhooks returns a page of the tenant's endpoints, newest first.
	Webhooks(ctx context.Context, t ident.Tenant, p ident.Page) ([]Overview, error)
	// WebhookExists reports whether any organisation has the endpoint.
	WebhookExists(ctx context.Context, id ident.WebhookID) (bool, error)
	// DeadLetters returns at most limit dead letters of the tenant's endpoint
	// whose position is below before (0: from the newest), newest first.
	DeadLetters(ctx context.Context, t ident.Tenant, id ident.WebhookID, before int64, limit int) ([]DeadLetter, error)
	// InWebhookTx runs fn in a transaction.
	InWebhookTx(ctx context.Context, fn func(Tx) error) error
}

// Tx is a transaction on endpoints.
type Tx interface {
	audit.Sink
	// LockWebhook returns an endpoint of the tenant, locked, or fault.NotFound.
	LockWebhook(t ident.Tenant, id ident.WebhookID) (Endpoint, error)
	// CountWebhooks counts the tenant's endpoints. Whoever counts waits for who
	// counted before.
	CountWebhooks(t ident.Tenant) (int, error)
	InsertWebhook(Endpoint) error
	// UpdateWebhook stores all but the secrets and raises the version. Who delivers
	// meanwhile keeps the endpoint, but does not write down what came of it: it is
	// delivered again.
	UpdateWebhook(Endpoint) error
	// PutWebhookSecrets replaces the secrets.
	PutWebhookSecrets(id ident.WebhookID, secrets []Secret) error
	DeleteWebhook(id ident.WebhookID) error
	// LogPosition returns the place in the organisation's chain before its first
	// event at or after since; that of the last event where there is none.
	LogPosition(org ident.OrgID, since time.Time) (int64, error)
	// ReplayDeadLetters marks dead letters of the endpoint to be tried again, all
	// of them where events is empty, and returns how many.
	ReplayDeadLetters(id ident.WebhookID, events []ident.EventID) (int, error)
}

// Outcome is what came of a turn.
type Outcome struct {
	Progress Progress
	Disable  Cause        // where it is not empty
	Dead     []DeadLetter // to be added, or to be kept with another failure
	Replayed []int64      // positions of the dead letters that were delivered after all
	Events   []audit.Event
}

// Queue is where endpoints wait for their turn, for every replica and across
// restarts. Each event is delivered at least once.
type Queue interface {
	// DueWebhooks returns at most limit active endpoints of active organisations
	// that nobody holds, whose time has come at now, and for which there are
	// links after their position or dead letters to be tried again; the longest
	// due first.
	DueWebhooks(ctx context.Context, now time.Time, limit int) ([]Endpoint, error)
	// ClaimWebhook keeps everybody else from the endpoint until the given time, and
	// raises Turn. It reports false, and does nothing, where Version or Turn are no
	// longer e's.
	ClaimWebhook(ctx context.Context, e Endpoint, until time.Time) (bool, error)
	// Replays returns at most limit dead letters of the endpoint that are to be
	// tried again, oldest first.
	Replays(ctx context.Context, id ident.WebhookID, limit int) ([]DeadLetter, error)
	// SaveWebhook writes down what came of a turn, with its events in the same
	// commit, raises Turn and lets the endpoint go. It reports false where Version
	// or Turn are no longer e's: in the first case it only lets go, in the second
	// it does nothing.
	SaveWebhook(ctx context.Context, e Endpoint, o Outcome) (bool, error)
	// NextWebhook returns when the next active endpoint is due that waits for its
	// time; zero where there is none.
	NextWebhook(ctx context.Context) (time.Time, error)
	// WebhookBacklog counts what waits in the whole deployment.
	WebhookBacklog(ctx context.Context) (Backlog, error)
	// PruneDeadLetters removes at most limit dead letters that failed last before
	// the time given, and returns how many.
	PruneDeadLetters(ctx context.Context, before time.Time, limit int) (int, error)
}

// Backlog is what was not delivered yet.
type Backlog struct {
	DeadLetters int
	Oldest      time.Time // of the events that active endpoints have before them; zero where there is none
}

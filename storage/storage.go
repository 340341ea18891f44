// Package storage opens a backend. A backend is the sum of the small stores
// the domain packages declare; this package adds nothing to them.
package storage

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/audit/activity"
	"github.com/tokenhouse/tokenhouse/audit/outputs"
	"github.com/tokenhouse/tokenhouse/audit/webhooks"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
	"github.com/tokenhouse/tokenhouse/keys/masterkey"
	"github.com/tokenhouse/tokenhouse/keys/sealing"
	"github.com/tokenhouse/tokenhouse/keys/signing"
	"github.com/tokenhouse/tokenhouse/oauth"
	"github.com/tokenhouse/tokenhouse/storage/gormstore"
	"github.com/tokenhouse/tokenhouse/tokens"
)

// Backend is what a storage implementation provides. storagetest.Run says what
// each promise means.
type Backend interface {
	Stores

	// Migrate brings the schema up to this release.
	Migrate(context.Context) error
	// Migrations lists what Migrate knows.
	Migrations(context.Context) ([]gormstore.Migration, error)
	// Ping answers nil when the database answers.
	Ping(context.Context) error
	// Clock is what the database's own clock shows; zero where it has none.
	Clock(context.Context) (time.Time, error)
	// Close ends what is running and releases everything.
	Close() error
}

// Stores are the stores of the domain packages, one line each.
type Stores interface {
	Audit() audit.Reader
	AuditSearch() audit.Searcher
	Recorder() audit.Recorder
	Chain() audit.ChainStore
	AuditRetention() audit.RetentionStore
	Outputs() outputs.Store
	Activity() activity.Store
	Webhooks() webhooks.Store
	WebhookQueue() webhooks.Queue
	Changes() changes.Log
	Replicas() changes.Replicas
	Sessions() tokens.Store
	StatusPlaces() tokens.PlaceStore
	Accounts() accounts.Store
	Logins() accounts.LoginStore
	Locks() accounts.LockReader
	LockNotices() accounts.LockNoticeQueue
	InvitationQueue() accounts.InvitationQueue
	Exchanges() oauth.Store
	Clients() oauth.ClientStore
	ClientAssertions() oauth.AssertionStore
	Authorizations() oauth.AuthorizationStore
	Logouts() oauth.LogoutQueue
	SealedSecrets() sealing.SecretStore
	MasterKey() masterkey.Store
	SigningKeys() signing.Store
	APIKeys() apikeys.Store
}

var _ Backend = (*gormstore.DB)(nil)

// Open opens the backend that url names by its scheme: sqlite://path (relative)
// or sqlite:///path (absolute), postgres://….
func Open(ctx context.Context, url string, opts gormstore.Options) (Backend, error) {
	scheme, rest, ok := strings.Cut(url, "://")
	switch {
	case ok && scheme == "sqlite" && rest != "":
		return gormstore.OpenSQLite(rest, opts)
	case ok && (scheme == "postgres" || scheme == "postgresql"):
		return gormstore.OpenPostgres(ctx, url, opts)
	default:
		return nil, fmt.Errorf("storage: %q is not a database URL we know; use sqlite://path or postgres://…", scheme)
	}
}

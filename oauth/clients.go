package oauth

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/coherent"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
)

// Defaults and limits of the registry.
const (
	// DefaultClientCache is how many clients are kept in memory, and how many
	// ids that no client has.
	DefaultClientCache = 10_000
	// MaxSecretGrace is the longest time an old secret may outlive its rotation.
	MaxSecretGrace = 30 * 24 * time.Hour
)

// The permissions that the registry asks for.
const (
	PermClientsRead   scope.Permission = "clients:read"
	PermClientsManage scope.Permission = "clients:manage"
)

// Clients is the registry of clients. Set the fields and subscribe it to the
// change feed.
type Clients struct {
	Store     ClientStore
	Sealer    Sealer
	Catalogue scope.Catalogue
	// TokenTTL is how long a client's access tokens live at most, and so how
	// long it is remembered that they were ended.
	TokenTTL  time.Duration
	CacheSize int         // DefaultClientCache where zero
	Fresh     func() bool // changes.Feed.Fresh: whether the cache may be believed
	Now       func() time.Time
	Random    io.Reader

	cached clientMemory
}

// clientMemory is what is known of clients without asking the database. Ids
// that no client has are kept apart, so that a flood of them pushes no client out.
type clientMemory struct {
	once    sync.Once
	clients *coherent.Cache[ident.ClientID, Registered]
	unknown *coherent.Cache[ident.ClientID, struct{}]
}

// Lookup returns the client of that id, whatever its organisation and status;
// fault.NotFound where there is none. It answers from memory while the change
// feed is heard.
func (s *Clients) Lookup(ctx context.Context, id ident.ClientID) (Registered, error) {
	return s.lookup(ctx, id)
}

package apikeys

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
	"github.com/tokenhouse/tokenhouse/keys/sealing"
)

// Defaults of a Service.
const (
	// DefaultPrefix starts every key.
	DefaultPrefix = "th_live"
	// DefaultRotateAfter is the age at which a secret is due for rotation.
	DefaultRotateAfter = 90 * 24 * time.Hour
	// DefaultCacheSize is how many keys are kept in memory, and how many lookup
	// ids that no key has.
	DefaultCacheSize = 10_000
	// DefaultUsageRetention is how long it is remembered how often a key was used.
	DefaultUsageRetention = 400 * 24 * time.Hour
	// MaxGrace is the longest time an old secret may outlive its rotation.
	MaxGrace = 30 * 24 * time.Hour
)

// Peppers are the secrets that digests are made with: sealing.Secrets.
type Peppers interface {
	Current(sealing.Purpose) (id uint8, key []byte)
	ByID(p sealing.Purpose, id uint8) (key []byte, ok bool)
}

// Owners tells what the owner of a key may do now. It is asked at every
// verification, so it should answer from memory.
type Owners interface {
	// Standing returns what the person may do in the organisation. A person
	// who is unknown, disabled or no member is not active, which is no error.
	Standing(ctx context.Context, user ident.UserID, org ident.OrgID) (Standing, error)
}

// Standing is what a person may do in an organisation. It is not changed
// after it was returned.
type Standing struct {
	Active      bool // the person, the organisation and the membership are
	Email       string
	Permissions scope.Set // concrete
}

// Settings are what the operator chose. The zero value holds for every deployment.
type Settings struct {
	Prefix      string        // of new keys; DefaultPrefix where empty; see CheckPrefix
	RotateAfter time.Duration // DefaultRotateAfter where zero
	CacheSize   int           // DefaultCacheSize where zero
	MaxLifetime time.Duration // a new key expires no later than this; no bound where zero
	// UsageRetention is how long the hourly buckets are kept; DefaultUsageRetention where zero.
	UsageRetention time.Duration
	LimitFailure   LimitFailure // FailClosed where empty
	Throttle       Throttle
	Leaked         LeakResponse // RevokeLeaked where empty
	RefuseImported bool         // refuse the credentials that another system made
	RecordEach     bool         // record every use, before it is answered, instead of the first of each hour
}

// Service is everything that is done with API keys. Set the fields, subscribe
// it to the change feed, run Flush every few seconds, and Close at the end.
type Service struct {
	Store     Store
	Peppers   Peppers
	Owners    Owners
	Catalogue scope.Catalogue
	Settings
	Fresh  func() bool // changes.Feed.Fresh: whether the cache may be believed
	Now    func() time.Time
	Random io.Reader
	// Observe, where set, is told the result of every verification: "ok",
	// "malformed", "unknown", "mismatch", "superseded", "revoked", "expired",
	// "owner_inactive", "network", "rate_limited", "throttled" or "unavailable".
	// It must be quick.
	Observe func(result string)
	// ObserveLeak, where set, is told what became of each key that was reported as
	// leaked: "revoked", "quarantined", or "ignored".
	ObserveLeak func(result string)

	cached   memory
	uses     usage
	limits   limiter
	flushing sync.Mutex
	sieves
}

// sieves bound what one source may do without a good key.
type sieves struct{ wrong, reports sieve }

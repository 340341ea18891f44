package apikeys

import (
	"context"
	"io"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
	"github.com/tokenhouse/tokenhouse/internal/secret"
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

// Service is everything that is done with API keys. Set the fields, Subscribe
// it to the change feed, and run Flush every few seconds and at the end.
type Service struct {
	Store       Store
	Peppers     Peppers
	Owners      Owners
	Catalogue   scope.Catalogue
	Prefix      string        // of new keys; DefaultPrefix where empty; see CheckPrefix
	RotateAfter time.Duration // DefaultRotateAfter where zero
	CacheSize   int           // DefaultCacheSize where zero
	Fresh       func() bool   // changes.Feed.Fresh: whether the cache may be believed
	Now         func() time.Time
	Random      io.Reader
	// Observe, where set, is told the result of every verification: "ok",
	// "malformed", "unknown", "mismatch", "superseded", "revoked", "expired",
	// "owner_inactive" or "unavailable". It must be quick.
	Observe func(result string)
}

// New is a key to be made.
type New struct {
	Name        string // 1 to 100 characters
	Permissions []string
	Preset      string       // "admin-agent" instead of Permissions
	ExpiresAt   time.Time    // zero: never, or when the key that makes it expires
	Owner       ident.UserID // for the operator only, who owns nothing
}

// Create makes a key. Its credential is returned here and never again.
func (s *Service) Create(context.Context, ident.Caller, New) (Key, secret.Plain, error) {
	return Key{}, secret.Plain{}, fault.Internal
}

// List returns a page of the keys of the caller's organisation, newest first.
func (s *Service) List(context.Context, ident.Caller, ident.Page) ([]Key, error) {
	return nil, fault.Internal
}

// Get returns a key of the caller's organisation.
func (s *Service) Get(context.Context, ident.Caller, ident.APIKeyID) (Key, error) {
	return Key{}, fault.Internal
}

// Rename gives a key another name.
func (s *Service) Rename(context.Context, ident.Caller, ident.APIKeyID, string) (Key, error) {
	return Key{}, fault.Internal
}

// Rotate gives a key a new credential. The old one works until grace ends.
func (s *Service) Rotate(context.Context, ident.Caller, ident.APIKeyID, time.Duration) (Key, secret.Plain, error) {
	return Key{}, secret.Plain{}, fault.Internal
}

// Revoke ends a key and the keys it made.
func (s *Service) Revoke(context.Context, ident.Caller, ident.APIKeyID) error { return fault.Internal }

// RevokeAlone ends a key and leaves the keys it made (cascade=false).
func (s *Service) RevokeAlone(context.Context, ident.Caller, ident.APIKeyID) error {
	return fault.Internal
}

// Verify tells who presents a credential.
func (s *Service) Verify(context.Context, string, ident.Origin) (ident.Caller, error) {
	return ident.Caller{}, fault.Internal
}

// Flush stores what was counted in memory. Run it at least once a minute.
func (s *Service) Flush(context.Context) error { return fault.Internal }

// Close is Flush of everything, the current minute's aggregates included.
func (s *Service) Close(context.Context) error { return fault.Internal }

// MarkDue records each secret that became due for rotation, once, and returns how many usable keys are due.
func (s *Service) MarkDue(context.Context) (int, error) { return 0, fault.Internal }

// Hear forgets keys that changed.
func (s *Service) Hear([]changes.Change) {}

// Forget forgets every cached key.
func (s *Service) Forget() {}

var _ changes.Subscriber = (*Service)(nil)

// CheckPrefix refuses a prefix that keys cannot have.
func CheckPrefix(string) error { return fault.Internal }

// LooksLike reports whether s has the form of an API key: shape and checksum. It asks no database.
func LooksLike(string) bool { return false }

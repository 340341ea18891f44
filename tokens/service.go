package tokens

import (
	"cmp"
	"io"
	"slices"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// Service opens, refreshes and ends sessions.
type Service struct {
	Store Store
	MACs  MACKeys // of refresh tokens
	// BrowserMACs are those of the cookies of browser sessions, never the same.
	BrowserMACs MACKeys
	Now         func() time.Time
	Random      io.Reader
	Policy      Policy
	// MaxAccessTTL is the longest life of an access token of any client, and so
	// how long a revocation must be remembered; DefaultMaxAccessTTL where zero.
	MaxAccessTTL time.Duration
	// Revocations, where set, is asked by Check while Fresh reports true; else
	// the store is.
	Revocations *Revocations
	Fresh       func() bool
	// Places, where set, gives the access tokens of sessions their places in
	// status lists, and StatusKey is the key of their indexes.
	Places    Places
	StatusKey []byte
	// Observe, where set, is told how each presented refresh token was answered.
	Observe func(Result)
	// RecordEach records every refresh instead of the first of each hour.
	RecordEach bool

	routine hourly
}

// DefaultMaxAccessTTL is the life of the access token that is a whole session.
const DefaultMaxAccessTTL = 24 * time.Hour

// margin is how much longer than its tokens a revocation is remembered: a
// refresh that ran beside it may mint a little later, and verifiers allow for
// clocks that differ.
const margin = 5 * time.Minute

// Until returns how long a revocation made at the given time must be remembered.
func (s *Service) Until(at time.Time) time.Time {
	return at.Add(cmp.Or(s.MaxAccessTTL, DefaultMaxAccessTTL) + margin)
}

// MACKeys are the server's keys that authenticate refresh tokens.
type MACKeys interface {
	// Current returns the key for new tokens and its id.
	Current() (id uint8, key []byte)
	// ByID returns the key that Current gave under that id, now or earlier.
	ByID(id uint8) (key []byte, ok bool)
}

// Policy is how long things last. Zero fields take the defaults.
type Policy struct {
	Grace    time.Duration // how long a lost reply explains an older token
	Cooldown time.Duration // how long the same holder gets the same token again
	Idle     time.Duration // how long an unused token stays good
	Absolute time.Duration // how long a family lives in all
	// The same of browser sessions.
	BrowserIdle     time.Duration
	BrowserAbsolute time.Duration
}

// Defaults of a Policy.
const (
	DefaultGrace    = 60 * time.Second
	DefaultCooldown = 30 * time.Second
	DefaultIdle     = 7 * 24 * time.Hour
	DefaultAbsolute = 30 * 24 * time.Hour

	DefaultBrowserIdle     = 8 * time.Hour
	DefaultBrowserAbsolute = 24 * time.Hour
)

func (p Policy) withDefaults() Policy {
	return Policy{
		Grace: cmp.Or(p.Grace, DefaultGrace), Cooldown: cmp.Or(p.Cooldown, DefaultCooldown),
		Idle: cmp.Or(p.Idle, DefaultIdle), Absolute: cmp.Or(p.Absolute, DefaultAbsolute),
		BrowserIdle: cmp.Or(p.BrowserIdle, DefaultBrowserIdle), BrowserAbsolute: cmp.Or(p.BrowserAbsolute, DefaultBrowserAbsolute),
	}
}

// Opening says whose session begins, and where.
type Opening struct {
	ID          ident.SessionID // drawn where empty; known beforehand, an access token is signed before the commit
	User        ident.UserID
	Org         ident.OrgID
	Client      ident.ClientID
	Method      string // "password"
	Origin      ident.Origin
	Proof       string        // what the login request already proved to hold (its valid device cookie); empty: nothing
	Refreshable bool          // whether to give out refresh tokens
	TTL         time.Duration // the absolute life; Policy.Absolute where zero, Policy.BrowserAbsolute of a browser's
	// Browser makes it a browser's own session, of BrowserClient whatever Client
	// says, with a cookie and no refresh tokens.
	Browser         bool
	AuthenticatedAt time.Time // when the user last proved who they are; now where zero
	Delegation      Delegation
	Access          Access // the access token that goes with it, already made; zero where none does
}

// Presented is a refresh token that came in, and how.
type Presented struct {
	Token    string
	Client   ident.ClientID // the authenticated client
	Origin   ident.Origin
	Proof    string // as in Opening; empty: nothing
	RetryKey string // the Idempotency-Key header; empty: none
	// AccessTTL is how long the access token will live that goes with the answer;
	// Service.MaxAccessTTL where zero.
	AccessTTL time.Duration
}

// Refreshed is a served refresh: the family as it stands now and its current token.
type Refreshed struct {
	Family    Family
	Token     secret.Plain
	ExpiresAt time.Time // of Token, as far as it is not used before
	Result    Result
	// Place is where the access token stands that goes with it. Within the
	// cool-down it is that of the last one, and so is its name.
	Place Place
}

// Result is how a presented refresh token was answered; a metric's label.
type Result string

// The results. The first five are served, the others refused.
const (
	Rotated   Result = "rotated"   // a new generation
	Replayed  Result = "replayed"  // the current generation again
	Roaming   Result = "roaming"   // the same, to another network
	Disputed  Result = "contested" // a new generation beside one that two may hold
	Adopted   Result = "adopted"   // a generation the database had lost
	Stale     Result = "stale"
	Reused    Result = "reuse_detected"
	Expired   Result = "expired"
	Idle      Result = "idle"
	Revoked   Result = "revoked"
	Malformed Result = "malformed" // no token of ours, or another client's
)

// Results lists every Result.
func Results() []Result {
	return []Result{Rotated, Replayed, Roaming, Disputed, Adopted, Stale, Reused, Expired, Idle, Revoked, Malformed}
}

// Served reports whether the presenter got a token.
func (r Result) Served() bool {
	return slices.Contains([]Result{Rotated, Replayed, Roaming, Disputed, Adopted}, r)
}

// Package activity counts by the hour what happens in an organisation: who logs
// in and who fails, who is locked out, which tokens are given out, how often API
// keys are used. What the audit log records one by one is counted from there;
// what it records once an hour is counted where it happens.
package activity

import (
	"context"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// Kind says what is counted.
type Kind string

// The kinds, and what tells their labels apart.
const (
	Logins   Kind = "logins"   // that opened a session; no label
	Failures Kind = "failures" // logins that did not: the reason, as the audit log has it
	Lockouts Kind = "lockouts" // limits of failed logins that were reached: by what was counted
	Tokens   Kind = "tokens"   // access tokens: the grant that earned them
	KeyUse   Kind = "key_use"  // of API keys: "ok", "refused" or "limited"
)

// Kinds lists every kind.
func Kinds() []Kind { return []Kind{Logins, Failures, Lockouts, Tokens, KeyUse} }

// The labels of KeyUse.
const (
	KeyAccepted = "ok"
	KeyRefused  = "refused"
	KeyLimited  = "limited" // by a limit of the key
)

// Retention is how long hours are remembered: a year, and what a year before is
// compared with.
const Retention = 400 * 24 * time.Hour

// Bucket is how often something happened in a time that begins at Start.
type Bucket struct {
	Org   ident.OrgID // empty: in no organisation
	Start time.Time
	Kind  Kind
	Label string
	Count int64
}

// Store keeps the hours.
type Store interface {
	// ReadEvents returns what stands in the audit log after the link of the given
	// ID, at most limit links of it, counted: of the given names only. next is the
	// ID of the last link that was looked at; after where there is none.
	ReadEvents(ctx context.Context, names []string, after int64, limit int) (found []Happening, next int64, err error)
	// ActivityCursor returns up to where the log was counted.
	ActivityCursor(ctx context.Context) (int64, error)
	// CountEvents adds to the hours and moves the cursor, unless somebody else has
	// moved it from there, and reports whether it did. The Start of a bucket is
	// that of an hour.
	CountEvents(ctx context.Context, from, to int64, add []Bucket) (bool, error)
	// AddActivity adds to the hours.
	AddActivity(ctx context.Context, add []Bucket) error
	// Activity returns the sums of the tenant's hours from from until before to, by
	// steps of whole hours counted from 1970, oldest first. Steps in which nothing
	// happened are left out.
	Activity(ctx context.Context, t ident.Tenant, from, to time.Time, step time.Duration) ([]Bucket, error)
	// PruneActivity removes at most limit rows of hours before the time given, and
	// returns how many.
	PruneActivity(ctx context.Context, before time.Time, limit int) (int, error)
}

// Happening is how often one thing was recorded in one hour.
type Happening struct {
	Org    ident.OrgID
	Hour   time.Time
	Name   string // of the event
	Reason string
	Count  int64
}

// Service counts, and tells what was counted. Set Store and Now.
type Service struct {
	Store Store
	Now   func() time.Time

	tally tally
}

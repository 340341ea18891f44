// Package webhooks sends an organisation's audit events to addresses that it
// chose, signed as Standard Webhooks 1.0 describes. It follows the chain of the
// organisation's log, one place after the other, so that nothing is left out
// and nothing overtakes.
package webhooks

import (
	"time"

	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// Bounds of what an organisation may have.
const (
	// MaxEndpoints is how many endpoints an organisation may have.
	MaxEndpoints = 20
	// MaxPatterns is how many patterns an endpoint may name.
	MaxPatterns = 50
	// maxDescription bounds a description, in characters.
	maxDescription = 500
)

// Status says whether an endpoint is sent anything.
type Status string

// The statuses.
const (
	Active   Status = "active"
	Disabled Status = "disabled"
)

// Cause is why an endpoint is disabled.
type Cause string

// The causes; the empty one is that of an active endpoint.
const (
	ByHand  Cause = "administrator"
	Gone    Cause = "gone"    // it answered 410
	Failing Cause = "failing" // nothing could be delivered for GiveUpAfter
)

// Endpoint is an address that is sent the events of one organisation.
type Endpoint struct {
	ID          ident.WebhookID
	Org         ident.OrgID
	URL         string
	Description string
	Patterns    []string // of the names of events; see Matches
	Status      Status
	Cause       Cause
	CreatedAt   time.Time
	CreatedBy   string
	Secrets     []Secret // the current one first
	Progress    Progress
	// Version grows with each change by a person, Turn whenever somebody begins or
	// ends to deliver. Both are given by storage.
	Version int64
	Turn    int64
}

// Progress is how far an endpoint has been told.
type Progress struct {
	// Position is the place in the organisation's chain up to which everything was
	// delivered, is of no interest, or lies among the dead letters.
	Position int64
	// Attempts is how often the delivery of what follows has failed.
	Attempts int
	DueAt    time.Time // nothing is tried before
	// FailingSince is when the first of the failures was that no success followed.
	FailingSince time.Time
	DeliveredAt  time.Time // the last success
	Last         Failure   // the last failure
}

// Failure is how an attempt failed.
type Failure struct {
	At     time.Time
	Reason Reason
	Status int // of the answer, where one came
}

// Reason says what was wrong. It tells nothing about our network.
type Reason string

// The reasons.
const (
	BadStatus   Reason = "status"      // an answer that is not 2xx
	BadAnswer   Reason = "answer"      // an answer that is too long, or encoded
	Unreachable Reason = "unreachable" // no answer within the time
	Forbidden   Reason = "address"     // the address may not be asked
	Unsigned    Reason = "secret"      // the secret could not be opened
	Pruned      Reason = "pruned"      // the event was removed in the meantime
)

// DeadLetter is an event that could not be delivered in all its attempts.
type DeadLetter struct {
	Position int64
	Event    ident.EventID
	Name     string
	Attempts int
	Last     Failure
	Replay   bool // it is to be tried again
}

// Overview is an endpoint with what is counted about it.
type Overview struct {
	Endpoint
	Waiting     int64 // events of the organisation not looked at yet, wanted or not
	DeadLetters int64
}

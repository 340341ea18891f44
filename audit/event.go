// Package audit defines the record kept of every security decision: what an
// event is, which events exist, and how they are read back.
package audit

import (
	"time"

	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// Outcome is how the recorded attempt ended.
type Outcome string

// The outcomes.
const (
	Success Outcome = "success"
	Failure Outcome = "failure" // the caller could not prove who they are, or the input was refused
	Denied  Outcome = "denied"  // the caller is known and may not
)

// Actor is who did it.
type Actor struct {
	Type string      `json:"type"` // "user", "api_key", "client", "operator", "anonymous", "system"
	ID   string      `json:"id,omitempty"`
	Name string      `json:"name,omitempty"` // an e-mail or a key's name; never a credential
	Org  ident.OrgID `json:"org_id,omitempty"`
	Via  string      `json:"via,omitempty"` // "session", "api_key", "password", "refresh_token", "cli"
}

// ActorOf returns the actor that a caller is.
func ActorOf(c ident.Caller) Actor {
	a := Actor{Type: string(c.Kind), ID: c.ID(), Name: c.Email, Org: c.Org}
	switch c.Kind {
	case ident.Person:
		a.Via = "session"
	case ident.APIKey:
		a.Via, a.Name = "api_key", ""
	case ident.ServiceClient:
		a.Via = "access_token"
	case ident.Operator:
		a.Via = "cli"
	}
	return a
}

// Target is what it was done to.
type Target struct {
	Type string `json:"type"` // "user", "org", "session", "api_key", "client", "role", "signing_key", "service_account"
	ID   string `json:"id"`
	Name string `json:"name,omitempty"`
}

// Event is one line of the audit log. It never holds a credential.
type Event struct {
	Seq     int64         // the order of the log, given by storage
	ID      ident.EventID // given by storage where empty
	Time    time.Time
	Name    Name
	Outcome Outcome
	Reason  string // machine-readable: "wrong_password", "expired", "reuse_detected"
	Actor   Actor
	Targets []Target
	Origin  ident.Origin
	Session ident.SessionID
	Key     ident.APIKeyID
	Org     ident.OrgID
	Meta    map[string]string
}

// By returns an event of the caller's, in the caller's organisation.
func By(c ident.Caller, at time.Time, name Name, targets ...Target) Event {
	return Event{
		Time: at, Name: name, Outcome: Success, Actor: ActorOf(c), Targets: targets,
		Origin: c.Origin, Session: c.Session, Key: c.Key, Org: c.Org,
	}
}

// Sink accepts events. Every domain transaction is a Sink, so that a fact and
// its audit event commit together or not at all.
type Sink interface {
	Record(Event) error
}

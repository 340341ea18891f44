package audit

import (
	"time"

	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// Line is an event as everybody outside reads it: the API, the export and
// whoever checks one against the other. Every member is always there.
type Line struct {
	Seq     int64         `json:"seq"`
	ID      ident.EventID `json:"id"`
	Time    string        `json:"time"` // RFC 3339, UTC, to the microsecond where it has one
	Event   Name          `json:"event"`
	Code    string        `json:"code"`
	Outcome Outcome       `json:"outcome"`
	Reason  string        `json:"reason"`
	Actor   Actor         `json:"actor"`
	Targets []Target      `json:"targets"`
	LineOrigin
	Session ident.SessionID   `json:"session_id"`
	Key     ident.APIKeyID    `json:"key_id"`
	Org     ident.OrgID       `json:"org_id"`
	Meta    map[string]string `json:"meta"`
}

// LineOrigin is where the request of an event came from.
type LineOrigin struct {
	IP        string          `json:"ip"`
	UserAgent string          `json:"user_agent"`
	Request   ident.RequestID `json:"request_id"`
}

// LineOf returns the event as a line.
func LineOf(e Event) Line {
	l := Line{
		Seq: e.Seq, ID: e.ID, Time: e.Time.UTC().Format(time.RFC3339Nano), Event: e.Name, Code: e.Name.Code(), Outcome: e.Outcome, Reason: e.Reason,
		Actor: e.Actor, Targets: e.Targets, LineOrigin: LineOrigin{UserAgent: e.Origin.UserAgent, Request: e.Origin.Request},
		Session: e.Session, Key: e.Key, Org: e.Org, Meta: e.Meta,
	}
	if l.Targets == nil {
		l.Targets = []Target{}
	}
	if l.Meta == nil {
		l.Meta = map[string]string{}
	}
	if e.Origin.IP.IsValid() {
		l.IP = e.Origin.IP.String()
	}
	return l
}

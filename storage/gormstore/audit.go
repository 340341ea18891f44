package gormstore

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"gorm.io/gorm"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

type eventRow struct {
	Seq  int64 `gorm:"primaryKey"`
	ID   string
	At   int64
	Name string
	Org  string    `gorm:"column:org_id"`
	User string    `gorm:"column:user_id"` // the person concerned: the target, else the actor
	Why  eventWhy  `gorm:"embedded"`
	Who  eventWho  `gorm:"embedded"`
	From eventFrom `gorm:"embedded"`
}

type eventWhy struct {
	Outcome string
	Reason  string
	Targets string // JSON
	Meta    string // JSON
}

type eventWho struct {
	ActorType string
	ActorID   string
	ActorName string
	ActorOrg  string
	ActorVia  string
}

type eventFrom struct {
	IP        string `gorm:"column:ip"`
	UserAgent string
	Request   string `gorm:"column:request_id"`
	Session   string `gorm:"column:session_id"`
	Key       string `gorm:"column:key_id"`
}

func (eventRow) TableName() string { return "audit_events" }

// Record adds e to the transaction.
func (t *tx) Record(e audit.Event) error {
	if e.ID == "" {
		e.ID = ident.NewEventID(e.Time, t.opts.Random)
	}
	t.events = append(t.events, e)
	return nil
}

// writeEvents writes what the transaction recorded.
func (t *tx) writeEvents() error {
	if len(t.events) == 0 {
		return nil
	}
	rows := make([]eventRow, len(t.events))
	for i, e := range t.events {
		rows[i] = eventRowOf(e)
	}
	if err := t.g.Omit("Seq").CreateInBatches(&rows, 500).Error; err != nil {
		return fmt.Errorf("record events: %w", err)
	}
	for i := range rows {
		t.events[i].Seq = rows[i].Seq
	}
	return nil
}

// flush writes what the transaction announced, and what follows from that.
func (t *tx) flush() error {
	if err := t.queueLogouts(); err != nil {
		return err
	}
	if err := t.revokePlaces(); err != nil {
		return err
	}
	return t.flushChanges()
}

func eventRowOf(e audit.Event) eventRow {
	r := eventRow{ID: string(e.ID), At: micros(e.Time), Name: string(e.Name), Org: string(e.Org), User: string(concerned(e))}
	r.Why = eventWhy{Outcome: string(e.Outcome), Reason: e.Reason, Targets: jsonText(e.Targets), Meta: jsonText(e.Meta)}
	r.Who = eventWho{ActorType: e.Actor.Type, ActorID: e.Actor.ID, ActorName: e.Actor.Name, ActorOrg: string(e.Actor.Org), ActorVia: e.Actor.Via}
	r.From = eventFrom{UserAgent: e.Origin.UserAgent, Request: string(e.Origin.Request), Session: string(e.Session), Key: string(e.Key)}
	if e.Origin.IP.IsValid() {
		r.From.IP = e.Origin.IP.String()
	}
	return r
}

func concerned(e audit.Event) ident.UserID {
	for _, t := range e.Targets {
		if t.Type == "user" {
			return ident.UserID(t.ID)
		}
	}
	if e.Actor.Type == string(ident.Person) {
		return ident.UserID(e.Actor.ID)
	}
	return ""
}

func (r eventRow) domain() (audit.Event, error) {
	e := audit.Event{
		Seq: r.Seq, ID: ident.EventID(r.ID), Time: timeOf(r.At), Name: audit.Name(r.Name), Outcome: audit.Outcome(r.Why.Outcome), Reason: r.Why.Reason,
		Actor:   audit.Actor{Type: r.Who.ActorType, ID: r.Who.ActorID, Name: r.Who.ActorName, Org: ident.OrgID(r.Who.ActorOrg), Via: r.Who.ActorVia},
		Origin:  ident.Origin{UserAgent: r.From.UserAgent, Request: ident.RequestID(r.From.Request)},
		Session: ident.SessionID(r.From.Session), Key: ident.APIKeyID(r.From.Key), Org: ident.OrgID(r.Org),
	}
	if r.From.IP != "" {
		ip, err := netip.ParseAddr(r.From.IP)
		if err != nil {
			return e, fmt.Errorf("event %s: %w", r.ID, err)
		}
		e.Origin.IP = ip
	}
	if err := json.Unmarshal([]byte(r.Why.Targets), &e.Targets); err != nil {
		return e, fmt.Errorf("event %s: %w", r.ID, err)
	}
	if err := json.Unmarshal([]byte(r.Why.Meta), &e.Meta); err != nil {
		return e, fmt.Errorf("event %s: %w", r.ID, err)
	}
	return e, nil
}

// jsonText encodes what has no way to fail: strings, slices and maps of them.
func jsonText(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

// Audit returns the reader of the audit log.
func (db *DB) Audit() audit.Reader { return auditReader{db} }

// Recorder returns the recorder of events that accompany no other change.
func (db *DB) Recorder() audit.Recorder { return auditReader{db} }

type auditReader struct{ db *DB }

func (a auditReader) RecordAll(ctx context.Context, events ...audit.Event) error {
	return a.db.inTx(ctx, func(t *tx) error {
		for _, e := range events {
			if err := t.Record(e); err != nil {
				return err
			}
		}
		return nil
	})
}

func (a auditReader) Events(ctx context.Context, t ident.Tenant, f audit.Filter, before int64, limit int) ([]audit.Event, error) {
	q := a.db.read.WithContext(ctx)
	const elsewhere = "(org_id || '') = ?" // not by its index, but by the event's or when it was
	switch {
	case f.Event != "":
		q = q.Where("id = ?", string(f.Event)).Where(elsewhere, string(t.Org()))
	case f.Request != "":
		q = near(q, f.Request).Where(elsewhere, string(t.Org()))
	default:
		q = q.Where("org_id = ?", string(t.Org()))
	}
	if before > 0 {
		q = q.Where("seq < ?", before)
	}
	return readEvents(narrow(q, f).Order("seq DESC").Limit(limit))
}

// narrow leaves what the filter lets pass.
func narrow(q *gorm.DB, f audit.Filter) *gorm.DB {
	if len(f.Names) > 0 {
		q = q.Where("name IN ?", f.Names)
	}
	if f.Target != "" {
		q = q.Where(`targets LIKE ? ESCAPE '\'`, `%"id":"`+literal.Replace(f.Target)+`"%`)
	}
	if f.IP.IsValid() {
		q = q.Where("ip = ?", f.IP.String())
	}
	for column, v := range map[string]string{
		"name": string(f.Name), "outcome": string(f.Outcome), "user_id": string(f.User),
		"key_id": string(f.Key), "session_id": string(f.Session), "request_id": string(f.Request),
		"reason": f.Reason, "actor_id": f.Actor,
	} {
		if v != "" {
			q = q.Where(column+" = ?", v)
		}
	}
	if !f.Since.IsZero() {
		q = q.Where("at >= ?", micros(f.Since))
	}
	if !f.Until.IsZero() {
		q = q.Where("at < ?", micros(f.Until))
	}
	return q
}

func (a auditReader) Requested(ctx context.Context, r ident.RequestID) ([]audit.Event, error) {
	return readEvents(near(a.db.read.WithContext(ctx), r).Where("request_id = ?", string(r)).Order("seq"))
}

// What a request made happen is recorded with the time of the request, but for
// what is counted by minutes; locks and the like end what it began.
const (
	beforeRequest = time.Minute
	afterRequest  = time.Hour
)

// near narrows to the time around the request, by the index on the identifiers
// of events, which begin with their times.
func near(q *gorm.DB, r ident.RequestID) *gorm.DB {
	at, ok := r.Time()
	if !ok {
		return q.Where("1 = 0")
	}
	return q.Where("id >= ? AND id < ?", string(ident.FirstEventID(at.Add(-beforeRequest))), string(ident.FirstEventID(at.Add(afterRequest))))
}

// literal keeps what LIKE takes for a pattern.
var literal = strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`)

func (a auditReader) Export(ctx context.Context, after int64, limit int) ([]audit.Event, error) {
	return readEvents(a.db.read.WithContext(ctx).Where("seq > ?", after).Order("seq").Limit(limit))
}

func readEvents(q *gorm.DB) ([]audit.Event, error) {
	var rows []eventRow
	if err := q.Find(&rows).Error; err != nil {
		return nil, unavailable(err)
	}
	out := make([]audit.Event, len(rows))
	for i, r := range rows {
		e, err := r.domain()
		if err != nil {
			return nil, err
		}
		out[i] = e
	}
	return out, nil
}

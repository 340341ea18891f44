package webhooks

import (
	"context"
	"errors"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// The permissions that this package asks for.
const (
	PermRead  scope.Permission = "webhooks:read"
	PermWrite scope.Permission = "webhooks:write"
	PermAudit scope.Permission = "audit:read" // who sends events somewhere must be allowed to read them
)

// MaxSecretGrace is the longest time an old secret may outlive its rotation.
const MaxSecretGrace = 30 * 24 * time.Hour

const targetType = "webhook"

// Targets says which addresses may be asked: outbound.Client.
type Targets interface{ CheckURL(raw string) error }

// Service manages the endpoints of organisations. Every field is required.
type Service struct {
	Store   Store
	Sealer  Sealer
	Targets Targets
	Now     func() time.Time
	Random  io.Reader
}

// New is an endpoint to be made.
type New struct {
	URL         string
	Description string   // at most 500 characters
	Patterns    []string // every event where empty
}

// Create makes an endpoint of the caller's organisation, which is sent what
// happens from now on, and returns it with its secret, which is never shown
// again. The caller needs webhooks:write and audit:read. What is wrong with n is
// fault.Invalid, one endpoint too many fault.Conflict.
func (s *Service) Create(ctx context.Context, caller ident.Caller, n New) (Overview, secret.Plain, error) {
	now := s.Now()
	if err := s.permit(ctx, caller, now); err != nil {
		return Overview{}, secret.Plain{}, err
	}
	if len(n.Patterns) == 0 {
		n.Patterns = []string{"*"}
	}
	e := Endpoint{
		ID: ident.NewWebhookID(now, s.Random), Org: caller.Org, URL: n.URL, Description: n.Description, Patterns: n.Patterns,
		Status: Active, CreatedAt: now, CreatedBy: author(caller),
	}
	if err := s.judge(e); err != nil {
		return Overview{}, secret.Plain{}, err
	}
	plain, first, err := newSecret(s.Sealer, s.Random, e.ID, Secret{N: 1, CreatedAt: now})
	if err != nil {
		return Overview{}, secret.Plain{}, err
	}
	e.Secrets = []Secret{first}
	err = s.Store.InWebhookTx(ctx, func(tx Tx) error {
		n, err := tx.CountWebhooks(caller.Tenant())
		switch {
		case err != nil:
			return err
		case n >= MaxEndpoints:
			return fault.New(fault.Conflict, "The organisation has "+strconv.Itoa(MaxEndpoints)+" webhooks, which is as many as there may be.")
		}
		if e.Progress.Position, err = tx.LogPosition(caller.Org, now.Add(time.Microsecond)); err != nil {
			return err
		}
		e.Progress.DueAt = now
		if err := tx.InsertWebhook(e); err != nil {
			return err
		}
		return tx.Record(event(caller, e, audit.WebhookCreated, now))
	})
	if err != nil {
		return Overview{}, secret.Plain{}, err
	}
	return Overview{Endpoint: e}, plain, nil
}

// List returns a page of the endpoints of the caller's organisation, newest
// first. It needs webhooks:read.
func (s *Service) List(ctx context.Context, caller ident.Caller, p ident.Page) ([]Overview, error) {
	if !caller.May(PermRead) {
		return nil, fault.Lacking(string(PermRead))
	}
	return s.Store.Webhooks(ctx, caller.Tenant(), p)
}

// Get returns an endpoint of the caller's organisation. It needs webhooks:read.
// To ask for another organisation's is answered like an unknown one, and recorded.
func (s *Service) Get(ctx context.Context, caller ident.Caller, id ident.WebhookID) (Overview, error) {
	if !caller.May(PermRead) {
		return Overview{}, fault.Lacking(string(PermRead))
	}
	o, err := s.Store.Webhook(ctx, caller.Tenant(), id)
	return o, s.missing(ctx, caller, id, err)
}

// DeadLetters returns the dead letters of an endpoint with a position below
// before (0: from the newest), newest first. It needs webhooks:read.
func (s *Service) DeadLetters(ctx context.Context, caller ident.Caller, id ident.WebhookID, before int64, limit int) ([]DeadLetter, error) {
	if _, err := s.Get(ctx, caller, id); err != nil {
		return nil, err
	}
	return s.Store.DeadLetters(ctx, caller.Tenant(), id, before, limit)
}

// Delete removes an endpoint with its dead letters. It needs webhooks:write.
func (s *Service) Delete(ctx context.Context, caller ident.Caller, id ident.WebhookID) error {
	if !caller.May(PermWrite) {
		return fault.Lacking(string(PermWrite))
	}
	now := s.Now()
	err := s.Store.InWebhookTx(ctx, func(tx Tx) error {
		e, err := tx.LockWebhook(caller.Tenant(), id)
		if err != nil {
			return err
		}
		if err := tx.DeleteWebhook(id); err != nil {
			return err
		}
		return tx.Record(event(caller, e, audit.WebhookDeleted, now))
	})
	return s.missing(ctx, caller, id, err)
}

// permit refuses who may not send the organisation's events somewhere.
func (s *Service) permit(ctx context.Context, caller ident.Caller, now time.Time, targets ...audit.Target) error {
	if !caller.May(PermWrite) {
		return fault.Lacking(string(PermWrite)) // which the route has recorded
	}
	if caller.May(PermAudit) {
		return nil
	}
	e := audit.By(caller, now, audit.PermissionDenied, targets...)
	e.Outcome, e.Reason, e.Meta = audit.Denied, "insufficient_permissions", map[string]string{"required": string(PermAudit)}
	if err := s.record(ctx, e); err != nil {
		return err
	}
	return fault.Lacking(string(PermAudit))
}

// missing words that an endpoint is not there, and records that somebody asked for
// another organisation's.
func (s *Service) missing(ctx context.Context, caller ident.Caller, id ident.WebhookID, err error) error {
	if !errors.Is(err, fault.NotFound) {
		return err
	}
	there, err := s.Store.WebhookExists(ctx, id)
	if err != nil {
		return err
	}
	if there {
		e := audit.By(caller, s.Now(), audit.CrossOrgDenied, audit.Target{Type: targetType, ID: string(id)})
		e.Outcome = audit.Denied
		if err := s.record(ctx, e); err != nil {
			return err
		}
	}
	return fault.New(fault.NotFound, "The organisation has no such webhook.")
}

func (s *Service) record(ctx context.Context, e audit.Event) error {
	return s.Store.InWebhookTx(ctx, func(tx Tx) error { return tx.Record(e) })
}

// judge says what is wrong with an endpoint; nil where nothing.
func (s *Service) judge(e Endpoint) error {
	refused := judgePatterns(e.Patterns)
	if s.Targets.CheckURL(e.URL) != nil { // what it says is about our network
		refused = append(refused, fault.Field{Name: "url", Detail: "must be an https URL of a public host on port 443, without user information and fragment"})
	}
	if utf8.RuneCountInString(e.Description) > maxDescription || strings.ContainsFunc(e.Description, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		refused = append(refused, fault.Field{Name: "description", Detail: "must be one line of at most 500 characters"})
	}
	if !slices.Contains([]Status{Active, Disabled}, e.Status) {
		refused = append(refused, fault.Field{Name: "status", Detail: "must be active or disabled"})
	}
	if f := fault.Refusals(refused); f != nil {
		return f
	}
	return nil
}

// author is who an endpoint was made by.
func author(caller ident.Caller) string {
	if caller.Kind == ident.Operator {
		return string(caller.Kind)
	}
	return caller.ID()
}

// targetOf names the host only: a path or a query may hold a secret.
func targetOf(e Endpoint) audit.Target {
	t := audit.Target{Type: targetType, ID: string(e.ID)}
	if u, err := url.Parse(e.URL); err == nil {
		t.Name = u.Hostname()
	}
	return t
}

func event(caller ident.Caller, e Endpoint, name audit.Name, now time.Time) audit.Event {
	out := audit.By(caller, now, name, targetOf(e))
	out.Org = e.Org
	return out
}

func failureMeta(f Failure) map[string]string {
	out := map[string]string{"failure": string(f.Reason)}
	if f.Status != 0 {
		out["status"] = strconv.Itoa(f.Status)
	}
	return out
}

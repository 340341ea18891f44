package webhooks

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// Change is what to change of an endpoint. What is nil stays as it is.
type Change struct {
	URL         *string
	Description *string
	Patterns    *[]string
	Status      *Status
}

func (c Change) to(e Endpoint) Endpoint {
	set(&e.URL, c.URL)
	set(&e.Description, c.Description)
	set(&e.Patterns, c.Patterns)
	set(&e.Status, c.Status)
	return e
}

func set[T any](into *T, value *T) {
	if value != nil {
		*into = *value
	}
}

// changed names what differs, as the API calls it.
func changed(a, b Endpoint) []string {
	var out []string
	for _, f := range []struct {
		name string
		same bool
	}{
		{"description", a.Description == b.Description}, {"events", slices.Equal(a.Patterns, b.Patterns)},
		{"status", a.Status == b.Status}, {"url", a.URL == b.URL},
	} {
		if !f.same {
			out = append(out, f.name)
		}
	}
	return out
}

// Update changes an endpoint. An endpoint that is made active again goes on where
// it stopped, at once. It needs webhooks:write and audit:read.
func (s *Service) Update(ctx context.Context, caller ident.Caller, id ident.WebhookID, c Change) (Overview, error) {
	return s.change(ctx, caller, id, func(tx Tx, before Endpoint, now time.Time) error {
		next := c.to(before)
		fields := changed(before, next)
		if len(fields) == 0 {
			return nil
		}
		if err := s.judge(next); err != nil {
			return err
		}
		if next.Status != before.Status {
			next.Cause = ""
			if next.Status == Disabled {
				next.Cause = ByHand
			}
		}
		if next.Status == Active { // a new address has a new chance
			next.Progress.Attempts, next.Progress.FailingSince, next.Progress.DueAt = 0, time.Time{}, now
		}
		if err := tx.UpdateWebhook(next); err != nil {
			return err
		}
		e := event(caller, next, audit.WebhookUpdated, now)
		e.Meta = map[string]string{"changed": strings.Join(fields, " "), "status": string(next.Status)}
		return tx.Record(e)
	})
}

// RotateSecret gives an endpoint a new secret and returns it, once. For grace, at
// most MaxSecretGrace, messages carry the signatures of both; of three secrets
// the oldest ends at once. It needs webhooks:write and audit:read.
func (s *Service) RotateSecret(ctx context.Context, caller ident.Caller, id ident.WebhookID, grace time.Duration) (Overview, secret.Plain, error) {
	if grace < 0 || grace > MaxSecretGrace {
		return Overview{}, secret.Plain{}, fault.Refuse("grace", "must be from 0s to 720h")
	}
	var plain secret.Plain
	o, err := s.change(ctx, caller, id, func(tx Tx, e Endpoint, now time.Time) error {
		old := e.Secrets[0]
		fresh, stored, err := newSecret(s.Sealer, s.Random, id, Secret{N: old.N + 1, CreatedAt: now})
		if err != nil {
			return err
		}
		plain = fresh
		next := []Secret{stored}
		if grace > 0 {
			old.ValidUntil = now.Add(grace)
			next = append(next, old)
		}
		if err := tx.PutWebhookSecrets(id, next); err != nil {
			return err
		}
		ev := event(caller, e, audit.WebhookSecretRotated, now)
		ev.Meta = map[string]string{"grace": grace.String()}
		return tx.Record(ev)
	})
	if err != nil {
		return Overview{}, secret.Plain{}, err
	}
	return o, plain, nil
}

// Test makes an event that only this endpoint is sent, whatever its patterns, in
// its turn. It needs webhooks:write and audit:read.
func (s *Service) Test(ctx context.Context, caller ident.Caller, id ident.WebhookID) error {
	_, err := s.change(ctx, caller, id, func(tx Tx, e Endpoint, now time.Time) error {
		if e.Status != Active {
			return fault.New(fault.Conflict, "The webhook is disabled.")
		}
		return tx.Record(event(caller, e, audit.WebhookTested, now))
	})
	return err
}

// Again is what to send again. One of the two is given.
type Again struct {
	// Since is from when on everything is sent again that the endpoint wants, in
	// order; a time that is not past passes over what waits.
	Since time.Time
	// Events are dead letters, all where empty: each is tried once.
	Events []ident.EventID
}

// Replay sends again what was sent or given up, and returns how many dead letters
// that are. It needs webhooks:write and audit:read.
func (s *Service) Replay(ctx context.Context, caller ident.Caller, id ident.WebhookID, a Again) (int, error) {
	if !a.Since.IsZero() && len(a.Events) > 0 {
		return 0, fault.Refuse("since", "cannot be given together with events")
	}
	n := 0
	_, err := s.change(ctx, caller, id, func(tx Tx, e Endpoint, now time.Time) (err error) {
		if e.Status != Active {
			return fault.New(fault.Conflict, "The webhook is disabled.")
		}
		ev := event(caller, e, audit.WebhookReplayed, now)
		if a.Since.IsZero() {
			if n, err = tx.ReplayDeadLetters(id, a.Events); err != nil {
				return err
			}
			if n < len(a.Events) {
				return fault.Refuse("events", "must be events among the dead letters of the webhook")
			}
			ev.Meta = map[string]string{"dead_letters": strconv.Itoa(n)}
		} else {
			if e.Progress.Position, err = tx.LogPosition(e.Org, a.Since); err != nil {
				return err
			}
			ev.Meta = map[string]string{"since": a.Since.UTC().Format(time.RFC3339)}
		}
		e.Progress.Attempts, e.Progress.FailingSince, e.Progress.DueAt = 0, time.Time{}, now
		if err := tx.UpdateWebhook(e); err != nil {
			return err
		}
		return tx.Record(ev)
	})
	return n, err
}

// change runs do on an endpoint that nobody else changes meanwhile, and returns
// what became of it.
func (s *Service) change(ctx context.Context, caller ident.Caller, id ident.WebhookID, do func(Tx, Endpoint, time.Time) error) (Overview, error) {
	now := s.Now()
	if err := s.permit(ctx, caller, now, audit.Target{Type: targetType, ID: string(id)}); err != nil {
		return Overview{}, err
	}
	err := s.Store.InWebhookTx(ctx, func(tx Tx) error {
		e, err := tx.LockWebhook(caller.Tenant(), id)
		if err != nil {
			return err
		}
		return do(tx, e, now)
	})
	if err := s.missing(ctx, caller, id, err); err != nil {
		return Overview{}, err
	}
	return s.Store.Webhook(ctx, caller.Tenant(), id)
}

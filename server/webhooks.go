package server

import (
	"context"
	"strconv"

	"github.com/tokenhouse/tokenhouse/audit/webhooks"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// webhook is an endpoint as every reply shows it: without its secret.
type webhook struct {
	ID          ident.WebhookID `json:"id"`
	URL         string          `json:"url"`
	Description string          `json:"description"`
	Events      []string        `json:"events"`
	Status      webhooks.Status `json:"status"`
	Cause       *string         `json:"disabled_by"` // administrator, gone or failing
	CreatedAt   timestamp       `json:"created_at"`
	CreatedBy   string          `json:"created_by"`
	Secrets     []clientSecret  `json:"secrets"` // the current one first
	webhookDelivery
}

// webhookDelivery is how the delivery goes.
type webhookDelivery struct {
	DeliveredAt  timestamp       `json:"delivered_at"`
	FailingSince timestamp       `json:"failing_since"`
	Attempts     int             `json:"attempts"` // that failed, of the event whose turn it is
	NextAttempt  timestamp       `json:"next_attempt_at"`
	Failure      *webhookFailure `json:"last_failure"`
	Waiting      int64           `json:"waiting"` // events of the organisation that were not looked at yet
	DeadLetters  int64           `json:"dead_letters"`
}

type webhookFailure struct {
	At     timestamp       `json:"at"`
	Reason webhooks.Reason `json:"reason"`
	Status int             `json:"status"` // 0 where no answer came
}

func failureOf(f webhooks.Failure) *webhookFailure {
	if f.At.IsZero() {
		return nil
	}
	return &webhookFailure{At: timestamp{f.At}, Reason: f.Reason, Status: f.Status}
}

func webhookOf(o webhooks.Overview) webhook {
	p := o.Progress
	out := webhook{
		ID: o.ID, URL: o.URL, Description: o.Description, Events: o.Patterns, Status: o.Status, Cause: orNull(string(o.Cause)),
		CreatedAt: timestamp{o.CreatedAt}, CreatedBy: o.CreatedBy, Secrets: make([]clientSecret, len(o.Secrets)),
		webhookDelivery: webhookDelivery{
			DeliveredAt: timestamp{p.DeliveredAt}, FailingSince: timestamp{p.FailingSince}, Attempts: p.Attempts,
			Failure: failureOf(p.Last), Waiting: o.Waiting, DeadLetters: o.DeadLetters,
		},
	}
	if p.Attempts > 0 && o.Status == webhooks.Active {
		out.NextAttempt = timestamp{p.DueAt}
	}
	for i, s := range o.Secrets {
		out.Secrets[i] = clientSecret{timestamp{s.CreatedAt}, timestamp{s.ValidUntil}}
	}
	return out
}

// newWebhook is the only reply that shows the secret of a webhook.
type newWebhook struct {
	webhook
	Secret string `json:"secret"`
}

func newWebhookOf(o webhooks.Overview, value secret.Plain) newWebhook {
	return newWebhook{webhook: webhookOf(o), Secret: value.Reveal()}
}

type webhookRequest struct {
	URL         string   `json:"url"`
	Description string   `json:"description"`
	Events      []string `json:"events"`
}

func (r *webhookRequest) read(*input) error { return missing("url", r.URL) }

// createWebhook serves POST /api/v1/webhooks.
func (s *Server) createWebhook(ctx context.Context, caller ident.Caller, req webhookRequest) (newWebhook, error) {
	o, value, err := s.Services.Webhooks.Create(ctx, caller, webhooks.New{URL: req.URL, Description: req.Description, Patterns: req.Events})
	if err != nil {
		return newWebhook{}, err
	}
	return newWebhookOf(o, value), nil
}

type webhookList struct{ pageRequest }

func (r *webhookList) read(i *input) error { return r.readPage(i) }

// listWebhooks serves GET /api/v1/webhooks.
func (s *Server) listWebhooks(ctx context.Context, caller ident.Caller, req webhookList) (page[webhook], error) {
	found, err := s.Services.Webhooks.List(ctx, caller, req.ask())
	if err != nil {
		return page[webhook]{}, err
	}
	return paged(s, req.pageRequest, found, func(o webhooks.Overview) string { return string(o.ID) }, webhookOf), nil
}

type webhookByID struct{ id ident.WebhookID }

func (r *webhookByID) read(i *input) (err error) {
	r.id, err = pathID(i, "id", ident.ParseWebhookID)
	return err
}

// getWebhook serves GET /api/v1/webhooks/:id.
func (s *Server) getWebhook(ctx context.Context, caller ident.Caller, req webhookByID) (webhook, error) {
	o, err := s.Services.Webhooks.Get(ctx, caller, req.id)
	if err != nil {
		return webhook{}, err
	}
	return webhookOf(o), nil
}

type webhookPatch struct {
	webhookByID
	URL         *string          `json:"url"`
	Description *string          `json:"description"`
	Events      *[]string        `json:"events"`
	Status      *webhooks.Status `json:"status"`
}

// updateWebhook serves PATCH /api/v1/webhooks/:id. What is left out stays as it is.
func (s *Server) updateWebhook(ctx context.Context, caller ident.Caller, req webhookPatch) (webhook, error) {
	o, err := s.Services.Webhooks.Update(ctx, caller, req.id, webhooks.Change{
		URL: req.URL, Description: req.Description, Patterns: req.Events, Status: req.Status,
	})
	if err != nil {
		return webhook{}, err
	}
	return webhookOf(o), nil
}

// deleteWebhook serves DELETE /api/v1/webhooks/:id.
func (s *Server) deleteWebhook(ctx context.Context, caller ident.Caller, req webhookByID) (none, error) {
	return none{}, s.Services.Webhooks.Delete(ctx, caller, req.id)
}

type rotateWebhookSecret struct {
	webhookByID
	Grace span `json:"grace"`
}

func (*rotateWebhookSecret) bodyOptional() {}

// rotateWebhookSecret serves POST /api/v1/webhooks/:id/rotate-secret. Without a
// grace messages are signed with the new secret alone from now on.
func (s *Server) rotateWebhookSecret(ctx context.Context, caller ident.Caller, req rotateWebhookSecret) (newWebhook, error) {
	o, value, err := s.Services.Webhooks.RotateSecret(ctx, caller, req.id, req.Grace.Duration)
	if err != nil {
		return newWebhook{}, err
	}
	return newWebhookOf(o, value), nil
}

// testWebhook serves POST /api/v1/webhooks/:id/test.
func (s *Server) testWebhook(ctx context.Context, caller ident.Caller, req webhookByID) (none, error) {
	return none{}, s.Services.Webhooks.Test(ctx, caller, req.id)
}

type webhookReplay struct {
	webhookByID
	Since  timestamp       `json:"since"`
	Events []ident.EventID `json:"dead_letters"`
}

func (*webhookReplay) bodyOptional() {}

// webhookReplayed says how many dead letters are tried again.
type webhookReplayed struct {
	DeadLetters int `json:"dead_letters"`
}

// maxReplayed bounds how many dead letters a request may name.
const maxReplayed = 200

// replayWebhook serves POST /api/v1/webhooks/:id/replay: of the dead letters that
// are named, of all, or of everything since a time.
func (s *Server) replayWebhook(ctx context.Context, caller ident.Caller, req webhookReplay) (webhookReplayed, error) {
	if len(req.Events) > maxReplayed {
		return webhookReplayed{}, fault.Refuse("dead_letters", "must be at most "+strconv.Itoa(maxReplayed))
	}
	n, err := s.Services.Webhooks.Replay(ctx, caller, req.id, webhooks.Again{Since: req.Since.Time, Events: req.Events})
	return webhookReplayed{n}, err
}

type deadLetterList struct {
	pageRequest
	webhookByID
	position int64
}

func (r *deadLetterList) read(i *input) error {
	if err := r.webhookByID.read(i); err != nil {
		return err
	}
	if err := r.readPage(i, string(r.id)); err != nil || r.before == "" {
		return err
	}
	var err error
	if r.position, err = strconv.ParseInt(r.before, 10, 64); err != nil {
		return fault.InvalidCursor
	}
	return nil
}

// deadLetter is an event that a webhook never took.
type deadLetter struct {
	Event    ident.EventID   `json:"event_id"`
	Name     string          `json:"event"`
	Attempts int             `json:"attempts"`
	Failure  *webhookFailure `json:"last_failure"`
	Replay   bool            `json:"replaying"` // it is to be tried again
}

// listDeadLetters serves GET /api/v1/webhooks/:id/dead-letters.
func (s *Server) listDeadLetters(ctx context.Context, caller ident.Caller, req deadLetterList) (page[deadLetter], error) {
	found, err := s.Services.Webhooks.DeadLetters(ctx, caller, req.id, req.position, req.ask().Limit)
	if err != nil {
		return page[deadLetter]{}, err
	}
	return paged(s, req.pageRequest, found, func(l webhooks.DeadLetter) string { return strconv.FormatInt(l.Position, 10) },
		func(l webhooks.DeadLetter) deadLetter {
			return deadLetter{Event: l.Event, Name: l.Name, Attempts: l.Attempts, Failure: failureOf(l.Last), Replay: l.Replay}
		}), nil
}

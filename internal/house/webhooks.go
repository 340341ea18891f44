package house

import (
	"context"
	"time"

	"github.com/tokenhouse/tokenhouse/audit/webhooks"
)

const (
	// webhooksEvery is how often it is looked for events to be sent. They get their
	// places in the chain about as often.
	webhooksEvery = time.Second
	// backlogEvery is how often what waits for webhooks is counted.
	backlogEvery = 15 * time.Second
	// deadLettersKept is how long what a webhook never took may be sent again.
	deadLettersKept = 90 * 24 * time.Hour
	// deadLetterBatch bounds how many one statement removes.
	deadLetterBatch = 500
)

// hooks are what manages webhooks and what delivers to them.
type hooks struct {
	service   *webhooks.Service
	deliverer *webhooks.Deliverer
}

// Webhooks manages the webhooks of organisations.
func (h *House) Webhooks() *webhooks.Service { return h.parts.webhooks.service }

// buildWebhooks makes what manages webhooks and what delivers to them.
func (h *House) buildWebhooks(context.Context) error {
	asker := h.outbound()
	asker.Timeout = webhooks.AttemptTimeout
	h.parts.webhooks.service = &webhooks.Service{Store: h.DB.Webhooks(), Sealer: h.parts.master, Targets: asker, Now: h.env.Now, Random: h.env.Random}
	h.parts.webhooks.deliverer = &webhooks.Deliverer{
		Queue: h.DB.WebhookQueue(), Chain: h.DB.Chain(), Sealer: h.parts.master, Asker: asker, Now: h.env.Now, Log: h.env.Logger,
		Observe: func(r webhooks.Result) { h.Metrics.WebhookTold(string(r)) },
	}
	return nil
}

// DeliverWebhooks sends what is to be sent to webhooks now, of all that has its
// place in the chain.
func (h *House) DeliverWebhooks(ctx context.Context) error {
	_, err := h.parts.webhooks.deliverer.Deliver(ctx)
	return err
}

// startWebhooks begins what is due, and does not wait for who is slow.
func (h *House) startWebhooks(ctx context.Context) error {
	_, err := h.parts.webhooks.deliverer.Start(ctx)
	return err
}

// followWebhooks delivers until ctx ends, and then what was begun.
func (h *House) followWebhooks(ctx context.Context) {
	h.every(ctx, webhooksEvery, "webhooks could not be looked after", h.startWebhooks)
	h.parts.webhooks.deliverer.Wait()
}

func (h *House) countBacklog(ctx context.Context) error {
	b, err := h.DB.WebhookQueue().WebhookBacklog(ctx)
	if err != nil {
		return err
	}
	h.Metrics.DeadLetters(b.DeadLetters)
	var age time.Duration
	if !b.Oldest.IsZero() {
		age = max(h.env.Now().Sub(b.Oldest), 0)
	}
	h.Metrics.WebhookBehind(age)
	return nil
}

// forgetDeadLetters removes what nobody wanted sent again.
func (h *House) forgetDeadLetters(ctx context.Context) error {
	for n := deadLetterBatch; n == deadLetterBatch && ctx.Err() == nil; {
		var err error
		if n, err = h.DB.WebhookQueue().PruneDeadLetters(ctx, h.env.Now().Add(-deadLettersKept), deadLetterBatch); err != nil {
			return err
		}
	}
	return nil
}

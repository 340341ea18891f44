package house

import (
	"context"
	"errors"
	"sync"
	"time"
)

// How often the work in the background is done.
const (
	flushEvery   = 5 * time.Second
	lockedEvery  = 15 * time.Second
	cleanupEvery = time.Minute
	keysEvery    = 30 * time.Second
	dueEvery     = 10 * time.Minute
)

// assertionBatch bounds how many used assertions one statement removes.
const assertionBatch = 500

// Run follows the log of changes and does the work in the background, until ctx
// ends. There is no cron job beside it.
func (h *House) Run(ctx context.Context) {
	h.state.serving.Store(true)
	defer h.state.serving.Store(false)
	var all sync.WaitGroup
	all.Go(func() { h.Feed.Run(ctx) })
	all.Go(func() { h.every(ctx, flushEvery, "the use of API keys could not be stored", h.APIKeys.Flush) })
	all.Go(func() {
		h.every(ctx, sealEvery, "events could not be given their places in the audit log", h.SealAudit)
	})
	all.Go(func() { h.deliverLogouts(ctx) })
	all.Go(func() { h.followWebhooks(ctx) })
	all.Go(func() { h.sendAudit(ctx) })
	all.Go(func() { h.every(ctx, backlogEvery, "what waits for webhooks could not be counted", h.countBacklog) })
	all.Go(func() { h.every(ctx, activityEvery, "what happened by the hour could not be counted", h.CountActivity) })
	all.Go(func() { h.deliverMails(ctx) })
	all.Go(func() { h.every(ctx, lockedEvery, "what waits to be sealed could not be looked up", h.countUnsealed) })
	all.Go(func() { h.every(ctx, lockedEvery, "locked logins could not be counted", h.countLocked) })
	all.Go(func() { h.every(ctx, flushEvery, "the use of clients could not be stored", h.parts.clientUsage.Flush) })
	all.Go(func() {
		h.every(ctx, flushEvery, "refused access tokens could not be recorded", h.parts.refusals.Flush)
	})
	all.Go(func() { h.every(ctx, cleanupEvery, "expired rows could not be removed", h.onTime(h.cleanup)) })
	all.Go(func() {
		h.every(ctx, dueEvery, "keys that expire or are due for rotation could not be marked", h.onTime(h.markDue))
	})
	all.Go(func() { h.every(ctx, keysEvery, "signing keys could not be rotated", h.onTime(h.Ring.Tend)) })
	all.Go(func() { h.every(ctx, clockEvery, "the clock cannot be believed", h.compareClocks) })
	all.Go(func() {
		h.every(ctx, keysEvery, "which master key the deployment is sealed under could not be read", h.parts.master.Refresh)
	})
	all.Wait()
}

// Tend does everything once that Run does again and again.
func (h *House) Tend(ctx context.Context) error {
	return errors.Join(h.Feed.Poll(ctx), h.SealAudit(ctx), h.TellLogouts(ctx), h.DeliverWebhooks(ctx), h.SendAudit(ctx), h.countBacklog(ctx), h.SendMails(ctx), h.APIKeys.Flush(ctx), h.CountActivity(ctx), h.parts.clientUsage.Flush(ctx), h.parts.refusals.Flush(ctx), h.countUnsealed(ctx), h.countLocked(ctx), h.onTime(h.cleanup)(ctx), h.onTime(h.markDue)(ctx), h.onTime(h.Ring.Tend)(ctx))
}

// every does work at once and then at each interval. What fails is logged and
// tried again.
func (h *House) every(ctx context.Context, interval time.Duration, failure string, work func(context.Context) error) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		if err := work(ctx); err != nil && ctx.Err() == nil {
			h.env.Logger.WarnContext(ctx, failure, "err", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// cleanup removes what stopped mattering, in small batches. A metric tells how
// long ago that last worked.
func (h *House) cleanup(ctx context.Context) error {
	_, err := h.Sessions.Cleanup(ctx)
	if err == nil {
		err = h.parts.places.Cleanup(ctx)
	}
	more := true
	for err == nil && more && ctx.Err() == nil {
		_, more, err = h.Logins.Prune(ctx)
	}
	now := h.env.Now()
	for n := assertionBatch; err == nil && n == assertionBatch && ctx.Err() == nil; {
		n, err = h.DB.ClientAssertions().DeleteExpiredAssertions(ctx, now, assertionBatch)
	}
	if err == nil {
		err = h.forgetCodes(ctx)
	}
	if err == nil {
		err = h.forgetMails(ctx)
	}
	if err == nil {
		_, err = h.Clients.Cleanup(ctx)
	}
	if err == nil {
		err = h.Ring.Prune(ctx)
	}
	if err == nil {
		err = h.forgetDeadLetters(ctx)
	}
	if err == nil {
		err = h.pruneAudit(ctx)
	}
	if err == nil {
		err = h.APIKeys.Prune(ctx)
	}
	if err == nil {
		err = h.Activity().Prune(ctx)
	}
	if err == nil {
		err = h.DB.Replicas().Prune(ctx, now.Add(-time.Hour))
	}
	if err == nil {
		h.state.cleaned.Store(now.UnixMicro())
	}
	return err
}

func (h *House) markDue(ctx context.Context) error {
	due, err := h.APIKeys.MarkDue(ctx)
	if err != nil {
		return err
	}
	h.Metrics.RotationDue(due)
	expiring, err := h.APIKeys.MarkExpiring(ctx)
	if err == nil {
		h.Metrics.Expiring(expiring)
	}
	return err
}

func (h *House) countLocked(ctx context.Context) error {
	locked, err := h.DB.Logins().LockedNow(ctx, h.env.Now())
	if err != nil {
		return err
	}
	scopes := make(map[string]int, len(locked))
	for kind, n := range locked {
		scopes[string(kind)] = n
	}
	h.Metrics.LockedNow(scopes)
	return nil
}

package webhooks

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/outbound"
)

// turn sends to one endpoint, unless another replica does. When ctx ends, the
// message that was begun is brought to its end and nothing else is begun.
func (d *Deliverer) turn(ctx context.Context, e Endpoint) error {
	letters, err := d.Queue.Replays(ctx, e.ID, turnEvents)
	if err != nil {
		return err
	}
	places, err := d.Chain.LinkedOf(ctx, e.Org, e.Progress.Position, placesRead)
	if err != nil || len(letters)+len(places) == 0 {
		return err
	}
	t := &turn{Deliverer: d, endpoint: e, begun: d.Now(), out: Outcome{Progress: e.Progress}}
	if len(letters) == 0 && !slices.ContainsFunc(places, t.wants) {
		// Nothing is sent, so nobody has to be kept away: one write less.
		t.out.Progress.Position = places[len(places)-1].Position
		return t.save(ctx)
	}
	won, err := d.Queue.ClaimWebhook(ctx, e, t.begun.Add(lease))
	if err != nil || !won {
		return err
	}
	t.endpoint.Turn++
	failed := t.replay(ctx, letters)
	if failed == nil && t.out.Disable == "" {
		failed = t.follow(ctx, places)
	}
	if t.out.Progress.Attempts == 0 {
		t.out.Progress.DueAt = t.Now() // behind those who wait for longer
	}
	return errors.Join(failed, t.save(context.WithoutCancel(ctx)))
}

// turn is one turn of an endpoint.
type turn struct {
	*Deliverer
	endpoint Endpoint
	begun    time.Time
	sent     int
	out      Outcome
}

func (t *turn) wants(p audit.Linked) bool { return !p.Pruned && t.endpoint.Wants(p.Event) }

func (t *turn) save(ctx context.Context) error {
	_, err := t.Queue.SaveWebhook(ctx, t.endpoint, t.out)
	return err
}

// over reports whether the turn has lasted long enough.
func (t *turn) over(ctx context.Context) bool {
	return ctx.Err() != nil || t.sent >= turnEvents || t.Now().Sub(t.begun) >= turnTime
}

// follow sends what stands after the endpoint's position, one after the other,
// until something fails. places are the first.
func (t *turn) follow(ctx context.Context, places []audit.Linked) (err error) {
	for len(places) > 0 {
		for _, p := range places {
			if t.wants(p) && (t.over(ctx) || !t.deliver(ctx, p)) {
				return nil
			}
			t.out.Progress.Position = p.Position
		}
		if len(places) < placesRead || t.over(ctx) {
			return nil
		}
		if places, err = t.Chain.LinkedOf(ctx, t.endpoint.Org, t.out.Progress.Position, placesRead); err != nil {
			return err
		}
	}
	return nil
}

// deliver makes one attempt and reports whether the next event has its turn.
func (t *turn) deliver(ctx context.Context, p audit.Linked) bool {
	now := t.Now()
	f, asked := t.send(ctx, p.Event, now)
	progress := &t.out.Progress
	if f.Reason == "" {
		progress.Attempts, progress.DueAt, progress.FailingSince, progress.DeliveredAt = 0, time.Time{}, time.Time{}, f.At
		t.observe(Delivered)
		return true
	}
	progress.Attempts++
	progress.Last = f
	if progress.FailingSince.IsZero() {
		progress.FailingSince = f.At
	}
	wait, again := pause(t.endpoint.ID, progress.Attempts, asked)
	switch {
	case f.Status == statusGone: // Standard Webhooks 1.0, "Deliverability and reliability"
		t.disable(Gone, f)
		t.observe(Refused)
	case f.At.Sub(progress.FailingSince) >= GiveUpAfter:
		t.disable(Failing, f)
		t.observe(Failed)
	case again:
		progress.DueAt = f.At.Add(wait)
		t.observe(Failed)
	default:
		t.bury(p, f)
		t.observe(GivenUp)
		return true
	}
	return false
}

// bury puts an event among the dead letters.
func (t *turn) bury(p audit.Linked, f Failure) {
	progress := &t.out.Progress
	t.out.Dead = append(t.out.Dead, DeadLetter{Position: p.Position, Event: p.Event.ID, Name: string(p.Event.Name), Attempts: progress.Attempts, Last: f})
	e := t.event(audit.WebhookDeadLettered, f)
	e.Meta["event_id"], e.Meta["event"] = string(p.Event.ID), string(p.Event.Name)
	t.out.Events = append(t.out.Events, e)
	progress.Attempts, progress.DueAt = 0, time.Time{}
}

func (t *turn) disable(c Cause, f Failure) {
	t.out.Disable = c
	e := t.event(audit.WebhookDisabled, f)
	e.Reason = string(c)
	t.out.Events = append(t.out.Events, e)
}

func (t *turn) event(name audit.Name, f Failure) audit.Event {
	return audit.Event{
		Time: f.At, Name: name, Outcome: audit.Failure, Reason: string(f.Reason), Actor: audit.Actor{Type: "system"}, Org: t.endpoint.Org,
		Targets: []audit.Target{targetOf(t.endpoint)}, Meta: failureMeta(f),
	}
}

// replay tries the dead letters that somebody wants tried again, once each.
func (t *turn) replay(ctx context.Context, letters []DeadLetter) error {
	for _, l := range letters {
		if t.over(ctx) || t.out.Disable != "" {
			return nil
		}
		if err := t.again(ctx, l); err != nil {
			return err
		}
	}
	return nil
}

func (t *turn) again(ctx context.Context, l DeadLetter) error {
	found, err := t.Chain.LinkedOf(ctx, t.endpoint.Org, l.Position-1, 1)
	if err != nil {
		return err
	}
	f := Failure{At: t.Now(), Reason: Pruned}
	if len(found) == 1 && found[0].Position == l.Position && !found[0].Pruned {
		f, _ = t.send(ctx, found[0].Event, f.At)
	}
	if f.Reason == "" {
		t.out.Replayed = append(t.out.Replayed, l.Position)
		t.out.Progress.DeliveredAt = f.At
		t.observe(Delivered)
		return nil
	}
	l.Last, l.Replay = f, false
	l.Attempts++
	t.out.Dead = append(t.out.Dead, l)
	if f.Status == statusGone {
		t.out.Progress.Last = f
		t.disable(Gone, f)
		t.observe(Refused)
		return nil
	}
	t.observe(GivenUp)
	return nil
}

// send makes one attempt. The failure's reason is empty where it succeeded; At is
// when it ended. asked is how long the receiver wants us to wait.
func (t *turn) send(ctx context.Context, e audit.Event, now time.Time) (f Failure, asked time.Duration) {
	t.sent++
	ctx = context.WithoutCancel(ctx)
	body, err := bodyOf(e)
	var with [][]byte
	if err == nil {
		with, err = keys(t.Sealer, t.endpoint, now)
	}
	if err != nil {
		t.Log.ErrorContext(ctx, "a webhook's message could not be signed", "webhook", t.endpoint.ID, "err", err)
		return Failure{At: now, Reason: Unsigned}, 0
	}
	res, err := t.Asker.Do(ctx, outbound.Request{
		Method: "POST", URL: t.endpoint.URL, Body: body, Header: headers(e.ID, now, body, with), MaxBytes: maxAnswer,
		Keep: string(t.endpoint.ID),
	})
	f = Failure{At: t.Now(), Status: res.Status}
	switch {
	case err == nil && res.Status >= 200 && res.Status < 300:
		return f, 0
	case err == nil:
		f.Reason = BadStatus
	case errors.Is(err, outbound.ErrRefused):
		f.Reason = Forbidden
	case errors.Is(err, outbound.ErrAnswer):
		f.Reason = BadAnswer
	default:
		f.Reason = Unreachable
	}
	t.Log.WarnContext(ctx, "a webhook took no message", "webhook", t.endpoint.ID, "event", e.ID,
		"attempt", t.out.Progress.Attempts+1, "reason", f.Reason, "status", f.Status, "err", err)
	return f, retryAfter(res.Header.Get("Retry-After"), f.At)
}

func (t *turn) observe(r Result) {
	if t.Observe != nil {
		t.Observe(r)
	}
}

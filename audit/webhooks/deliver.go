package webhooks

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/outbound"
)

// Limits of the delivery. Together they bound what a replica has in memory:
// maxTurns times placesRead events, and as many answers of maxAnswer bytes as
// there are turns.
const (
	// AttemptTimeout is how long a receiver may take for one message.
	AttemptTimeout = 15 * time.Second
	// turnTime is when a turn ends: after it nothing is begun.
	turnTime = 5 * time.Second
	// turnEvents bounds how many messages are sent in a turn.
	turnEvents = 100
	// lease is how long a turn may take before another replica takes over:
	// several times turnTime and AttemptTimeout together.
	lease = time.Minute
	// maxTurns bounds how many endpoints are sent to at once, turnsEach how many
	// of one organisation, so that no organisation keeps the others waiting.
	maxTurns  = 64
	turnsEach = 4
	// placesRead is how many links are read at once.
	placesRead = 100
	// maxAnswer bounds what is read of an answer, in bytes; only its status counts.
	maxAnswer = 64 << 10
)

// Result is how one attempt ended; a metric's label.
type Result string

// The results.
const (
	Delivered Result = "delivered"
	Failed    Result = "retried" // it failed, and is tried again
	GivenUp   Result = "dead"    // it failed for the last time
	Refused   Result = "gone"    // 410: the receiver wants no more
)

// Results lists every Result.
func Results() []Result { return []Result{Delivered, Failed, GivenUp, Refused} }

// Asker sends one request to a server that a tenant named: outbound.Client.
type Asker interface {
	Do(ctx context.Context, r outbound.Request) (outbound.Response, error)
}

// Deliverer sends events to endpoints. Every field but Observe is required.
type Deliverer struct {
	Queue  Queue
	Sealer Sealer
	Asker  Asker
	Now    func() time.Time
	Log    *slog.Logger
	// Observe, where set, is told how each attempt ended.
	Observe func(Result)

	mu    sync.Mutex
	turns map[ident.OrgID]int
	all   int
	ends  *sync.Cond
}

// Start begins a turn for each endpoint that is due and for which there is room,
// and returns how many it began. It does not wait for them.
func (d *Deliverer) Start(ctx context.Context) (int, error) {
	return d.start(ctx, func(e Endpoint, err error) {
		if err != nil && ctx.Err() == nil {
			d.Log.WarnContext(ctx, "a webhook's turn could not be taken or written down", "webhook", e.ID, "err", err)
		}
	})
}

func (d *Deliverer) start(ctx context.Context, ended func(Endpoint, error)) (int, error) {
	due, err := d.Queue.DueWebhooks(ctx, d.Now(), 2*maxTurns)
	if err != nil {
		return 0, err
	}
	begun := 0
	for _, e := range due {
		if ctx.Err() != nil {
			break
		}
		if !d.enter(e.Org) {
			continue
		}
		begun++
		go func() {
			err := d.turn(ctx, e)
			d.leave(e.Org) // first, so that there is room when the next is begun
			ended(e, err)
		}()
	}
	return begun, nil
}

// Wait returns when no turn is under way.
func (d *Deliverer) Wait() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for d.all > 0 {
		d.quiet().Wait()
	}
}

// Deliver sends all that is due now, and returns when the next is due: zero where
// nothing waits for its time. Replicas share the work, and so do those who call
// Deliver at the same time.
func (d *Deliverer) Deliver(ctx context.Context) (time.Time, error) {
	for ctx.Err() == nil {
		ends := make(chan error, maxTurns)
		n, err := d.start(ctx, func(_ Endpoint, err error) { ends <- err })
		for range n {
			err = errors.Join(err, <-ends)
		}
		if err != nil {
			return time.Time{}, err
		}
		if n == 0 {
			break
		}
	}
	return d.Queue.NextWebhook(ctx)
}

// quiet is told when the last turn ends. The caller holds mu.
func (d *Deliverer) quiet() *sync.Cond {
	if d.ends == nil {
		d.ends = sync.NewCond(&d.mu)
	}
	return d.ends
}

func (d *Deliverer) enter(org ident.OrgID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.all >= maxTurns || d.turns[org] >= turnsEach {
		return false
	}
	if d.turns == nil {
		d.turns = map[ident.OrgID]int{}
	}
	d.turns[org]++
	d.all++
	return true
}

func (d *Deliverer) leave(org ident.OrgID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.all--; d.all == 0 {
		d.quiet().Broadcast()
	}
	if d.turns[org]--; d.turns[org] == 0 {
		delete(d.turns, org)
	}
}

// turn sends to one endpoint, unless another replica does. When ctx ends, the
// message that was begun is brought to its end and nothing else is begun.
func (d *Deliverer) turn(ctx context.Context, e Endpoint) error {
	letters, err := d.Queue.Replays(ctx, e, turnEvents)
	if err != nil {
		return err
	}
	places, err := d.Queue.Places(ctx, e.Org, e.Progress.Position, placesRead)
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
	t.replay(ctx, letters)
	var failed error
	if t.out.Disable == "" {
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

func (t *turn) wants(p Place) bool { return !p.Pruned && t.endpoint.Wants(p.Event) }

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
func (t *turn) follow(ctx context.Context, places []Place) (err error) {
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
		if places, err = t.Queue.Places(ctx, t.endpoint.Org, t.out.Progress.Position, placesRead); err != nil {
			return err
		}
	}
	return nil
}

// deliver makes one attempt and reports whether the next event has its turn.
func (t *turn) deliver(ctx context.Context, p Place) bool {
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
	case f.Status == 410: // Standard Webhooks 1.0, "Deliverability and reliability"
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
func (t *turn) bury(p Place, f Failure) {
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
func (t *turn) replay(ctx context.Context, letters []Replay) {
	for _, r := range letters {
		if t.over(ctx) {
			return
		}
		f := Failure{At: t.Now(), Reason: Pruned}
		if !r.Place.Pruned {
			f, _ = t.send(ctx, r.Place.Event, f.At)
		}
		if f.Reason == "" {
			t.out.Replayed = append(t.out.Replayed, r.Position)
			t.out.Progress.DeliveredAt = f.At
			t.observe(Delivered)
			continue
		}
		r.Last, r.Replay = f, false
		r.Attempts++
		t.out.Dead = append(t.out.Dead, r.DeadLetter)
		if f.Status == 410 {
			t.out.Progress.Last = f
			t.disable(Gone, f)
			t.observe(Refused)
			return
		}
		t.observe(GivenUp)
	}
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

package webhooks_test

import (
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/audit/webhooks"
)

// What an endpoint wants is sent to it, in the order of the log, once, and
// nothing else: neither what was before nor what another organisation did.
func TestEventsAreSentInTheirOrder(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		other := w.organisation("other")
		w.happen(w.org, audit.LoginFailed) // before there was an endpoint
		all, some := receives(t), receives(t)
		w.hook(all, w.org)
		w.hook(some, w.org, "login.*", "api_key.leaked")
		made := []string{}
		for _, e := range w.recorded(audit.WebhookCreated) {
			made = append(made, string(e.ID))
		}
		var want []string
		for i := range 30 {
			ids := w.happen(w.org, audit.LoginFailed, audit.OrgUpdated)
			want = append(want, ids[0])
			made = append(made, ids...)
			w.happen(other, audit.LoginFailed)
			if i%10 == 0 {
				w.turns()
			}
		}
		w.turns()
		if got := some.attempts(); !slices.Equal(got, want) {
			t.Errorf("sent %d, want %d: %v", len(got), len(want), got)
		}
		if got := all.attempts(); !slices.Equal(got, made) {
			t.Errorf("the one for everything was sent %d, want %d", len(got), len(made))
		}
		if n := w.count(webhooks.Delivered); n != len(want)+len(made) {
			t.Errorf("%d deliveries are counted", n)
		}
		if n := all.conns.Load(); n != 1 {
			t.Errorf("%d messages took %d connections", len(made), n)
		}
		if line := some.taken[0].line; line.Event != audit.LoginFailed || line.Org != w.org || line.Code != "TH1002E" {
			t.Errorf("%+v", line)
		}
	})
}

// Receivers that hang hold up neither other organisations nor more than a few
// turns of their own: what a replica has under way is bounded.
func TestSlowReceiversKeepNobodyWaiting(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		slow, quick := receives(t), receives(t)
		quiet := w.organisation("quick")
		secrets := make([]string, 0, webhooks.MaxEndpoints)
		for range webhooks.MaxEndpoints {
			_, s, err := w.Create(t.Context(), admin(w.org), webhooks.New{URL: slow.url, Patterns: []string{"login.*"}})
			w.must(err)
			secrets = append(secrets, s.Reveal())
		}
		if _, _, err := w.Create(t.Context(), admin(w.org), webhooks.New{URL: slow.url}); err == nil {
			t.Error("there may be any number of endpoints")
		}
		w.hook(quick, quiet, "login.*")
		release := make(chan struct{})
		hangs := func(string) { <-release }
		slow.during.Store(&hangs)
		w.happen(w.org, audit.LoginFailed)
		want := w.happen(quiet, audit.LoginFailed, audit.LoginFailed)
		n, err := w.deliver.Start(t.Context())
		if err != nil || n != 5 {
			t.Errorf("%d turns are begun, %v", n, err)
		}
		quick.until(t, "the quick one is told", func() bool { return slices.Equal(quick.ids(), want) })
		if n, err := w.deliver.Start(t.Context()); err != nil || n != 0 {
			t.Errorf("%d more turns of the slow ones are begun, %v", n, err)
		}
		close(release)
		w.deliver.Wait()
		if slow.most.Load() > 4 {
			t.Errorf("%d at once to one organisation", slow.most.Load())
		}
		w.advance(time.Hour)
		w.turns()
		if got := len(slow.ids()); got < len(secrets) {
			t.Errorf("%d of %d are told in the end", got, len(secrets))
		}
	})
}

// Of many replicas that deliver at the same time, one does, and the order stays.
func TestReplicasShareTheWork(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		const events = 250 // more than a turn's
		r := receives(t)
		w.hook(r, w.org, "login.*")
		var want []string
		for range events / 10 {
			want = append(want, w.happen(w.org, slices.Repeat([]audit.Name{audit.LoginFailed}, 10)...)...)
		}
		replicas := []*webhooks.Deliverer{w.deliver, w.deliverer(w.db), w.deliverer(w.db)}
		for range 3 {
			var all sync.WaitGroup
			for _, d := range replicas {
				for range 3 {
					all.Go(func() {
						if _, err := d.Deliver(t.Context()); err != nil {
							t.Error(err)
						}
					})
				}
			}
			all.Wait()
		}
		if got := r.attempts(); !slices.Equal(got, want) {
			t.Errorf("%d attempts for %d events, or out of order", len(got), len(want))
		}
		if r.most.Load() != 1 {
			t.Errorf("%d messages at once", r.most.Load())
		}
	})
}

// A replica that dies between sending and writing that down makes another send
// again, with the same id, so that the receiver can tell; and what it did not
// send is not lost.
func TestWhatWasNotWrittenDownIsSentAgain(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		r := receives(t)
		w.hook(r, w.org, "login.*")
		want := w.happen(w.org, audit.LoginFailed, audit.LoginLocked)
		dies := func(id string) { w.failing.Store(id == want[1]) }
		r.during.Store(&dies)
		_, err := w.deliver.Start(t.Context())
		w.must(err)
		w.deliver.Wait()
		w.failing.Store(false)
		r.during.Store(nil)
		if got := r.ids(); !slices.Equal(got, want) {
			t.Fatalf("sent: %v", got)
		}
		w.turns()
		if got := r.ids(); len(got) != 2 {
			t.Errorf("taken over before the lease ended: %v", got)
		}
		w.advance(time.Minute)
		w.turns()
		if got := r.ids(); !slices.Equal(got, append(want, want...)) {
			t.Errorf("sent: %v", got)
		}
	})
}

// A change in the middle of a turn counts from the next turn on; what was under
// way is sent again by the new rules.
func TestAnEndpointMayChangeWhileItIsToldSomething(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		before, after := receives(t), receives(t)
		o := w.hook(before, w.org, "login.*")
		want := w.happen(w.org, audit.LoginFailed, audit.LoginLocked)
		var once atomic.Bool
		moves := func(string) {
			if once.CompareAndSwap(false, true) {
				_, err := w.Update(t.Context(), admin(w.org), o.ID, webhooks.Change{URL: &after.url})
				if err != nil {
					t.Error(err)
				}
			}
		}
		before.during.Store(&moves)
		w.turns()
		if a, b := before.ids(), after.ids(); !slices.Equal(a, want) || !slices.Equal(b, want) {
			t.Errorf("the old address took %v, the new one %v", a, b)
		}
	})
}

// Everything since a time is sent again, in order; a time that is not past
// passes over what waits.
func TestReplayingATime(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		r := receives(t)
		o := w.hook(r, w.org, "login.*")
		var want []string
		var since time.Time
		for i := range 10 {
			w.advance(time.Hour)
			if i == 4 {
				since = w.now()
			}
			want = append(want, w.happen(w.org, audit.LoginFailed)...)
		}
		w.turns()
		r.forget()
		n, err := w.Replay(t.Context(), admin(w.org), o.ID, webhooks.Again{Since: since})
		if w.must(err); n != 0 {
			t.Errorf("%d dead letters", n)
		}
		w.turns()
		if got := r.ids(); !slices.Equal(got, want[4:]) {
			t.Errorf("sent again: %v, want %v", got, want[4:])
		}
		r.forget()
		r.status.Store(http.StatusInternalServerError)
		w.happen(w.org, audit.LoginFailed)
		w.turns()
		r.status.Store(http.StatusOK)
		w.advance(time.Minute)
		_, err = w.Replay(t.Context(), admin(w.org), o.ID, webhooks.Again{Since: w.now()})
		w.must(err)
		w.turns()
		if got := r.ids(); len(got) != 0 {
			t.Errorf("passed over, and sent: %v", got)
		}
	})
}

package webhooks_test

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/audit/webhooks"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// A receiver that is down for an hour is sent everything afterwards, in order;
// nothing overtakes the event that could not be delivered, whose attempts are
// made when the documentation says.
func TestAReceiverThatIsDownForAnHour(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		r := receives(t)
		o := w.hook(r, w.org, "login.*")
		r.status.Store(0)
		want := w.happen(w.org, audit.LoginFailed)
		down := w.now()
		var waited []time.Duration
		for w.now().Sub(down) < time.Hour {
			next := w.turns()
			if next.IsZero() {
				t.Fatal("nothing waits for its time")
			}
			w.at.Store(next.UnixMicro() - 1)
			want = append(want, w.happen(w.org, audit.LoginFailed)...)
			if before := len(r.attempts()); !w.turns().Equal(next) || len(r.attempts()) != before {
				t.Fatal("it is tried before its time")
			}
			waited = append(waited, next.Sub(down))
			w.advance(time.Microsecond)
		}
		for _, id := range r.attempts() {
			if id != want[0] {
				t.Fatalf("%s overtook %s", id, want[0])
			}
		}
		var at time.Duration
		for i, wait := range waited {
			if at += webhooks.Retries()[i]; wait < at || wait > at*11/10 {
				t.Errorf("attempt %d after %v, want %v", i+2, wait, at)
			}
		}
		if seen := w.look(o); seen.Progress.Attempts != len(waited) || !seen.Progress.FailingSince.Equal(down) || seen.Progress.Last.Reason != webhooks.Unreachable || seen.Waiting < int64(len(waited)) {
			t.Errorf("%+v", seen)
		}
		r.status.Store(http.StatusOK)
		w.turns()
		if got := r.ids(); !slices.Equal(got, want) {
			t.Errorf("of %d events %d were taken: %v", len(want), len(got), got)
		}
		if seen := w.look(o); seen.Progress.Attempts != 0 || !seen.Progress.FailingSince.IsZero() || seen.Waiting != 0 || seen.DeadLetters != 0 {
			t.Errorf("%+v", seen)
		}
	})
}

// An event that is answered 500 in all its attempts is a dead letter, and the
// next has its turn. It is delivered after all where somebody wants that.
func TestWhatIsRefusedForDaysIsADeadLetter(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		r := receives(t)
		o := w.hook(r, w.org, "*")
		w.turns()
		r.forget()
		r.status.Store(http.StatusInternalServerError)
		want := w.happen(w.org, audit.LoginFailed, audit.LoginLocked)
		begun := w.now()
		poison := want[0]
		heal := func(id string) {
			if r.status.Store(http.StatusOK); id == poison {
				r.status.Store(http.StatusInternalServerError)
			}
		}
		r.during.Store(&heal)
		for next := w.turns(); !next.IsZero(); next = w.turns() {
			w.at.Store(next.UnixMicro())
		}
		if n := len(r.attempts()) - len(r.ids()); n != len(webhooks.Retries())+1 || w.count(webhooks.Failed) != n-1 || w.count(webhooks.GivenUp) != 1 {
			t.Errorf("%d attempts, %v", n, w.results)
		}
		if took := w.now().Sub(begun); took < 72*time.Hour || took > 96*time.Hour {
			t.Errorf("given up after %v", took)
		}
		if got := r.ids(); !slices.Equal(got, want[1:]) { // and not that it became a dead letter
			t.Errorf("taken: %v, want %v", got, want[1:])
		}
		dead, err := w.DeadLetters(t.Context(), admin(w.org), o.ID, 0, 10)
		if err != nil || len(dead) != 1 || string(dead[0].Event) != poison || dead[0].Name != "login.failed" || dead[0].Attempts != len(webhooks.Retries())+1 || dead[0].Last.Status != 500 {
			t.Fatalf("%+v, %v", dead, err)
		}
		said := w.recorded(audit.WebhookDeadLettered)
		if len(said) != 1 || said[0].Meta["event_id"] != poison || said[0].Org != w.org || said[0].Meta["status"] != "500" {
			t.Errorf("the log says %+v", said)
		}

		replay := func(want error, n int) {
			t.Helper()
			if got, err := w.Replay(t.Context(), admin(w.org), o.ID, webhooks.Again{Events: []ident.EventID{dead[0].Event}}); got != n || !errors.Is(err, want) {
				t.Errorf("%d are replayed, %v", got, err)
			}
			w.turns()
		}
		replay(nil, 1) // which fails once more, and stays
		if dead, _ := w.DeadLetters(t.Context(), admin(w.org), o.ID, 0, 10); len(dead) != 1 || dead[0].Replay || dead[0].Attempts != len(webhooks.Retries())+2 {
			t.Errorf("%+v", dead)
		}
		r.during.Store(nil)
		r.status.Store(http.StatusOK)
		r.forget()
		replay(nil, 1)
		if got := r.ids(); !slices.Contains(got, poison) || w.look(o).DeadLetters != 0 {
			t.Errorf("taken: %v", got)
		}
		if _, err := w.Replay(t.Context(), admin(w.org), o.ID, webhooks.Again{Events: []ident.EventID{dead[0].Event}}); err == nil {
			t.Error("what is no dead letter is replayed")
		}
	})
}

// A receiver that takes nothing for five days is disabled. Enabled, it goes on
// where it stopped: but for its dead letters, nothing is lost.
func TestWhoTakesNothingForDaysIsDisabled(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		r := receives(t)
		o := w.hook(r, w.org, "login.*")
		r.status.Store(http.StatusServiceUnavailable)
		want := w.happen(w.org, audit.LoginFailed, audit.LoginLocked, audit.LoginSucceeded)
		begun := w.now()
		for next := w.turns(); !next.IsZero(); next = w.turns() {
			w.at.Store(next.UnixMicro())
		}
		seen := w.look(o)
		if took := w.now().Sub(begun); seen.Status != webhooks.Disabled || seen.Cause != webhooks.Failing || took < webhooks.GiveUpAfter || took > webhooks.GiveUpAfter+26*time.Hour {
			t.Errorf("after %v: %+v", took, seen)
		}
		if said := w.recorded(audit.WebhookDisabled); len(said) != 1 || said[0].Reason != "failing" {
			t.Errorf("the log says %+v", said)
		}
		attempts := len(r.attempts())
		w.advance(30 * 24 * time.Hour)
		want = append(want, w.happen(w.org, audit.LoginRefused)...)
		w.turns()
		if len(r.attempts()) != attempts {
			t.Error("a disabled endpoint is sent something")
		}
		r.status.Store(http.StatusOK)
		active := webhooks.Active
		_, err := w.Update(t.Context(), admin(w.org), o.ID, webhooks.Change{Status: &active})
		w.must(err)
		w.turns()
		_, err = w.Replay(t.Context(), admin(w.org), o.ID, webhooks.Again{})
		w.must(err)
		w.turns()
		got := r.ids()
		if slices.Sort(got); !slices.Equal(got, slices.Sorted(slices.Values(want))) || w.look(o).Status != webhooks.Active {
			t.Errorf("taken: %v, want %v", got, want)
		}
	})
}

// 410 ends it at once, in the middle of what waits.
func TestGoneIsGone(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		r := receives(t)
		o := w.hook(r, w.org, "login.*")
		want := w.happen(w.org, audit.LoginFailed, audit.LoginLocked, audit.LoginRefused)
		gone := func(id string) {
			if id == want[1] {
				r.status.Store(http.StatusGone)
			}
		}
		r.during.Store(&gone)
		w.turns()
		w.advance(24 * time.Hour)
		w.turns()
		if got := r.attempts(); !slices.Equal(got, want[:2]) {
			t.Errorf("sent: %v", got)
		}
		if seen := w.look(o); seen.Status != webhooks.Disabled || seen.Cause != webhooks.Gone || seen.Progress.Last.Status != 410 {
			t.Errorf("%+v", seen)
		}
		if said := w.recorded(audit.WebhookDisabled); len(said) != 1 || said[0].Reason != "gone" || w.count(webhooks.Refused) != 1 {
			t.Errorf("the log says %+v", said)
		}
		r.during.Store(nil)
		r.status.Store(http.StatusOK)
		active := webhooks.Active
		_, err := w.Update(t.Context(), admin(w.org), o.ID, webhooks.Change{Status: &active})
		w.must(err)
		w.turns()
		if got := r.ids(); !slices.Equal(got, want) {
			t.Errorf("taken: %v, want %v", got, want)
		}
	})
}

// Who does not answer in time is tried again; who redirects or sends an endless
// answer is not followed.
func TestAnswersThatAreNone(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		r := receives(t)
		o := w.hook(r, w.org, "login.*")
		want := w.happen(w.org, audit.LoginFailed)
		release := make(chan struct{})
		hangs := func(string) { <-release }
		r.during.Store(&hangs)
		w.turns()
		r.status.Store(http.StatusInternalServerError)
		close(release)
		r.until(t, "it has given up answering", func() bool { return r.inside.Load() == 0 })
		if seen := w.look(o); seen.Progress.Attempts != 1 || seen.Progress.Last.Reason != webhooks.Unreachable {
			t.Errorf("one that hangs: %+v", seen.Progress)
		}
		r.during.Store(nil)
		for i, status := range []int{302, 400, 404, 429, 500} {
			r.status.Store(int64(status))
			w.advance(24 * time.Hour / 4)
			w.turns()
			if seen := w.look(o); seen.Progress.Attempts != i+2 || seen.Progress.Last.Status != status || seen.Progress.Last.Reason != webhooks.BadStatus {
				t.Errorf("%d: %+v", status, seen.Progress)
			}
		}
		later := strconv.Itoa(int((5 * time.Hour).Seconds()))
		r.retryAfter.Store(&later)
		w.advance(24 * time.Hour / 4)
		if next := w.turns(); !next.Equal(w.now().Add(5 * time.Hour)) {
			t.Errorf("asked for 5 h, tried in %v", next.Sub(w.now()))
		}
		r.forget()
		r.status.Store(http.StatusOK)
		w.advance(5 * time.Hour)
		w.turns()
		if got := r.ids(); !slices.Equal(got, want) {
			t.Errorf("taken: %v", got)
		}
	})
}

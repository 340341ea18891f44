package storagetest

import (
	"crypto/rand"
	"errors"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/oauth"
	"github.com/tokenhouse/tokenhouse/tokens"
)

// farewell is a user with a session at a client that wants to hear of logouts.
type farewell struct {
	user    accounts.User
	org     accounts.Org
	hears   oauth.Registered // has a backchannel_logout_uri
	silent  oauth.Registered // has none
	session map[string]ident.SessionID
}

// farewells opens a session at each kind of client, and a first-party one.
func farewells(t *testing.T, f *fixture) farewell {
	t.Helper()
	w := farewell{user: f.user("anna@example.com"), org: f.org("acme"), session: map[string]ident.SessionID{}}
	f.populate(t, []accounts.User{w.user}, []accounts.Org{w.org})
	w.hears, w.silent = bareClient(w.org.ID, f.now), bareClient(w.org.ID, f.now)
	w.hears.Logout.BackchannelURI = "https://a.example/logout"
	insertClients(t, f, w.hears, w.silent)
	for name, client := range map[string]ident.ClientID{"hears": w.hears.ID, "second": w.hears.ID, "silent": w.silent.ID, "first-party": apiClient} {
		fam := tokens.Family{
			ID: ident.NewSessionID(f.now, rand.Reader), User: w.user.ID, Org: w.org.ID, Client: client, CreatedAt: f.now, ExpiresAt: f.now.Add(time.Hour),
		}
		f.inSession(t, func(tx tokens.Tx) error { return tx.InsertFamily(fam, time.Time{}) })
		w.session[name] = fam.ID
	}
	return w
}

// logoutQueueing: the end of a client's session is queued in its commit, with
// it undone, and once.
func logoutQueueing(t *testing.T, f *fixture) {
	w := farewells(t, f)
	at := f.now.Add(time.Minute)
	e := tokens.Ending{User: w.user.ID, Reason: "logout", At: at, Until: at.Add(time.Hour), Except: w.session["second"]}
	undone := errors.New("undone")
	err := f.Sessions().InTx(t.Context(), func(tx tokens.Tx) error {
		if _, err := tx.EndSessions(e); err != nil {
			return err
		}
		return undone
	})
	if got := dueLogouts(t, f, at); err == nil || len(got) != 0 {
		t.Errorf("an end that was undone (%v) is queued: %+v", err, got)
	}
	f.inSession(t, func(tx tokens.Tx) error { _, err := tx.EndSessions(e); return err })
	want := []oauth.PendingLogout{{Session: w.session["hears"], Client: w.hears.ID, User: w.user.ID, Org: w.org.ID, EndedAt: at, DueAt: at}}
	if got := dueLogouts(t, f, at); !reflect.DeepEqual(got, want) {
		t.Errorf("queued %+v, want %+v", got, want)
	}
	if got := dueLogouts(t, f, at.Add(-time.Microsecond)); len(got) != 0 {
		t.Errorf("due before its time: %+v", got)
	}
	e.Except = ""
	f.inSession(t, func(tx tokens.Tx) error { _, err := tx.EndSessions(e); return err })
	if got := dueLogouts(t, f, at); len(got) != 2 || got[0].Session == got[1].Session {
		t.Errorf("queued %+v, want one for each of two", got)
	}
}

// logoutOfTheAbsent: a client with offline_access hears that the browser session
// ended, and keeps its own.
func logoutOfTheAbsent(t *testing.T, f *fixture) {
	w := farewells(t, f)
	browser, offline := w.session["first-party"], ident.NewSessionID(f.now, rand.Reader)
	f.inSession(t, func(tx tokens.Tx) error {
		return tx.InsertFamily(tokens.Family{
			ID: offline, User: w.user.ID, Org: w.org.ID, Client: w.hears.ID, CreatedAt: f.now, ExpiresAt: f.now.Add(time.Hour),
			Delegation: tokens.Delegation{Browser: browser, Offline: true},
		}, time.Time{})
	})
	at := f.now.Add(time.Minute)
	f.inSession(t, func(tx tokens.Tx) error {
		_, err := tx.EndSessions(tokens.Ending{User: w.user.ID, Client: apiClient, Reason: "logout", At: at, Until: at.Add(time.Hour)})
		return err
	})
	want := []oauth.PendingLogout{{Session: offline, Client: w.hears.ID, User: w.user.ID, Org: w.org.ID, EndedAt: at, DueAt: at}}
	if got := dueLogouts(t, f, at); !reflect.DeepEqual(got, want) {
		t.Errorf("queued %+v, want %+v", got, want)
	}
	if got, err := f.Sessions().Family(t.Context(), offline); err != nil || !got.Ended.At.IsZero() {
		t.Errorf("the session itself: %+v, %v", got, err)
	}
}

// logoutDelivery: one of many claims an attempt; what is settled is forgotten,
// and told to the audit log once.
func logoutDelivery(t *testing.T, f *fixture) {
	w := farewells(t, f)
	q := f.Logouts()
	if next, err := q.NextLogout(t.Context()); err != nil || !next.IsZero() {
		t.Errorf("the next of none is %v, %v", next, err)
	}
	at := f.now.Add(time.Minute)
	f.inSession(t, func(tx tokens.Tx) error {
		_, err := tx.EndSessions(tokens.Ending{User: w.user.ID, Reason: "logout", At: at, Until: at.Add(time.Hour)})
		return err
	})
	due := dueLogouts(t, f, at)
	if len(due) != 2 {
		t.Fatalf("%d logouts are queued, want 2", len(due))
	}
	lease := at.Add(30 * time.Second)
	claimed := f.claimTogether(t, due[0], lease)
	if got := dueLogouts(t, f, at); !slices.Equal(got, due[1:]) {
		t.Errorf("due beside a claimed one: %+v", got)
	}
	if next, err := q.NextLogout(t.Context()); err != nil || !next.Equal(at) {
		t.Errorf("next at %v (%v), want %v", next, err, at)
	}
	if got := dueLogouts(t, f, lease); !slices.Contains(got, claimed) {
		t.Errorf("a lease that ran out is not due: %+v", got)
	}
	again := claimed.DueAt.Add(time.Second)
	if err := q.PostponeLogout(t.Context(), due[0], again); err != nil {
		t.Fatal(err)
	}
	if got := dueLogouts(t, f, lease); !slices.Contains(got, claimed) {
		t.Errorf("somebody who did not claim it postponed it: %+v", got)
	}
	if err := q.PostponeLogout(t.Context(), claimed, again); err != nil {
		t.Fatal(err)
	}
	claimed.DueAt = again
	if got := dueLogouts(t, f, again); !slices.Contains(got, claimed) {
		t.Errorf("postponed: %+v, want %+v", got, claimed)
	}
	before := len(f.committed())
	for range 2 {
		if err := q.SettleLogout(t.Context(), claimed, audit.Event{Time: at, Name: audit.LogoutDelivered}); err != nil {
			t.Fatal(err)
		}
	}
	if got := f.committed()[before:]; !slices.Equal(got, []audit.Name{audit.LogoutDelivered}) {
		t.Errorf("settling twice recorded %v", got)
	}
	if got := dueLogouts(t, f, again); !slices.Equal(got, due[1:]) {
		t.Errorf("left after one was settled: %+v", got)
	}
}

// claimTogether lets many claim the same attempt and returns what the one who
// could has.
func (f *fixture) claimTogether(t *testing.T, p oauth.PendingLogout, until time.Time) oauth.PendingLogout {
	t.Helper()
	var won atomic.Int64
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			mine, err := f.Logouts().ClaimLogout(t.Context(), p, until)
			if err != nil {
				t.Error(err)
			} else if mine {
				won.Add(1)
			}
		})
	}
	all.Wait()
	if won.Load() != 1 {
		t.Errorf("%d of 20 claimed the same attempt", won.Load())
	}
	p.Attempts, p.DueAt = p.Attempts+1, until
	return p
}

func dueLogouts(t *testing.T, f *fixture, now time.Time) []oauth.PendingLogout {
	t.Helper()
	got, err := f.Logouts().DueLogouts(t.Context(), now, 10)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

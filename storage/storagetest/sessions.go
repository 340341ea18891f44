package storagetest

import (
	"crypto/rand"
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/tokens"
)

// familyAt is a family whose every field is filled.
func familyAt(now time.Time, user ident.UserID, org ident.OrgID) tokens.Family {
	return tokens.Family{
		ID: ident.NewSessionID(now, rand.Reader), User: user, Org: org, Client: apiClient, Method: "password", Refreshable: true,
		CreatedAt: now, ExpiresAt: now.Add(30 * 24 * time.Hour), Version: 3,
		Seen: tokens.Seen{At: now.Add(time.Millisecond), IP: netip.MustParseAddr("2001:db8::1"), UserAgent: "o'neil"},
		Chain: tokens.Chain{
			Generation: 1<<32 - 1, LastUsed: 1 << 31, PreviousAt: now.Add(time.Microsecond), RetryKey: tokens.Digest{1},
			Contested: tokens.Contested{From: 1, To: 2, At: now.Add(time.Second), Agent: tokens.Digest{2}}, Live: "aaaaaaaa/1/zzzzzz /2/zzzzzz",
		},
		Holder:          tokens.Holder{Network: "192.0.2.0/24", Agent: tokens.Digest{3}, Proof: tokens.Digest{4}, Proven: true},
		AuthenticatedAt: now.Add(-time.Minute),
	}
}

// inSession does fn in one transaction, which must commit.
func (f *fixture) inSession(t *testing.T, fn func(tokens.Tx) error) {
	t.Helper()
	if err := f.Sessions().InTx(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

// sessionStore: what is stored comes back, and one of two swaps wins.
func sessionStore(t *testing.T, f *fixture) {
	user, org := f.user("anna@example.com"), f.org("acme")
	f.populate(t, []accounts.User{user}, []accounts.Org{org})
	f.letsIn(t, org.ID, webClient)
	whole := familyAt(f.now, user.ID, org.ID)
	whole.Client, whole.Delegation = webClient, tokens.Delegation{Browser: "sess_0", Offline: true, Authorization: `{"scope":["openid"]}`}
	bare := tokens.Family{ID: ident.NewSessionID(f.now.Add(time.Hour), rand.Reader), User: user.ID, Org: org.ID, CreatedAt: f.now, ExpiresAt: f.now.Add(time.Hour)}
	f.inSession(t, func(tx tokens.Tx) error {
		return errors.Join(tx.InsertFamily(whole, time.Time{}), tx.InsertFamily(bare, time.Time{}))
	})
	for _, want := range []tokens.Family{whole, bare} {
		if got := f.stored(t, want.ID); !reflect.DeepEqual(got, want) {
			t.Errorf("family changed in storage:\n got %+v\nwant %+v", got, want)
		}
	}
	if _, err := f.Sessions().Family(t.Context(), "sess_none"); !errors.Is(err, fault.NotFound) {
		t.Errorf("a family that does not exist: %v", err)
	}
	if err := f.Sessions().InTx(t.Context(), func(tx tokens.Tx) error { return tx.InsertFamily(whole, time.Time{}) }); !errors.Is(err, fault.Conflict) {
		t.Errorf("the same family again: %v, want fault.Conflict", err)
	}
	visitor := f.user("visitor@example.com")
	f.add(t, []accounts.User{visitor}, nil)
	for _, stranger := range []ident.UserID{"user_none", f.disabled(t).ID, visitor.ID} {
		lost := familyAt(f.now, stranger, org.ID)
		err := f.Sessions().InTx(t.Context(), func(tx tokens.Tx) error { return tx.InsertFamily(lost, time.Time{}) })
		if !errors.Is(err, fault.AccountDisabled) {
			t.Errorf("a family of %s: %v, want fault.AccountDisabled", stranger, err)
		}
	}
	stranger := familyAt(f.now, user.ID, org.ID)
	stranger.Client, stranger.Delegation = "cli_none", whole.Delegation
	if err := f.Sessions().InTx(t.Context(), func(tx tokens.Tx) error { return tx.InsertFamily(stranger, time.Time{}) }); !errors.Is(err, fault.InvalidClient) {
		t.Errorf("a delegated family of no client: %v, want fault.InvalidClient", err)
	}
	f.advances(t, whole)
	if got := f.stored(t, bare.ID); !reflect.DeepEqual(got, bare) {
		t.Errorf("another family changed: %+v", got)
	}
}

// advances: one of two who read the same family changes it, and nobody changes
// one that has ended.
func (f *fixture) advances(t *testing.T, whole tokens.Family) {
	t.Helper()
	next := whole
	next.Chain = tokens.Chain{Generation: 7, LastUsed: 6, PreviousAt: f.now.Add(time.Minute)}
	next.Holder.Network, next.Holder.Agent, next.Holder.Proven = "", tokens.Digest{}, false
	next.Seen = tokens.Seen{At: f.now.Add(time.Hour)}
	for i, want := range []bool{true, false} {
		won, err := f.Sessions().Advance(t.Context(), whole, next, audit.Event{Time: f.now, Name: audit.SessionRefreshed, Session: whole.ID})
		if err != nil || won != want {
			t.Errorf("swap %d: %v, %v; want %v", i, won, err, want)
		}
	}
	if n := len(f.committed()); n != 1 {
		t.Errorf("%d events; want the winner's", n)
	}
	next.Version++
	if got := f.stored(t, whole.ID); !reflect.DeepEqual(got, next) {
		t.Errorf("advanced:\n got %+v\nwant %+v", got, next)
	}
	saved := next
	saved.Ended, saved.Seen.UserAgent = tokens.Ended{At: f.now.Add(time.Minute), Reason: "logout"}, "x"
	saved.AuthenticatedAt, saved.ExpiresAt = f.now.Add(time.Minute), f.now.Add(24*time.Hour)
	f.inSession(t, func(tx tokens.Tx) error {
		if got, err := tx.Family(whole.ID); err != nil || got != next {
			t.Errorf("locked: %+v, %v", got, err)
		}
		return tx.SaveFamily(saved)
	})
	saved.Version++
	if got := f.stored(t, whole.ID); !reflect.DeepEqual(got, saved) {
		t.Errorf("saved:\n got %+v\nwant %+v", got, saved)
	}
	if won, err := f.Sessions().Advance(t.Context(), saved, next); won || err != nil {
		t.Errorf("a family that has ended was advanced: %v, %v", won, err)
	}
}

// disabled adds a user who is disabled.
func (f *fixture) disabled(t *testing.T) accounts.User {
	u := f.user("disabled@example.com")
	u.Status = accounts.Disabled
	f.add(t, []accounts.User{u}, nil)
	return u
}

// sessionEndings: who disables a user ends exactly their sessions, and every
// replica hears it.
func sessionEndings(t *testing.T, f *fixture) {
	anna, bob := f.user("anna@example.com"), f.user("bob@example.com")
	acme, globex := f.org("acme"), f.org("globex")
	f.populate(t, []accounts.User{anna, bob}, []accounts.Org{acme, globex})
	at, until := f.now.Add(time.Hour), f.now.Add(25*time.Hour)
	open := func(u accounts.User, o accounts.Org, expires time.Time) ident.SessionID {
		fam := tokens.Family{ID: ident.NewSessionID(f.now, rand.Reader), User: u.ID, Org: o.ID, CreatedAt: f.now, ExpiresAt: expires}
		f.inSession(t, func(tx tokens.Tx) error { return tx.InsertFamily(fam, time.Time{}) })
		return fam.ID
	}
	long := f.now.Add(720 * time.Hour)
	here, there, kept, others := open(anna, acme, long), open(anna, globex, long), open(anna, acme, long), open(bob, acme, long)
	over := open(anna, acme, at.Add(-24*time.Hour)) // its last access token has expired
	justOver := open(anna, acme, at.Add(-time.Hour))

	end := func(e accounts.Ending) (n int) {
		e.User, e.Reason, e.At, e.Until = anna.ID, "password_changed", at, until
		f.people(t, func(tx accounts.Tx) (err error) { n, err = tx.EndSessions(e); return err })
		return n
	}
	if n := end(accounts.Ending{Org: globex.ID, Except: kept}); n != 1 {
		t.Errorf("%d sessions ended in one organisation, want 1", n)
	}
	if n := end(accounts.Ending{Except: kept}); n != 2 {
		t.Errorf("%d sessions ended, want the 2 that lived", n)
	}
	if n := end(accounts.Ending{Except: kept}); n != 0 {
		t.Errorf("%d sessions ended twice", n)
	}
	for id, want := range map[ident.SessionID]bool{here: true, there: true, justOver: true, kept: false, others: false, over: false} {
		fam, err := f.Sessions().Family(t.Context(), id)
		if ended := fam.Ended == (tokens.Ended{At: at, Reason: "password_changed"}); err != nil || ended != want {
			t.Errorf("%s: %+v, %v; want ended %v", id, fam.Ended, err, want)
		}
		told := slices.Contains(f.changes, changes.Change{Kind: changes.SessionRevoked, Key: string(id), At: at, Until: until})
		if told != want {
			t.Errorf("%s: announced %v, want %v", id, told, want)
		}
	}
	// A refresh that read the family before is too late.
	fam, _ := f.Sessions().Family(t.Context(), here)
	fam.Version, fam.Ended = 0, tokens.Ended{}
	if won, err := f.Sessions().Advance(t.Context(), fam, fam); won || err != nil {
		t.Errorf("an ended session was refreshed: %v, %v", won, err)
	}
	f.asksTheDatabase(t, anna.ID, here, kept)
}

// asksTheDatabase: what is refused is known without the feed.
func (f *fixture) asksTheDatabase(t *testing.T, user ident.UserID, ended, living ident.SessionID) {
	t.Helper()
	until := f.now.Add(time.Hour)
	f.inSession(t, func(tx tokens.Tx) error {
		return errors.Join(tx.Announce(changes.Change{Kind: changes.TokenRevoked, Key: "tok_1", At: f.now, Until: until}),
			tx.Announce(changes.Change{Kind: changes.SubjectCutoff, Key: string(user), At: f.now, Until: until}))
	})
	after := f.now.Add(time.Microsecond)
	for name, tt := range map[string]struct {
		a    tokens.AccessID
		want string
	}{
		"nothing speaks against it": {tokens.AccessID{Token: "tok_9", Session: living, User: user, IssuedAt: after}, ""},
		"without a session":         {tokens.AccessID{Token: "tok_9", User: user, IssuedAt: after}, ""},
		"its session ended":         {tokens.AccessID{Token: "tok_9", Session: ended, User: user, IssuedAt: after}, "revoked"},
		"its session is unknown":    {tokens.AccessID{Token: "tok_9", Session: "sess_none", User: user, IssuedAt: after}, "revoked"},
		"itself":                    {tokens.AccessID{Token: "tok_1", Session: living, User: user, IssuedAt: after}, "revoked"},
		"issued at the cutoff":      {tokens.AccessID{Token: "tok_9", Session: living, User: user, IssuedAt: f.now}, "revoked"},
		"another user's cutoff":     {tokens.AccessID{Token: "tok_9", Session: living, User: "user_9", IssuedAt: f.now}, ""},
	} {
		if got, err := f.Sessions().Revoked(t.Context(), tt.a); err != nil || got != tt.want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, tt.want)
		}
	}
}

// sessionCleanup: SEC-DOS-11. What stopped mattering is removed in
// batches; the rest stays.
func sessionCleanup(t *testing.T, f *fixture) {
	user, org := f.user("anna@example.com"), f.org("acme")
	f.populate(t, []accounts.User{user}, []accounts.Org{org})
	day := 24 * time.Hour
	var living ident.SessionID
	f.inSession(t, func(tx tokens.Tx) error {
		for i := range 30 {
			fam := tokens.Family{ID: ident.NewSessionID(f.now, rand.Reader), User: user.ID, Org: org.ID, CreatedAt: f.now, ExpiresAt: f.now.Add(time.Duration(i+1) * day)}
			if err := tx.InsertFamily(fam, time.Time{}); err != nil {
				return err
			}
			if err := tx.Announce(changes.Change{Kind: changes.SessionRevoked, Key: string(fam.ID), At: f.now, Until: fam.ExpiresAt}); err != nil {
				return err
			}
			living = fam.ID
		}
		return tx.Announce(changes.Change{Kind: changes.User, Key: "user_1", At: f.now})
	})
	before := f.now.Add(20*day + time.Microsecond)
	for _, want := range []int{15, 5, 0} {
		if n, err := f.Sessions().DeleteExpiredSessions(t.Context(), before, 15); err != nil || n != want {
			t.Errorf("%d sessions removed, %v; want %d", n, err, want)
		}
	}
	if _, err := f.Sessions().Family(t.Context(), living); err != nil {
		t.Errorf("a living session: %v", err)
	}
	if n, err := f.Sessions().DeleteOldChanges(t.Context(), f.now, 100); err != nil || n != 0 {
		t.Errorf("%d changes removed that were just made, %v", n, err)
	}
	for _, want := range []int{15, 6, 0} { // the purge, too
		if n, err := f.Sessions().DeleteOldChanges(t.Context(), before, 15); err != nil || n != want {
			t.Errorf("%d changes removed, %v; want %d", n, err, want)
		}
	}
	if left, _, err := f.Changes().Start(t.Context(), f.now); err != nil || len(left) != 10 {
		t.Errorf("%d revocations are left, %v; want 10", len(left), err)
	}
}

package storagetest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/oauth"
	"github.com/tokenhouse/tokenhouse/tokens"
)

// disables a client, as the registry does.
func (d *desk) disables(t testing.TB, client ident.ClientID) {
	t.Helper()
	err := d.Clients().InClientTx(t.Context(), func(tx oauth.ClientTx) error {
		c, err := tx.LockClient(tenant(d.org.ID), client)
		if err != nil {
			return err
		}
		c.Status = oauth.ClientDisabled
		if err := tx.UpdateClient(c); err != nil {
			return err
		}
		_, err = tx.EndClientFamilies(client, d.now, d.service.Until(d.now), "client_disabled")
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// delegatingAgainstDisabling: whatever is delegated to a client while it is
// disabled, nothing lives afterwards.
func delegatingAgainstDisabling(t *testing.T, f *fixture) {
	d := newDesk(t, f)
	browser := d.signIn(t, d.user, "").Family
	for i := range 20 {
		client := ident.ClientID(fmt.Sprintf("cli_%d", i))
		f.letsIn(t, d.org.ID, client)
		var mu sync.Mutex
		var made []tokens.Family
		var wait sync.WaitGroup
		for n := range 3 {
			wait.Go(func() {
				f, _, err := d.delegate(t, browser, allows{client: client, offline: n == 0})
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					made = append(made, f)
				} else if !errors.Is(err, fault.InvalidClient) {
					t.Errorf("delegating: %v", err)
				}
			})
		}
		wait.Go(func() { d.disables(t, client) })
		wait.Wait()
		for _, f := range made {
			if got := d.stored(t, f.ID).Ended; got.Reason != "client_disabled" {
				t.Errorf("of a disabled client: %+v", got)
			}
		}
		if _, _, err := d.delegate(t, browser, allows{client: client}); !errors.Is(err, fault.InvalidClient) {
			t.Errorf("delegated to a disabled client: %v", err)
		}
	}
	d.lives(t, browser.ID)
}

// delegatingAgainstEnding: whatever a browser delegates while it ends, nothing
// that is not offline outlives it.
func delegatingAgainstEnding(t *testing.T, f *fixture) {
	d := newClientDesk(t, f)
	var delegated, late int
	for range 60 {
		browser := d.signIn(t, d.user, "").Family
		var mu sync.Mutex
		var made []tokens.Family
		var wait sync.WaitGroup
		for range 3 {
			wait.Go(func() {
				f, _, err := d.delegate(t, browser, allows{client: webClient})
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					made = append(made, f)
				case !errors.Is(err, fault.InvalidToken):
					t.Errorf("delegating: %v", err)
				default:
					late++
				}
			})
		}
		var children []tokens.Family
		wait.Go(func() {
			var err error
			if children, err = d.service.EndBrowser(t.Context(), d.caller(browser.ID), browser.ID, "logout"); err != nil {
				t.Errorf("ending: %v", err)
			}
		})
		wait.Wait()
		delegated += len(made)
		if !sameSessions(children, made...) {
			t.Fatalf("%d were delegated, %d ended", len(made), len(children))
		}
		for _, f := range made {
			d.hasEnded(t, f.ID, "logout")
		}
	}
	t.Logf("%d delegated in time, %d too late", delegated, late)
}

// browsersAtRandom: after any sequence of logins, delegations and endings, what
// lives is what a model says, and of each that ended every replica heard once.
func browsersAtRandom(t *testing.T, f *fixture) {
	d := newClientDesk(t, f)
	rapid.Check(t, func(r *rapid.T) {
		m := &model{desk: d, t: t, sessions: map[ident.SessionID]*tokens.Family{}}
		for range rapid.IntRange(1, 12).Draw(r, "steps") {
			m.step(r)
		}
		for id, f := range m.sessions {
			ended := !d.stored(t, id).Ended.At.IsZero()
			if ended != (f == nil) || ended != (d.announced(id) == 1) {
				r.Errorf("%s: ended %v, announced %d times; the model says ended %v", id, ended, d.announced(id), f == nil)
			}
		}
		if _, err := d.service.RevokeOthers(t.Context(), d.caller(""), true); err != nil {
			r.Fatal(err)
		}
	})
}

// model is which sessions must be alive; nil is one that has ended.
type model struct {
	*desk
	t        *testing.T
	sessions map[ident.SessionID]*tokens.Family
}

// end is the rule: with a browser's session goes what it delegated, unless
// offline or spared.
func (m *model) end(which func(tokens.Family) bool, spared ...ident.SessionID) {
	var gone []ident.SessionID
	for id, f := range m.sessions {
		if f != nil && which(*f) {
			gone = append(gone, id)
		}
	}
	for _, id := range gone {
		m.sessions[id] = nil
	}
	for id, f := range m.sessions {
		if f != nil && !f.Delegation.Offline && slices.Contains(gone, f.Delegation.Browser) && !slices.Contains(spared, id) {
			m.sessions[id] = nil
		}
	}
}

func (m *model) step(r *rapid.T) {
	var living, browsers []ident.SessionID
	for _, id := range slices.Sorted(maps.Keys(m.sessions)) {
		if f := m.sessions[id]; f != nil {
			living = append(living, id)
			if f.IsBrowser() {
				browsers = append(browsers, id)
			}
		}
	}
	what := rapid.SampledFrom([]string{"sign in", "delegate", "delegate", "delegate", "end a browser", "revoke", "end a client", "sign out others"}).Draw(r, "what")
	if len(browsers) == 0 {
		what = "sign in"
	}
	var err error
	switch what {
	case "sign in":
		f := m.signIn(m.t, m.user, "").Family
		m.sessions[f.ID] = &f
	case "delegate":
		client := rapid.SampledFrom([]ident.ClientID{webClient, mobileClient}).Draw(r, "client")
		by := *m.sessions[rapid.SampledFrom(browsers).Draw(r, "by")]
		f := m.mustDelegate(m.t, by, allows{client: client, offline: rapid.Bool().Draw(r, "offline")})
		m.sessions[f.ID] = &f
	case "end a browser":
		id := rapid.SampledFrom(browsers).Draw(r, "which")
		_, err = m.service.EndBrowser(m.t.Context(), m.caller(id), id, "logout")
		m.end(func(f tokens.Family) bool { return f.ID == id })
	case "revoke":
		id := rapid.SampledFrom(living).Draw(r, "which")
		err = m.service.RevokeSession(m.t.Context(), m.caller(id), id)
		m.end(func(f tokens.Family) bool { return f.ID == id })
	case "end a client":
		client := rapid.SampledFrom([]ident.ClientID{webClient, mobileClient}).Draw(r, "client")
		_, err = m.service.EndClientFamilies(m.t.Context(), m.caller(""), m.user.ID, client, "consent_withdrawn")
		m.end(func(f tokens.Family) bool { return f.Client == client })
	case "sign out others":
		id := rapid.SampledFrom(living).Draw(r, "but")
		_, err = m.service.RevokeOthers(m.t.Context(), m.caller(id), false)
		m.end(func(f tokens.Family) bool { return f.ID != id }, id)
	}
	if err != nil {
		r.Fatalf("%s: %v", what, err)
	}
}

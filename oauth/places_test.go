package oauth_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/oauth"
	"github.com/tokenhouse/tokenhouse/tokens"
)

// placeOf is where a token stands by its own claims, which must name it.
func (w *world) placeOf(in oauth.Response) tokens.Place {
	w.t.Helper()
	c := claims(w.t, in.Access)
	if c.Status == nil {
		w.t.Fatal("the token has no status")
	}
	at := w.Sessions.PlaceOf(issuer, c.Status.List)
	if at == (tokens.Place{}) || c.ID != tokens.TokenIDAt(w.Sessions.StatusKey, at) || c.ID != in.AccessID {
		w.t.Fatalf("%s stands at %v: %+v", c.ID, at, *c.Status)
	}
	return at
}

// Issuing a token writes nothing for it: a thousand tokens of a client cost a
// handful of leases, and no statement beside them.
func TestAThousandTokensOfAClientCostAHandfulOfLeases(t *testing.T) {
	onBoth(t, func(t *testing.T, o opener) {
		w := open(t, o, newClock())
		v := w.visitor("ada@example.com", func(r *oauth.Registered) {
			r.AuthMethod, r.Grants, r.Scopes = oauth.AuthSecretBasic, []string{oauth.GrantClientCredentials}, []string{"agents:read"}
		})
		_, err := v.token(oauth.GrantClientCredentials, nil) // the client is in memory from now on
		must(t, err)
		w.mu.Lock()
		w.trail = nil
		w.mu.Unlock()
		seen := map[tokens.Place]bool{}
		for range 1000 {
			in, err := v.token(oauth.GrantClientCredentials, nil)
			must(t, err)
			seen[w.placeOf(in)] = true
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		var commits int
		for _, s := range w.trail {
			if s == "commit" {
				commits++
			}
		}
		if commits > 6 || len(w.trail) > 8*6 || len(seen) != 1000 {
			t.Errorf("1000 tokens at %d places cost %d statements in %d commits", len(seen), len(w.trail), commits)
		}
	})
}

// Where no place is left and the database does not answer, nothing is issued
// that could not be revoked.
func TestNoTokenWithoutAPlace(t *testing.T) {
	w := open(t, backends["SQLite"](t), newClock())
	v := w.visitor("ada@example.com", func(r *oauth.Registered) {
		r.AuthMethod, r.Grants, r.Scopes = oauth.AuthSecretBasic, []string{oauth.GrantClientCredentials}, []string{"agents:read"}
	})
	_, err := w.registry.Lookup(t.Context(), v.client.ID)
	must(t, err)
	w.plan.FailAll()
	if in, err := v.token(oauth.GrantClientCredentials, nil); !errors.Is(err, fault.Unavailable) || !in.Access.IsZero() {
		t.Errorf("without a place: %v", err)
	}
	w.plan.Heal()
	if _, err := v.token(oauth.GrantClientCredentials, nil); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// The tokens of a login, of its refreshes and of a code stand where their
// sessions remember them; the same token by name only where nothing is written.
func TestSessionsRememberWhereTheirTokensStand(t *testing.T) {
	w := open(t, backends["SQLite"](t), newClock())
	w.person("ada@example.com")
	first, err := w.login(apiClient, attempt{email: "ada@example.com", password: rightPassword})
	must(t, err)
	w.clock.advance(time.Minute)
	second, err := w.refresh(first.Refresh)
	must(t, err)
	again, err := w.refresh(second.Refresh)
	must(t, err)
	v := w.visitor("grace@example.com", nil).login("grace@example.com")
	coded, err := v.redeem(v.allow(nil), nil)
	must(t, err)
	if a, b, c := w.placeOf(first), w.placeOf(second), w.placeOf(again); a == b || b != c {
		t.Errorf("login, refresh and its repeat stand at %v, %v, %v", a, b, c)
	}
	for _, tt := range []struct {
		session ident.SessionID
		want    []tokens.Place
	}{{first.Session, []tokens.Place{w.placeOf(first), w.placeOf(second)}}, {coded.Session, []tokens.Place{w.placeOf(coded)}}} {
		f, err := w.db.Sessions().Family(t.Context(), tt.session)
		must(t, err)
		var got []tokens.Place
		for _, p := range f.Chain.Live.Alive(w.clock.now()) {
			got = append(got, p.Place)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s remembers %v, want %v", tt.session, got, tt.want)
		}
	}
	must(t, w.Sessions.Logout(t.Context(), ident.Caller{Kind: ident.Person, Org: first.Org, User: first.User.ID, Session: first.Session}))
	cs, _, err := w.db.Changes().Start(t.Context(), w.clock.now())
	must(t, err)
	told := map[tokens.Place]bool{}
	for _, c := range cs {
		if r, err := tokens.ParsePlaceRange(c.Key); c.Kind == changes.StatusRevoked && err == nil {
			for n := range r.Count {
				told[tokens.Place{List: r.List, Position: r.Position + n}] = true
			}
		}
	}
	if !told[w.placeOf(first)] || !told[w.placeOf(second)] || told[w.placeOf(coded)] || len(told) != 2 {
		t.Errorf("the logout told of %v", told)
	}
}

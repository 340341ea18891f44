package storagetest

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/oauth"
	"github.com/tokenhouse/tokenhouse/tokens"
)

const webClient, mobileClient ident.ClientID = "cli_web", "cli_mobile"

// newClientDesk is a desk whose user may let clients in.
func newClientDesk(t *testing.T, f *fixture) *desk {
	t.Helper()
	d := newDesk(t, f)
	f.letsIn(t, d.org.ID, webClient, mobileClient)
	return d
}

// letsIn registers clients, which are active.
func (f *fixture) letsIn(t *testing.T, org ident.OrgID, ids ...ident.ClientID) {
	t.Helper()
	err := f.Clients().InClientTx(t.Context(), func(tx oauth.ClientTx) error {
		for _, id := range ids {
			c := oauth.Registered{ID: id, Org: org, Name: string(id), AuthMethod: oauth.AuthNone, Status: oauth.ClientActive, CreatedAt: f.now}
			if err := tx.InsertClient(c); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// signIn logs the user in at our own pages, in a browser whose present session
// is given, or empty.
func (d *desk) signIn(t testing.TB, user accounts.User, present ident.SessionID) tokens.SignedIn {
	t.Helper()
	var in tokens.SignedIn
	err := d.Sessions().InTx(t.Context(), func(tx tokens.Tx) (err error) {
		in, err = d.service.SignIn(tx, d.now, present, tokens.Opening{User: user.ID, Org: d.org.ID, Method: "password", Origin: atHome})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// allows is a delegation: the user of a browser session lets a client in.
type allows struct {
	client  ident.ClientID
	offline bool
	org     ident.OrgID // the desk's where empty
}

func (d *desk) delegate(t testing.TB, browser tokens.Family, a allows) (tokens.Family, string, error) {
	t.Helper()
	o := tokens.Opening{
		User: browser.User, Org: browser.Org, Client: a.client, Method: "password", Origin: atHome, Refreshable: true,
		AuthenticatedAt: browser.AuthenticatedAt,
		Delegation:      tokens.Delegation{Browser: browser.ID, Offline: a.offline, Authorization: `{"scope":["openid"]}`},
	}
	if a.org != "" {
		o.Org = a.org
	}
	var f tokens.Family
	var token string
	err := d.Sessions().InTx(t.Context(), func(tx tokens.Tx) error {
		fam, plain, err := d.service.Begin(tx, d.now, o)
		f, token = fam, plain.Reveal()
		return err
	})
	return f, token, err
}

func (d *desk) mustDelegate(t testing.TB, browser tokens.Family, a allows) tokens.Family {
	t.Helper()
	f, _, err := d.delegate(t, browser, a)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// browserSessions: a cookie stands for its session as long as that lives, and
// only the newest one does.
func browserSessions(t *testing.T, f *fixture) {
	d := newClientDesk(t, f)
	first := d.signIn(t, d.user, "")
	if got := d.stored(t, first.Family.ID); got != first.Family {
		t.Errorf("stored %+v, want %+v", got, first.Family)
	}
	got, err := d.service.Browser(t.Context(), first.Cookie.Reveal())
	if err != nil || got != first.Family || !got.IsBrowser() || got.Refreshable || !got.AuthenticatedAt.Equal(d.now) {
		t.Fatalf("the cookie stands for %+v, %v", got, err)
	}
	if _, err := d.service.Refresh(t.Context(), tokens.Presented{Token: first.Cookie.Reveal(), Client: tokens.BrowserClient}); !errors.Is(err, fault.InvalidToken) {
		t.Errorf("SEC-WEB-03: a cookie is taken for a refresh token: %v", err)
	}

	// SEC-WEB-02: who proves again who they are has a new cookie, and the old one is dead.
	d.pass(time.Hour)
	again := d.signIn(t, d.user, first.Family.ID)
	if again.Family.ID != first.Family.ID || again.Cookie == first.Cookie || len(again.Ended) > 0 {
		t.Errorf("the same user again: %+v", again)
	}
	if !again.Family.AuthenticatedAt.Equal(d.now) || !again.Family.ExpiresAt.Equal(d.now.Add(tokens.DefaultBrowserAbsolute)) || !again.Family.CreatedAt.Equal(first.Family.CreatedAt) {
		t.Errorf("after proving again: %+v", again.Family)
	}
	if stored := d.stored(t, again.Family.ID); stored != again.Family {
		t.Errorf("stored %+v, want %+v", stored, again.Family)
	}
	if got, err := d.service.Browser(t.Context(), first.Cookie.Reveal()); !errors.Is(err, fault.InvalidToken) || got != (tokens.Family{}) {
		t.Errorf("SEC-WEB-02: the old cookie stands for %+v, %v", got, err)
	}
	if got, err := d.service.Browser(t.Context(), again.Cookie.Reveal()); err != nil || got != again.Family {
		t.Errorf("the new cookie stands for %+v, %v", got, err)
	}
	d.replaces(t, again)
}

// replaces: another user in the same browser ends the session, with what
// depends on it.
func (d *desk) replaces(t *testing.T, before tokens.SignedIn) {
	t.Helper()
	app, offline := d.mustDelegate(t, before.Family, allows{client: webClient}), d.mustDelegate(t, before.Family, allows{client: mobileClient, offline: true})
	bob := d.fixture.user("bob@example.com")
	d.add(t, []accounts.User{bob}, nil)
	d.member(t, bob, d.org, "viewer", d.now)
	next := d.signIn(t, bob, before.Family.ID)
	if next.Family.ID == before.Family.ID || next.Family.User != bob.ID {
		t.Errorf("SEC-WEB-02: another user has the session %+v", next.Family)
	}
	if len(next.Ended) != 2 || next.Ended[0].ID != before.Family.ID || next.Ended[1].ID != app.ID {
		t.Errorf("ended %+v; want the browser's session and the client's", next.Ended)
	}
	for _, id := range []ident.SessionID{before.Family.ID, app.ID} {
		d.hasEnded(t, id, "replaced")
	}
	d.lives(t, offline.ID)
	if _, err := d.service.Browser(t.Context(), before.Cookie.Reveal()); !errors.Is(err, fault.InvalidToken) {
		t.Errorf("the cookie of the user before: %v", err)
	}
	third := d.signIn(t, bob, before.Family.ID) // of a session that has ended
	if third.Family.ID == next.Family.ID || len(third.Ended) > 0 {
		t.Errorf("in place of an ended session: %+v", third)
	}
	if elsewhere := d.signIn(t, bob, app.ID); elsewhere.Family.ID == app.ID || len(elsewhere.Ended) > 0 {
		t.Errorf("in place of a client's session: %+v", elsewhere)
	}
}

// hasEnded: the session ended for that reason, every replica hears of it once,
// and the log tells of it once.
func (d *desk) hasEnded(t testing.TB, id ident.SessionID, reason string) {
	t.Helper()
	if got := d.stored(t, id).Ended; got.Reason != reason || got.At.IsZero() {
		t.Errorf("%s: %+v, want %q", id, got, reason)
	}
	if n := d.announced(id); n != 1 {
		t.Errorf("%s was announced %d times", id, n)
	}
	if n := d.told(audit.SessionRevoked, id); n != 1 {
		t.Errorf("%s: %d events", id, n)
	}
}

func (d *desk) lives(t testing.TB, id ident.SessionID) {
	t.Helper()
	if got := d.stored(t, id).Ended; got != (tokens.Ended{}) || d.announced(id) > 0 {
		t.Errorf("%s: %+v, announced %d times; want it alive", id, got, d.announced(id))
	}
}

func (d *desk) announced(id ident.SessionID) (n int) {
	d.fixture.mu.Lock()
	defer d.fixture.mu.Unlock()
	for _, c := range d.changes {
		if c.Kind == changes.SessionRevoked && c.Key == string(id) {
			n++
		}
	}
	return n
}

// delegatedSessions: what depends on a browser's session is shown beside it, to
// those whose organisation it is in.
func delegatedSessions(t *testing.T, f *fixture) {
	d := newClientDesk(t, f)
	globex := f.org("globex")
	f.add(t, nil, []accounts.Org{globex})
	f.member(t, d.user, globex, "viewer", f.now)
	one, two := d.signIn(t, d.user, ""), d.signIn(t, d.user, "")
	d.pass(time.Second)
	web := d.mustDelegate(t, one.Family, allows{client: webClient})
	d.pass(time.Second)
	mobile := d.mustDelegate(t, one.Family, allows{client: mobileClient, offline: true})
	there := d.mustDelegate(t, one.Family, allows{client: webClient, org: globex.ID})
	over := d.mustDelegate(t, two.Family, allows{client: webClient})
	if err := d.service.RevokeSession(t.Context(), d.caller(one.Family.ID), over.ID); err != nil {
		t.Fatal(err)
	}
	d.pass(time.Second)
	plain, _ := d.open(t, tokens.Opening{Origin: atHome, Refreshable: true})
	shown := func(org ident.OrgID, fs ...tokens.Family) map[ident.SessionID][]ident.SessionID {
		t.Helper()
		c := d.caller(one.Family.ID)
		c.Org = org
		found, err := d.service.Delegated(t.Context(), c, fs)
		if err != nil {
			t.Fatal(err)
		}
		out := map[ident.SessionID][]ident.SessionID{}
		for browser, families := range found {
			for _, f := range families {
				out[browser] = append(out[browser], f.ID)
			}
		}
		return out
	}
	if got := shown(d.org.ID, one.Family, two.Family, plain); len(got) != 1 || !slices.Equal(got[one.Family.ID], []ident.SessionID{mobile.ID, web.ID}) {
		t.Errorf("shown %v", got)
	}
	if got := shown(globex.ID, one.Family); len(got) != 1 || !slices.Equal(got[one.Family.ID], []ident.SessionID{there.ID}) {
		t.Errorf("shown in the other organisation: %v", got)
	}
	if got := shown(d.org.ID, plain); len(got) != 0 {
		t.Errorf("shown beside a plain login: %v", got)
	}
	d.lists(t, d.caller(one.Family.ID), []ident.SessionID{plain.ID, mobile.ID, web.ID, max(one.Family.ID, two.Family.ID), min(one.Family.ID, two.Family.ID)})
	d.pass(tokens.DefaultBrowserIdle) // the browsers did not come by
	d.lists(t, d.caller(web.ID), []ident.SessionID{plain.ID, mobile.ID, web.ID})
}

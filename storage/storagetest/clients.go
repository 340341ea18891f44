package storagetest

import (
	"crypto/rand"
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/oauth"
	"github.com/tokenhouse/tokenhouse/tokens"
)

// clientOf is a client of org whose every field is filled.
func clientOf(org ident.OrgID, at time.Time) oauth.Registered {
	return oauth.Registered{
		ID: ident.NewClientID(at, rand.Reader), Org: org, Name: "o'neil's é", AuthMethod: oauth.AuthSecretJWT,
		Secrets: []oauth.ClientSecret{
			{Digest: []byte{0, 2}, Sealed: []byte{9, 0}, CreatedAt: at},
			{Digest: []byte{0, 1}, Sealed: []byte{8, 0}, CreatedAt: at.Add(-time.Hour), ValidUntil: at.Add(time.Hour)},
		},
		Grants:       []string{"authorization_code", "refresh_token", "client_credentials"},
		RedirectURIs: []string{"https://a.example/cb?x='", "http://127.0.0.1/cb"},
		Logout: oauth.ClientLogout{
			RedirectURIs: []string{"https://a.example/bye"}, BackchannelURI: "https://a.example/logout", BackchannelSession: true,
			FrontchannelURI: "https://a.example/front", FrontchannelSession: true,
		},
		JWKS: []byte(`{"keys":[]}`), JWKSURI: "https://a.example/keys",
		Scopes: []string{"openid", "agents:read"}, Status: oauth.ClientDisabled, CreatedAt: at, CreatedBy: "user_1", Settings: settingsOf(at),
	}
}

// settingsOf are settings of which each says something.
func settingsOf(at time.Time) oauth.ClientSettings {
	hour := int64(3600)
	return oauth.ClientSettings{
		PKCE: oauth.PKCEOrNonce, OpenTo: oauth.OpenToEveryone, SkipConsent: true, Resources: []string{"https://api.example/a?b='"}, ApplicationType: "native",
		Subject:     oauth.ClientSubject{Pairwise: true, SectorURI: "https://a.example/sector"},
		Signing:     oauth.ClientSigning{IDToken: "ES256", UserInfo: "EdDSA", RequestObject: "PS256", Introspection: "RS256", TokenEndpoint: "ES256"},
		RequestURIs: []string{"https://a.example/request#1"}, InitiateLoginURI: "https://a.example/login",
		Authentication: oauth.ClientMinimum{MaxAge: &hour, RequireTime: true, ACRValues: []string{"1"}},
		Display: oauth.ClientDisplay{
			ClientURI: "https://a.example/", LogoURI: "https://a.example/logo.png", PolicyURI: "https://a.example/policy", TermsURI: "https://a.example/terms",
			Contacts: []string{"o'neil é <a@a.example>"},
		},
		Dynamic: oauth.ClientDynamic{TokenDigest: []byte{0, 7}, Open: true, From: "192.0.2.0/32", ExpiresAt: at.Add(time.Hour)},
	}
}

// bareClient is a client of org with nothing that may be left out.
func bareClient(org ident.OrgID, at time.Time) oauth.Registered {
	return oauth.Registered{
		ID: ident.NewClientID(at, rand.Reader), Org: org, Name: "b", AuthMethod: oauth.AuthNone, Status: oauth.ClientActive, CreatedAt: at, CreatedBy: "operator",
	}
}

func insertClients(t *testing.T, f *fixture, cs ...oauth.Registered) {
	t.Helper()
	err := f.Clients().InClientTx(t.Context(), func(tx oauth.ClientTx) error {
		for _, c := range cs {
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

func lockClient(t *testing.T, f *fixture, org ident.OrgID, id ident.ClientID) (got oauth.Registered, err error) {
	err = f.Clients().InClientTx(t.Context(), func(tx oauth.ClientTx) (err error) {
		got, err = tx.LockClient(tenant(org), id)
		return err
	})
	return got, err
}

// clientReading: a client comes back as it was stored, to its own organisation
// only, and to whoever looks it up by its id.
func clientReading(t *testing.T, f *fixture) {
	a, b := ident.NewOrgID(f.now, rand.Reader), ident.NewOrgID(f.now, rand.Reader)
	full, bare, foreign := clientOf(a, f.now), bareClient(a, f.now), clientOf(b, f.now)
	insertClients(t, f, full, bare, foreign)
	store := f.Clients()
	for _, c := range []oauth.Registered{full, bare} {
		for name, read := range map[string]func() (oauth.Registered, error){
			"any":    func() (oauth.Registered, error) { return store.AnyClient(t.Context(), c.ID) },
			"by id":  func() (oauth.Registered, error) { return store.Client(t.Context(), tenant(a), c.ID) },
			"locked": func() (oauth.Registered, error) { return lockClient(t, f, a, c.ID) },
		} {
			if got, err := read(); err != nil || !reflect.DeepEqual(got, c) {
				t.Errorf("%s: %v\n got %+v\nwant %+v", name, err, got, c)
			}
		}
	}
	for name, read := range map[string]func() (oauth.Registered, error){
		"unknown":      func() (oauth.Registered, error) { return store.AnyClient(t.Context(), "cli_0") },
		"foreign":      func() (oauth.Registered, error) { return store.Client(t.Context(), tenant(a), foreign.ID) },
		"no tenant":    func() (oauth.Registered, error) { return store.Client(t.Context(), ident.Tenant{}, full.ID) },
		"foreign lock": func() (oauth.Registered, error) { return lockClient(t, f, a, foreign.ID) },
	} {
		if got, err := read(); !errors.Is(err, fault.NotFound) {
			t.Errorf("%s: %+v, %v; want NotFound", name, got, err)
		}
	}
}

// clientOfDisabled: a client of an organisation that is not active is disabled
// to whoever looks it up by its id.
func clientOfDisabled(t *testing.T, f *fixture) {
	open, closed := f.org("open"), f.org("closed")
	closed.Status = accounts.Disabled
	f.add(t, nil, []accounts.Org{open, closed})
	for org, want := range map[ident.OrgID]oauth.ClientStatus{open.ID: oauth.ClientActive, closed.ID: oauth.ClientDisabled} {
		c := bareClient(org, f.now)
		insertClients(t, f, c)
		if got, err := f.Clients().AnyClient(t.Context(), c.ID); err != nil || got.Status != want || got.Name != c.Name {
			t.Errorf("a client of %s: %+v, %v; want %s", org, got, err, want)
		}
	}
}

// clientPages: newest first, and on from where the last page stopped.
func clientPages(t *testing.T, f *fixture) {
	a, b := ident.NewOrgID(f.now, rand.Reader), ident.NewOrgID(f.now, rand.Reader)
	var want []ident.ClientID
	for i := range 5 {
		c := clientOf(a, f.now.Add(time.Duration(i)*time.Second))
		insertClients(t, f, c, bareClient(b, c.CreatedAt))
		want = append([]ident.ClientID{c.ID}, want...)
	}
	var got []ident.ClientID
	for page := (ident.Page{Limit: 2}); ; {
		cs, err := f.Clients().Clients(t.Context(), tenant(a), page)
		if err != nil {
			t.Fatal(err)
		}
		if len(cs) == 0 {
			break
		}
		for _, c := range cs {
			if len(c.Secrets) != 2 || !c.Secrets[0].ValidUntil.IsZero() {
				t.Errorf("secrets of %s: %+v", c.ID, c.Secrets)
			}
			got = append(got, c.ID)
		}
		page.Before = string(cs[len(cs)-1].ID)
	}
	if !slices.Equal(got, want) {
		t.Errorf("pages %v, want %v", got, want)
	}
	if cs, err := f.Clients().Clients(t.Context(), ident.Tenant{}, ident.Page{Limit: 10}); err != nil || len(cs) != 0 {
		t.Errorf("no tenant: %v, %v", cs, err)
	}
}

// clientWriting: an update changes what it says and nothing else; secrets are
// replaced; a deleted client leaves nothing; what fails leaves all as it was.
func clientWriting(t *testing.T, f *fixture) {
	org := ident.NewOrgID(f.now, rand.Reader)
	c, other := clientOf(org, f.now), clientOf(org, f.now)
	insertClients(t, f, c, other)
	change := func(fn func(oauth.ClientTx) error) error { return f.Clients().InClientTx(t.Context(), fn) }
	if err := change(func(tx oauth.ClientTx) error { return tx.InsertClient(c) }); !errors.Is(err, fault.Conflict) {
		t.Errorf("the same id twice: %v", err)
	}

	next := bareClient("org_other", f.now.Add(time.Hour))
	next.ID = c.ID
	if err := change(func(tx oauth.ClientTx) error { return tx.UpdateClient(next) }); err != nil {
		t.Fatal(err)
	}
	next.Org, next.AuthMethod, next.CreatedAt, next.CreatedBy, next.Secrets = c.Org, c.AuthMethod, c.CreatedAt, c.CreatedBy, c.Secrets
	is := func(want oauth.Registered) {
		t.Helper()
		if got, err := f.Clients().AnyClient(t.Context(), want.ID); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%v\n got %+v\nwant %+v", err, got, want)
		}
	}
	is(next)

	old := c.Secrets[0]
	old.ValidUntil = f.now.Add(time.Minute)
	next.Secrets = []oauth.ClientSecret{{Digest: []byte{3}, CreatedAt: f.now}, old}
	if err := change(func(tx oauth.ClientTx) error { return tx.PutClientSecrets(c.ID, next.Secrets) }); err != nil {
		t.Fatal(err)
	}
	is(next)

	failed := errors.New("failed")
	if err := change(func(tx oauth.ClientTx) error { return errors.Join(tx.DeleteClient(c.ID), failed) }); !errors.Is(err, failed) {
		t.Errorf("%v", err)
	}
	is(next)
	if err := change(func(tx oauth.ClientTx) error { return tx.DeleteClient(c.ID) }); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Clients().AnyClient(t.Context(), c.ID); !errors.Is(err, fault.NotFound) {
		t.Errorf("a deleted client: %v", err)
	}
	// The id is free again, and no secret of before comes back with it.
	reborn := bareClient(org, f.now)
	reborn.ID = c.ID
	insertClients(t, f, reborn)
	is(reborn)
	is(other)
}

// clientExpiry: who expired is found, of every organisation, the longest
// expired first; who registered with nobody's leave is counted by network.
func clientExpiry(t *testing.T, f *fixture) {
	a, b := ident.NewOrgID(f.now, rand.Reader), ident.NewOrgID(f.now, rand.Reader)
	open := func(org ident.OrgID, from string, created, expires time.Time) oauth.Registered {
		c := bareClient(org, created)
		c.Settings.Dynamic = oauth.ClientDynamic{Open: true, From: from, ExpiresAt: expires}
		return c
	}
	late, later := open(a, "192.0.2.1/32", f.now.Add(-2*time.Hour), f.now.Add(-time.Minute)), open(b, "192.0.2.1/32", f.now.Add(-time.Minute), f.now)
	insertClients(t, f, open(b, "192.0.2.2/32", f.now, f.now.Add(time.Microsecond)), later, late, bareClient(a, f.now))
	for limit, want := range map[int][]ident.ClientID{1: {late.ID}, 10: {late.ID, later.ID}} {
		found, err := f.Clients().ExpiredClients(t.Context(), f.now, limit)
		var got []ident.ClientID
		for _, c := range found {
			got = append(got, c.ID)
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("expired, at most %d: %v, %v; want %v", limit, got, err, want)
		}
	}
	for _, q := range []struct {
		from   string
		since  time.Time
		recent int
	}{
		{"192.0.2.1/32", f.now.Add(-time.Hour), 1}, {"192.0.2.1/32", f.now.Add(-3 * time.Hour), 2}, {"192.0.2.1/32", f.now, 0}, {"", f.now.Add(-3 * time.Hour), 0},
	} {
		var living, recent int
		err := f.Clients().InClientTx(t.Context(), func(tx oauth.ClientTx) (err error) {
			living, recent, err = tx.CountOpenClients(q.from, q.since)
			return err
		})
		if err != nil || living != 3 || recent != q.recent {
			t.Errorf("from %q since %v: %d living, %d recent, %v; want 3 and %d", q.from, q.since, living, recent, err, q.recent)
		}
	}
}

// clientFamilies: every living family of the client ends and is announced, and
// no other client's.
func clientFamilies(t *testing.T, f *fixture) {
	user, org := f.user("anna@example.com"), f.org("acme")
	f.populate(t, []accounts.User{user}, []accounts.Org{org})
	mine, other := ident.NewClientID(f.now, rand.Reader), ident.NewClientID(f.now, rand.Reader)
	families := map[ident.SessionID]bool{} // whether it must end
	for _, c := range []ident.ClientID{mine, mine, other} {
		family := familyAt(f.now, user.ID, org.ID)
		family.Client = c
		families[family.ID] = c == mine
		f.inSession(t, func(tx tokens.Tx) error { return tx.InsertFamily(family, time.Time{}) })
	}
	end := func() (n int) {
		t.Helper()
		err := f.Clients().InClientTx(t.Context(), func(tx oauth.ClientTx) (err error) {
			n, err = tx.EndClientFamilies(mine, f.now.Add(time.Minute), f.now.Add(time.Hour), "client_disabled")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := end(); n != 2 {
		t.Errorf("ended %d families, want 2", n)
	}
	for id, ends := range families {
		got, err := f.Sessions().Family(t.Context(), id)
		if err != nil || got.Ended.At.IsZero() == ends || ends && got.Ended.Reason != "client_disabled" {
			t.Errorf("family %s: %+v, %v; must end: %v", id, got.Ended, err, ends)
		}
		announced := slices.ContainsFunc(f.changes, func(c changes.Change) bool { return c.Kind == changes.SessionRevoked && c.Key == string(id) })
		if announced != ends {
			t.Errorf("family %s announced: %v", id, announced)
		}
	}
	if n := end(); n != 0 {
		t.Errorf("ended %d families again", n)
	}
}

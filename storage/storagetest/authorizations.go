package storagetest

import (
	"errors"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/oauth"
)

// codeOf is a code of a client whose every field is filled.
func codeOf(r oauth.Registered, plain string, at time.Time) oauth.Code {
	return oauth.Code{
		Digest: secret.Sum(plain), Client: r.ID, User: "user_1", Org: r.Org, Browser: "sess_1", RedirectURI: "https://a.example/cb?x='", Challenge: "c",
		Authorization: oauth.Authorization{
			Scopes: oauth.Scopes{"openid", "agents:read"}, Resources: []string{"https://api.example"}, Nonce: "o'neil é",
			Claims:        oauth.ClaimsRequest{IDToken: []string{"email"}, UserInfo: []string{"name"}},
			Authenticated: oauth.Authentication{Time: at.Unix(), Methods: []string{"pwd"}, ACR: "a", TimeWanted: true},
		},
		CreatedAt: at, ExpiresAt: at.Add(time.Minute),
	}
}

func (f *fixture) insertCodes(t *testing.T, cs ...oauth.Code) {
	t.Helper()
	err := f.Authorizations().InAuthorizationTx(t.Context(), func(tx oauth.AuthorizationTx) error {
		for _, c := range cs {
			if err := tx.InsertCode(c); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) useCode(t *testing.T, c oauth.Code, family ident.SessionID, until time.Time) (first bool) {
	t.Helper()
	err := f.Exchanges().InExchangeTx(t.Context(), func(tx oauth.Tx) (err error) {
		first, err = tx.UseCode(c.Digest, family, f.now.Add(time.Second), until)
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return first
}

func (f *fixture) putConsents(t *testing.T, cs ...oauth.Consent) {
	t.Helper()
	err := f.Authorizations().InAuthorizationTx(t.Context(), func(tx oauth.AuthorizationTx) (err error) {
		for _, c := range cs {
			err = errors.Join(err, tx.PutConsent(c))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) holdsConsent(t *testing.T, user ident.UserID, client ident.ClientID) (stands bool) {
	t.Helper()
	err := f.Exchanges().InExchangeTx(t.Context(), func(tx oauth.Tx) (err error) {
		stands, err = tx.HoldConsent(user, client)
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return stands
}

// authorizationCodes: each is found by its digest, used once whoever is first of
// many, and forgotten in its time; with its client it is gone at once.
func authorizationCodes(t *testing.T, f *fixture) {
	r := bareClient(ident.NewOrgID(f.now, zeros{}), f.now)
	insertClients(t, f, r)
	store := f.Authorizations()
	c := codeOf(r, "1", f.now)
	bare := oauth.Code{Digest: secret.Sum("2"), Client: r.ID, CreatedAt: f.now, ExpiresAt: f.now.Add(time.Minute)}
	f.insertCodes(t, c, bare)
	for _, want := range []oauth.Code{c, bare} {
		if got, err := store.Code(t.Context(), want.Digest); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("read %+v, %v; want %+v", got, err, want)
		}
	}
	if _, err := store.Code(t.Context(), secret.Sum("3")); !errors.Is(err, fault.NotFound) {
		t.Errorf("a code nobody has: %v", err)
	}
	err := store.InAuthorizationTx(t.Context(), func(tx oauth.AuthorizationTx) error { return tx.InsertCode(c) })
	if !errors.Is(err, fault.Conflict) {
		t.Errorf("the same code twice: %v", err)
	}

	var won atomic.Int64
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if f.useCode(t, c, "sess_first", f.now.Add(time.Hour)) {
				won.Add(1)
			}
		})
	}
	all.Wait()
	got, err := store.Code(t.Context(), c.Digest)
	if won.Load() != 1 || err != nil || got.Family != "sess_first" || !got.UsedAt.Equal(f.now.Add(time.Second)) {
		t.Errorf("%d of 20 were first; the code is %+v, %v", won.Load(), got, err)
	}
	if f.useCode(t, oauth.Code{Digest: secret.Sum("3")}, "sess_2", f.now) {
		t.Error("a code nobody has was used")
	}

	remove := func(before time.Time, limit, want int) {
		t.Helper()
		if n, err := store.DeleteExpiredCodes(t.Context(), before, limit); err != nil || n != want {
			t.Errorf("%d removed (%v), want %d", n, err, want)
		}
	}
	remove(bare.ExpiresAt, 10, 0)
	remove(f.now.Add(time.Hour), 10, 1) // the used one is known for longer
	remove(f.now.Add(time.Hour+time.Microsecond), 0, 0)
	remove(f.now.Add(time.Hour+time.Microsecond), 10, 1)

	f.insertCodes(t, c)
	if err := f.Clients().InClientTx(t.Context(), func(tx oauth.ClientTx) error { return tx.DeleteClient(r.ID) }); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Code(t.Context(), c.Digest); !errors.Is(err, fault.NotFound) {
		t.Errorf("the code of a deleted client: %v", err)
	}
}

// zeros is no randomness at all, for identifiers that need not differ.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// consents: the last word counts, of each user to each client; taking one back
// takes the codes along that were not redeemed, and a client its consents.
func consents(t *testing.T, f *fixture) {
	a, b := bareClient("org_1", f.now), bareClient("org_1", f.now.Add(time.Millisecond))
	insertClients(t, f, a, b)
	store := f.Authorizations()
	first := oauth.Consent{User: "user_1", Client: a.ID, Scopes: oauth.Scopes{"openid"}, GrantedAt: f.now, UpdatedAt: f.now}
	more := oauth.Consent{User: "user_1", Client: a.ID, Scopes: oauth.Scopes{"openid", "agents:read"}, GrantedAt: f.now, UpdatedAt: f.now.Add(time.Hour)}
	second := oauth.Consent{User: "user_1", Client: b.ID, Scopes: oauth.Scopes{"email"}, GrantedAt: f.now, UpdatedAt: f.now}
	foreign := oauth.Consent{User: "user_2", Client: a.ID, Scopes: oauth.Scopes{"email"}, GrantedAt: f.now, UpdatedAt: f.now}
	f.putConsents(t, first, second, foreign)
	f.putConsents(t, more)
	if got, err := store.Consent(t.Context(), "user_1", a.ID); err != nil || !reflect.DeepEqual(got, more) {
		t.Errorf("read %+v, %v; want %+v", got, err, more)
	}
	if got, err := store.Consents(t.Context(), "user_1"); err != nil || !reflect.DeepEqual(got, []oauth.Consent{more, second}) {
		t.Errorf("listed %+v, %v", got, err)
	}
	if _, err := store.Consent(t.Context(), "user_2", b.ID); !errors.Is(err, fault.NotFound) {
		t.Errorf("a consent nobody gave: %v", err)
	}

	if !f.holdsConsent(t, "user_1", a.ID) || f.holdsConsent(t, "user_2", b.ID) {
		t.Error("a consent is held that nobody gave, or one is not that was given")
	}
	used, unused, others := codeOf(a, "1", f.now), codeOf(a, "2", f.now), codeOf(a, "3", f.now)
	others.User = "user_2"
	f.insertCodes(t, used, unused, others)
	f.useCode(t, used, "sess_1", f.now.Add(time.Hour))
	withdraw := func() error {
		return store.InAuthorizationTx(t.Context(), func(tx oauth.AuthorizationTx) error { return tx.DeleteConsent("user_1", a.ID) })
	}
	if err := withdraw(); err != nil {
		t.Fatal(err)
	}
	if err := withdraw(); !errors.Is(err, fault.NotFound) {
		t.Errorf("withdrawn again: %v", err)
	}
	for name, left := range map[string]struct {
		code oauth.Code
		want error
	}{"used": {used, nil}, "unused": {unused, fault.NotFound}, "another user's": {others, nil}} {
		if _, err := store.Code(t.Context(), left.code.Digest); !errors.Is(err, left.want) {
			t.Errorf("the %s code: %v, want %v", name, err, left.want)
		}
	}
	if err := f.Clients().InClientTx(t.Context(), func(tx oauth.ClientTx) error { return tx.DeleteClient(a.ID) }); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Consent(t.Context(), "user_2", a.ID); !errors.Is(err, fault.NotFound) {
		t.Errorf("the consent to a deleted client: %v", err)
	}
}

package oauth_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/oauth"
)

// SEC-OAU-36: what a client was allowed follows what is so now: seven cases.
// With offline_access, which outlives the login but nothing of this.
func TestAnAllowanceFollowsTheStanding(t *testing.T) {
	onBoth(t, func(t *testing.T, o opener) {
		w := open(t, o, newClock())
		role := func(name string) func(*visitor, accounts.User) error {
			return func(v *visitor, u accounts.User) error {
				return w.db.Accounts().InTx(t.Context(), func(tx accounts.Tx) error { return tx.SetMemberRole(v.client.Org, u.ID, name) })
			}
		}
		for i, tt := range []struct {
			name   string
			change func(*visitor, accounts.User) error
			scope  string // what is left; empty: invalid_grant
		}{
			{"user disabled", func(_ *visitor, u accounts.User) error { return w.disable(u) }, ""},
			{"organisation disabled", func(v *visitor, _ accounts.User) error {
				return w.db.Accounts().InTx(t.Context(), func(tx accounts.Tx) error {
					got, err := tx.LockOrg(v.client.Org)
					got.Status = accounts.Disabled
					return errors.Join(err, tx.UpdateOrg(got))
				})
			}, ""},
			{"password changed", func(_ *visitor, u accounts.User) error {
				return w.people.ChangePassword(t.Context(), w.caller(u), secret.Of(rightPassword), secret.Of("nine tall violet herons"))
			}, ""},
			{"removed from the organisation", role(""), ""},
			{"consent withdrawn", func(v *visitor, u accounts.User) error {
				s := &oauth.Consents{Store: w.db.Authorizations(), Clients: w.registry, Sessions: w.Sessions, Now: w.clock.now}
				return s.Withdraw(t.Context(), w.caller(u), v.client.ID)
			}, ""},
			{"role reduced", role(accounts.RoleViewer), "openid email offline_access agents:read"},
			{"client scopes cut", func(v *visitor, _ accounts.User) error {
				defer w.registry.Forget()
				return w.db.Clients().InClientTx(t.Context(), func(tx oauth.ClientTx) error {
					r := v.client
					r.Scopes = []string{"openid", "agents:delete"}
					return tx.UpdateClient(r)
				})
			}, "openid agents:delete"},
		} {
			t.Run(tt.name, func(t *testing.T) {
				v := w.visitor(fmt.Sprintf("user%d@example.com", i), nil)
				v.t = t
				v.login(v.email)
				in, err := v.redeem(v.allow(oauth.Params{"scope": "openid email offline_access agents:read agents:delete"}), nil)
				must(t, err)
				w.clock.advance(time.Minute)
				must(t, tt.change(v, v.user()))
				out, err := v.refresh(in.Refresh.Reveal(), nil)
				if tt.scope == "" {
					if !badGrant(err) || !out.Access.IsZero() {
						t.Errorf("%v, want invalid_grant", err)
					}
					return
				}
				must(t, err)
				if got := claims(t, out.Access).Scope; got != tt.scope || out.Scopes.String() != tt.scope {
					t.Errorf("scope %q, want %q", got, tt.scope)
				}
			})
		}
	})
}

// A logout ends what was allowed in that browser, but for offline access.
func TestWhatALogoutEnds(t *testing.T) {
	w := open(t, backends["SQLite"](t), newClock())
	v := w.visitor("ada@example.com", nil).login("ada@example.com")
	bound, err := v.redeem(v.allow(nil), nil)
	must(t, err)
	offline, err := v.redeem(v.allow(oauth.Params{"scope": "openid offline_access"}), nil)
	must(t, err)
	w.clock.advance(time.Minute)
	_, err = w.Sessions.EndBrowser(t.Context(), ident.Caller{Kind: ident.Person, User: v.user().ID}, v.visit(nil).Session.ID, "logout")
	must(t, err)
	if _, err := v.refresh(bound.Refresh.Reveal(), nil); !badGrant(err) {
		t.Errorf("refresh: %v", err)
	}
	if _, err := v.refresh(offline.Refresh.Reveal(), nil); err != nil {
		t.Errorf("refresh offline: %v", err)
	}
}

// SEC-OAU-28: a refresh may ask for less, for one access token, and never for
// more than was allowed.
func TestARefreshMayAskForLess(t *testing.T) {
	w := open(t, backends["SQLite"](t), newClock())
	v := w.visitor("ada@example.com", nil).login("ada@example.com")
	in, err := v.redeem(v.allow(oauth.Params{"scope": "openid agents:read"}), nil)
	must(t, err)
	token := in.Refresh.Reveal()
	for _, tt := range []struct {
		asked, want string // none: invalid_scope
		id          bool
	}{
		{"agents:read", "agents:read", false}, {"openid", "openid", true}, {"", "openid agents:read", true},
		{"openid agents:read agents:delete", "", false}, {"agents:delete", "", false}, {"agents:*", "", false}, {"no-such-thing", "", false}, {"email", "", false}, {`"`, "", false},
		{"openid agents:read", "openid agents:read", true},
	} {
		w.clock.advance(time.Minute)
		out, err := v.refresh(token, oauth.Params{"scope": tt.asked})
		if tt.want == "" {
			if !errors.Is(err, fault.InvalidScope) {
				t.Errorf("scope %q: %v; want invalid_scope", tt.asked, err)
			}
			continue
		}
		must(t, err)
		token = out.Refresh.Reveal()
		if got := claims(t, out.Access).Scope; got != tt.want || (out.IDToken != "") != tt.id {
			t.Errorf("scope %q earns %q, ID token %v; want %q", tt.asked, got, out.IDToken != "", tt.want)
		}
	}
}

// RFC 8707, SEC-OAU-50: tokens are for whom they were allowed, or for fewer.
func TestForWhomTokensAre(t *testing.T) {
	const api, files, other = "https://api.example", "https://files.example", "https://other.example"
	w := open(t, backends["SQLite"](t), newClock())
	v := w.visitor("ada@example.com", func(r *oauth.Registered) { r.Settings.Resources = []string{api, files} })
	v.login("ada@example.com")
	for _, tt := range []struct {
		name, scope, asked, redeemed string
		want                         []string // none: invalid_target
	}{
		{"the default", "agents:read", "", "", []string{issuer}},
		{"one", "agents:read", api, "", []string{api}},
		{"two", "agents:read", api + " " + files, "", []string{api, files}},
		{"one of two", "agents:read", api + " " + files, files, []string{files}},
		{"one, and us for userinfo", "openid agents:read", api, "", []string{api, issuer}},
		{"one that was not asked for", "agents:read", api, files, nil},
		{"one that was not registered", "agents:read", api, other, nil},
		{"one where the default was allowed", "agents:read", "", api, nil},
		{"us where the default was allowed", "agents:read", "", issuer, []string{issuer}},
	} {
		code := v.allow(oauth.Params{"scope": tt.scope, "resource": tt.asked})
		in, err := v.redeem(code, oauth.Params{"resource": tt.redeemed})
		if tt.want == nil {
			if !errors.Is(err, fault.InvalidTarget) {
				t.Errorf("%s: %v; want invalid_target", tt.name, err)
			}
			continue
		}
		must(t, err)
		if got := claims(t, in.Access).Audience; !slices.Equal(got, tt.want) {
			t.Errorf("%s: aud %v; want %v", tt.name, got, tt.want)
		}
		w.clock.advance(time.Second)
		if _, err := v.refresh(in.Refresh.Reveal(), oauth.Params{"resource": other}); !errors.Is(err, fault.InvalidTarget) {
			t.Errorf("%s: refresh for another: %v", tt.name, err)
		}
	}
	// A client's own token is for what the client was registered for.
	v.client = w.register(v.client.Org, func(r *oauth.Registered) {
		r.AuthMethod, r.Grants, r.Scopes, r.Settings.Resources = oauth.AuthSecretBasic, []string{oauth.GrantClientCredentials}, []string{"agents:read"}, []string{api}
	})
	for asked, want := range map[string][]string{"": {issuer}, api: {api}, other: nil} {
		in, err := v.token(oauth.GrantClientCredentials, oauth.Params{"resource": asked})
		if want == nil {
			if !errors.Is(err, fault.InvalidTarget) {
				t.Errorf("client_credentials for %q: %v", asked, err)
			}
			continue
		}
		must(t, err)
		if got := claims(t, in.Access).Audience; !slices.Equal(got, want) {
			t.Errorf("client_credentials for %q: aud %v", asked, got)
		}
	}
}

// A client that gets no refresh token has a session as long as its access token.
func TestAClientWithoutRefreshTokens(t *testing.T) {
	w := open(t, backends["SQLite"](t), newClock())
	v := w.visitor("ada@example.com", func(r *oauth.Registered) { r.Grants = []string{oauth.GrantAuthorizationCode} })
	v.login("ada@example.com")
	in, err := v.redeem(v.allow(oauth.Params{"scope": "openid offline_access"}), nil)
	must(t, err)
	f, err := w.db.Sessions().Family(t.Context(), in.Session)
	must(t, err)
	if !in.Refresh.IsZero() || f.Refreshable || f.Delegation.Offline || !f.ExpiresAt.Equal(w.clock.now().Add(time.Hour)) || in.Scopes.Has("offline_access") {
		t.Errorf("given %v; the session is %+v", in.Scopes, f)
	}
}

// What a token says of the user: the nonce once, when they logged in, and the
// session.
func TestWhatTheIDTokenSays(t *testing.T) {
	w := open(t, backends["SQLite"](t), newClock())
	v := w.visitor("ada@example.com", nil).login("ada@example.com")
	at := w.clock.now()
	w.clock.advance(10 * time.Minute)
	in, err := v.redeem(v.allow(oauth.Params{"acr_values": "gold " + oauth.ACRPassword, "max_age": "3600"}), nil)
	must(t, err)
	w.clock.advance(10 * time.Minute)
	again, err := v.refresh(in.Refresh.Reveal(), nil)
	must(t, err)
	first, second := idClaims(t, in.IDToken), idClaims(t, again.IDToken)
	for _, c := range []map[string]any{first, second} {
		if c["auth_time"] != float64(at.Unix()) || c["acr"] != oauth.ACRPassword || c["sid"] != string(in.Session) || c["aud"] != string(v.client.ID) || c["sub"] != string(v.user().ID) {
			t.Errorf("the ID token says %v", c)
		}
	}
	if first["nonce"] != "n-1" || second["nonce"] != nil {
		t.Errorf("nonce %v, then %v", first["nonce"], second["nonce"])
	}
}

// SEC-OAU-53: a request put aside is good in its browser, for who was asked.
func TestAConsentIsWhoseItWasAsked(t *testing.T) {
	w := open(t, backends["SQLite"](t), newClock())
	v := w.visitor("ada@example.com", nil).login("ada@example.com")
	w.clock.advance(time.Minute)
	ask := v.asked(nil)
	thief := &visitor{w: w, t: t, client: v.client, browser: "another-browser", email: "grace@example.com"}
	w.person(thief.email)
	thief.login(thief.email)
	with := func(change func(*oauth.Visit)) oauth.Visit {
		visit := v.visit(nil)
		change(&visit)
		return visit
	}
	w.heard()
	for name, tt := range map[string]struct {
		visit   oauth.Visit
		pending string
	}{
		"nobody's session":             {with(func(x *oauth.Visit) { x.Session.User = "" }), ask.Pending},
		"another user in the browser":  {with(func(x *oauth.Visit) { x.Session = thief.visit(nil).Session }), ask.Pending},
		"the session in another one":   {with(func(x *oauth.Visit) { x.Browser = thief.browser }), ask.Pending},
		"no browser":                   {with(func(x *oauth.Visit) { x.Browser = "" }), ask.Pending},
		"another browser":              {thief.visit(nil), ask.Pending},
		"a made-up one":                {v.visit(nil), "x"},
		"none":                         {v.visit(nil), ""},
		"none, with a good request":    {v.visit(v.request(nil)), ""},
		"one that was changed":         {v.visit(nil), ask.Pending[:len(ask.Pending)-3] + "AAA"},
		"one that asked for something": {v.visit(nil), must1(v.ask(oauth.Params{"prompt": "select_account"}))(t).Ask.Pending},
	} {
		if out, err := w.authorizer.Decide(t.Context(), tt.visit, tt.pending, true); !errors.Is(err, fault.CrossOrigin) || out.Reply != nil {
			t.Errorf("%s: %+v, %v; want fault.CrossOrigin", name, out, err)
		}
	}
	if got := w.told(); len(got) > 0 {
		t.Errorf("told %v", got)
	}
	w.clock.advance(oauth.PendingTTL + time.Second)
	if _, err := w.authorizer.Decide(t.Context(), v.visit(nil), ask.Pending, true); fault.Of(err).Reason != "expired" {
		t.Errorf("too late: %v", err)
	}
}

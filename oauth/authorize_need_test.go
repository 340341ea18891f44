package oauth_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/oauth"
)

// SEC-OAU-54, as far as pages have no part in it: who is asked to log in, and
// what a client is told where nobody may be asked.
func TestWhoMustLogIn(t *testing.T) {
	w := open(t, backends["SQLite"](t), newClock())
	v := w.visitor("ada@example.com", nil)
	grace := w.visitor("grace@example.com", nil)
	hints := map[string]string{}
	for _, who := range []*visitor{v, grace} {
		who.login(who.email)
		in, err := who.redeem(who.allow(nil), nil)
		must(t, err)
		hints[who.email] = in.IDToken
	}
	const hour = time.Hour
	claimed := `{"id_token":{"sub":{"value":"` + string(grace.user().ID) + `"}}}`
	for _, tt := range []struct {
		name   string
		ago    time.Duration // since the login; 0: nobody is logged in
		change oauth.Params
		asked  oauth.Asked // empty: a code
		reason string
		none   string // what prompt=none is told; empty: a code
	}{
		{"nobody is logged in", 0, nil, oauth.AskLogin, "", "login_required"},
		{"somebody is", hour, nil, "", "", ""},
		{"prompt login", hour, oauth.Params{"prompt": "login"}, oauth.AskLogin, "prompt", "-"},
		{"prompt select_account", hour, oauth.Params{"prompt": "select_account"}, oauth.AskAccount, "", "-"},
		{"prompt select_account and nobody", 0, oauth.Params{"prompt": "select_account"}, oauth.AskLogin, "", "-"},
		{"prompt consent", hour, oauth.Params{"prompt": "consent"}, oauth.AskConsent, "", "-"},
		{"max_age passed", 2 * time.Second, oauth.Params{"max_age": "1"}, oauth.AskLogin, "max_age", "login_required"},
		{"max_age not passed", 2 * time.Second, oauth.Params{"max_age": "3"}, "", "", ""},
		{"max_age zero", time.Second, oauth.Params{"max_age": "0"}, oauth.AskLogin, "max_age", "login_required"},
		{"max_age long", hour, oauth.Params{"max_age": "10000"}, "", "", ""},
		{"a hint of the same user", hour, oauth.Params{"id_token_hint": hints["ada@example.com"]}, "", "", ""},
		{"a hint of another", hour, oauth.Params{"id_token_hint": hints["grace@example.com"]}, oauth.AskLogin, "id_token_hint", "login_required"},
		{"a claim of another's sub", hour, oauth.Params{"claims": claimed}, oauth.AskLogin, "id_token_hint", "login_required"},
		{"a scope that was not allowed", hour, oauth.Params{"scope": "openid agents:delete"}, oauth.AskConsent, "", "consent_required"},
		{"a claim whose scope was not allowed", hour, oauth.Params{"claims": `{"userinfo":{"email":null}}`}, oauth.AskConsent, "", "consent_required"},
	} {
		v.cookie = ""
		if tt.ago > 0 {
			v.login(v.email)
			w.clock.advance(tt.ago)
		}
		out, err := v.ask(tt.change)
		must(t, err)
		switch {
		case tt.asked == "" && said(out)["code"] == "":
			t.Errorf("%s: %+v; want a code", tt.name, out)
		case tt.asked != "" && (out.Ask == nil || out.Ask.Asked != tt.asked || out.Ask.Reason != tt.reason):
			t.Errorf("%s: %+v; want %s %s", tt.name, out.Ask, tt.asked, tt.reason)
		}
		if tt.none == "-" {
			continue
		}
		silent := oauth.Params{"prompt": "none"}
		for k, v := range tt.change {
			silent[k] = v
		}
		out, err = v.ask(silent)
		must(t, err)
		if told := said(out); out.Ask != nil || told["error"] != tt.none || (told["code"] == "") == (tt.none == "") {
			t.Errorf("%s, with prompt=none: %v; want %q", tt.name, told, tt.none)
		}
	}
}

// An expired hint is as good as a fresh one (OpenID Connect Core 1.0 §3.1.2.1).
func TestAHintDoesNotAge(t *testing.T) {
	w := open(t, backends["SQLite"](t), newClock())
	v := w.visitor("ada@example.com", nil).login("ada@example.com")
	in, err := v.redeem(v.allow(nil), nil)
	must(t, err)
	w.clock.advance(7 * time.Hour)
	if told := said(must1(v.ask(oauth.Params{"prompt": "none", "id_token_hint": in.IDToken}))(t)); told["code"] == "" {
		t.Errorf("told %v", told)
	}
	for name, hint := range map[string]string{"an access token": in.Access.Reveal(), "a token that was changed": in.IDToken[:len(in.IDToken)-4] + "AAAA"} {
		if told := said(must1(v.ask(oauth.Params{"id_token_hint": hint}))(t)); told["error"] != "invalid_request" {
			t.Errorf("%s as hint: %v", name, told)
		}
	}
}

// A login after the request came satisfies it, an older one does not.
func TestALoginAnswersWhatWasAsked(t *testing.T) {
	w := open(t, backends["SQLite"](t), newClock())
	v := w.visitor("ada@example.com", nil).login("ada@example.com")
	v.allow(nil)
	w.clock.advance(time.Minute)
	for _, change := range []oauth.Params{{"prompt": "login"}, {"max_age": "0"}, {"prompt": "login select_account"}} {
		ask := v.asked(change)
		w.clock.advance(time.Second)
		if again := v.goOn(ask.Pending); again.Ask == nil || again.Ask.Asked != oauth.AskLogin {
			t.Errorf("%v: going on without a login: %+v", change, again)
		}
		before := v.visit(nil).Session
		v.login(v.email)
		after := v.visit(nil).Session
		if after.ID != before.ID || !after.AuthenticatedAt.After(before.AuthenticatedAt) {
			t.Errorf("%v: the session did not go on: %+v, then %+v", change, before, after)
		}
		out := v.goOn(ask.Pending)
		in, err := v.redeem(said(out)["code"], nil)
		must(t, err)
		if got := idClaims(t, in.IDToken); got["auth_time"] != float64(after.AuthenticatedAt.Unix()) {
			t.Errorf("%v: auth_time %v", change, got["auth_time"])
		}
		w.clock.advance(time.Minute)
	}
}

// SEC-OAU-54: whoever cancels is as logged in as before, and the client gets
// nothing.
func TestWhoeverCancelsIsWhereTheyWere(t *testing.T) {
	w := open(t, backends["SQLite"](t), newClock())
	v := w.visitor("ada@example.com", nil).login("ada@example.com")
	w.clock.advance(time.Minute)
	before := v.visit(nil).Session
	ask := v.asked(oauth.Params{"prompt": "login"})
	w.heard()
	out, err := w.authorizer.Cancel(t.Context(), v.visit(nil), ask.Pending)
	must(t, err)
	if told := said(out); told["error"] != "access_denied" || told["code"] != "" || told["state"] != "st" {
		t.Errorf("told %v", told)
	}
	if after := v.visit(nil).Session; after.ID != before.ID || !after.AuthenticatedAt.Equal(before.AuthenticatedAt) {
		t.Errorf("the session became %+v", after)
	}
	if again := v.goOn(ask.Pending); again.Ask == nil || again.Ask.Asked != oauth.AskLogin {
		t.Errorf("afterwards the request goes on as %+v", again)
	}
	if got := w.told(); !slices.Equal(got, []string{"authorization.denied cancelled"}) {
		t.Errorf("told %v", got)
	}
}

func TestAnAccountIsChosen(t *testing.T) {
	w := open(t, backends["SQLite"](t), newClock())
	v := w.visitor("ada@example.com", nil).login("ada@example.com")
	v.allow(nil)
	w.clock.advance(time.Second)
	ask := v.asked(oauth.Params{"prompt": "select_account"})
	if ask.User.Email != "ada@example.com" {
		t.Errorf("asked about %+v", ask.User)
	}
	if again := v.goOn(ask.Pending); again.Ask == nil || again.Ask.Asked != oauth.AskAccount {
		t.Errorf("without a choice: %+v", again)
	}
	out, err := w.authorizer.Choose(t.Context(), v.visit(nil), ask.Pending)
	must(t, err)
	if said(out)["code"] == "" {
		t.Errorf("chosen: %+v", out)
	}
	// The choice is of who made it.
	w.person("grace@example.com")
	v.login("grace@example.com")
	if _, err := w.authorizer.Choose(t.Context(), v.visit(nil), ask.Pending); !errors.Is(err, fault.CrossOrigin) {
		t.Errorf("chosen for another: %v", err)
	}
}

// Membership, and in which organisation a user acts.
func TestWhoMayEnter(t *testing.T) {
	w := open(t, backends["SQLite"](t), newClock())
	ada := w.visitor("ada@example.com", nil)
	grace := w.visitor("grace@example.com", nil).login("grace@example.com")
	own := grace.visit(nil).Session.Org
	grace.client = ada.client
	w.heard()
	for _, change := range []oauth.Params{nil, {"prompt": "none"}} {
		if told := said(must1(grace.ask(change))(t)); told["error"] != "access_denied" {
			t.Errorf("a stranger is told %v", told)
		}
	}
	if got := w.told(); !slices.Equal(got, []string{"authorization.denied not_a_member", "authorization.denied not_a_member"}) {
		t.Errorf("told %v", got)
	}
	grace.client = w.register(ada.client.Org, func(r *oauth.Registered) { r.Settings.OpenTo = oauth.OpenToEveryone })
	in, err := grace.redeem(grace.allow(nil), nil)
	must(t, err)
	if in.Org != own || claims(t, in.Access).Org != own {
		t.Errorf("acts in %s; want %s", in.Org, own)
	}
}

func TestConsentIsRemembered(t *testing.T) {
	w := open(t, backends["SQLite"](t), newClock())
	v := w.visitor("ada@example.com", nil).login("ada@example.com")
	first := w.clock.now()
	v.allow(nil)
	w.clock.advance(time.Hour)
	ask := v.asked(oauth.Params{"scope": "openid agents:delete"})
	if !slices.Equal(ask.Remember, oauth.Scopes{"openid"}) || !slices.Equal(ask.Scopes, oauth.Scopes{"openid", "agents:delete"}) {
		t.Errorf("asked for %v, of which %v is known", ask.Scopes, ask.Remember)
	}
	v.allow(oauth.Params{"scope": "openid agents:delete"})
	given, err := w.db.Authorizations().Consent(t.Context(), v.user().ID, v.client.ID)
	must(t, err)
	if given.Scopes.String() != "openid agents:read agents:delete" || !given.GrantedAt.Equal(first) || !given.UpdatedAt.Equal(w.clock.now()) {
		t.Errorf("remembered %+v", given)
	}
	if told := said(must1(v.ask(oauth.Params{"scope": "openid agents:read agents:delete"}))(t)); told["code"] == "" {
		t.Errorf("asked again: %v", told)
	}
	w.heard()
	ask = v.asked(oauth.Params{"prompt": "consent"})
	out, err := w.authorizer.Decide(t.Context(), v.visit(nil), ask.Pending, false)
	must(t, err)
	if told := said(out); told["error"] != "access_denied" {
		t.Errorf("denied: %v", told)
	}
	if got := w.told(); !slices.Equal(got, []string{"authorization.denied denied"}) {
		t.Errorf("told %v", got)
	}
	v.client = w.register(v.client.Org, func(r *oauth.Registered) { r.Settings.SkipConsent = true })
	if told := said(must1(v.ask(nil))(t)); told["code"] == "" {
		t.Errorf("an own application asks: %v", told)
	}
	if ask := v.asked(oauth.Params{"prompt": "consent"}); ask.Asked != oauth.AskConsent {
		t.Errorf("asked %+v", ask)
	}
}

// The consent that somebody withdraws takes everything with it.
func TestConsentIsWithdrawn(t *testing.T) {
	onBoth(t, func(t *testing.T, o opener) {
		w := open(t, o, newClock())
		v := w.visitor("ada@example.com", nil).login("ada@example.com")
		in, err := v.redeem(v.allow(oauth.Params{"scope": "openid offline_access"}), nil)
		must(t, err)
		unused, late := v.allow(nil), v.allow(nil)
		kept, err := w.db.Authorizations().Code(t.Context(), secret.Sum("authorization-code|"+late))
		must(t, err)
		consents := &oauth.Consents{Store: w.db.Authorizations(), Clients: w.registry, Sessions: w.Sessions, Now: w.clock.now}
		caller := w.caller(v.user())
		if list, err := consents.List(t.Context(), caller); err != nil || len(list) != 1 || list[0].ClientName != "App" {
			t.Fatalf("listed %+v, %v", list, err)
		}
		w.heard()
		if err := consents.Withdraw(t.Context(), ident.Caller{Kind: ident.APIKey, Org: caller.Org, User: caller.User}, v.client.ID); !errors.Is(err, fault.NotFound) {
			t.Errorf("by an API key: %v", err)
		}
		must(t, consents.Withdraw(t.Context(), caller, v.client.ID))
		if got := w.told(); !slices.Equal(got, []string{"session.revoked consent_withdrawn", "consent.withdrawn"}) {
			t.Errorf("told %v", got)
		}
		if _, err := v.refresh(in.Refresh.Reveal(), nil); !errors.Is(err, fault.InvalidToken) {
			t.Errorf("refresh: %v", err)
		}
		if _, err := v.redeem(unused, nil); !errors.Is(err, fault.InvalidToken) {
			t.Errorf("redeem what was given before: %v", err)
		}
		// A code that was being made while the consent was withdrawn.
		must(t, w.db.Authorizations().InAuthorizationTx(t.Context(), func(tx oauth.AuthorizationTx) error { return tx.InsertCode(kept) }))
		if _, err := v.redeem(late, nil); !errors.Is(err, fault.InvalidToken) {
			t.Errorf("redeem what was given meanwhile: %v", err)
		}
		if ask := v.asked(nil); ask.Asked != oauth.AskConsent {
			t.Errorf("asked %+v", ask)
		}
		if err := consents.Withdraw(t.Context(), caller, v.client.ID); !errors.Is(err, fault.NotFound) {
			t.Errorf("again: %v", err)
		}
	})
}

// A warm authorization request costs at most two reads, the session and the
// consent, before its one commit: the code and its event.
func TestCostOfAnAuthorization(t *testing.T) {
	onBoth(t, func(t *testing.T, o opener) {
		w := open(t, o, newClock())
		w.warm = true
		v := w.visitor("ada@example.com", nil).login("ada@example.com")
		v.allow(nil)
		v.allow(nil)
		w.trail = nil
		v.allow(nil)
		if want := []string{"query", "query", "create", "create", "commit"}; !slices.Equal(w.trail, want) {
			t.Errorf("it cost %q; want %q", w.trail, want)
		}
	})
}

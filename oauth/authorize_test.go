package oauth_test

import (
	"slices"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/oauth"
)

// The whole way: log in, allow, redeem, refresh.
func TestAUserAllowsAClient(t *testing.T) {
	onBoth(t, func(t *testing.T, o opener) {
		w := open(t, o, newClock())
		v := w.visitor("ada@example.com", nil)

		ask := v.asked(nil)
		if ask.Asked != oauth.AskLogin || ask.Client.ID != v.client.ID || ask.RedirectURI != callback {
			t.Fatalf("asked %+v", ask)
		}
		v.login("ada@example.com")
		w.heard()
		next := v.goOn(ask.Pending)
		if next.Ask == nil || next.Ask.Asked != oauth.AskConsent || !slices.Equal(next.Ask.Scopes, oauth.Scopes{"openid", "agents:read"}) {
			t.Fatalf("then %+v", next)
		}
		out, err := w.authorizer.Decide(t.Context(), v.visit(nil), next.Ask.Pending, true)
		must(t, err)
		told := said(out)
		if told["state"] != "st" || told["iss"] != issuer || out.Reply.RedirectURI != callback || out.Reply.Mode != oauth.ModeQuery {
			t.Fatalf("answered %+v", out.Reply)
		}
		if got := w.told(); !slices.Equal(got, []string{"consent.granted", "authorization.granted"}) {
			t.Errorf("told %v", got)
		}

		w.clock.advance(2 * time.Second)
		in, err := v.redeem(told["code"], nil)
		must(t, err)
		c := claims(t, in.Access)
		if in.IDToken == "" || in.Refresh.IsZero() || in.Scopes.String() != "openid agents:read" || c.Scope != "openid agents:read" ||
			!slices.Equal(c.Permissions, []string{"agents:read"}) || c.Client != v.client.ID {
			t.Errorf("redeemed %v %+v", in.Scopes, c)
		}
		if got := w.told(); !slices.Equal(got, []string{"code.redeemed"}) {
			t.Errorf("told %v", got)
		}
		again, err := v.refresh(in.Refresh.Reveal(), nil)
		must(t, err)
		if again.Session != in.Session || again.IDToken == "" || again.Scopes.String() != in.Scopes.String() {
			t.Errorf("refreshed %+v", again)
		}
		// It is remembered: nobody is asked again.
		if code := said(must1(v.ask(nil))(t))["code"]; code == "" {
			t.Error("asked again")
		}
	})
}

func must1[T any](value T, err error) func(*testing.T) T {
	return func(t *testing.T) T { t.Helper(); must(t, err); return value }
}

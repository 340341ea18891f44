package oauth_test

import (
	"errors"
	"testing"

	"github.com/tokenhouse/tokenhouse/internal/fault"
)

// Whatever statement fails, a code is redeemed wholly or not at all, and once:
// whoever was told that it failed may try again.
func TestAFailingDatabaseRedeemsNothingByHalf(t *testing.T) {
	onBoth(t, func(t *testing.T, o opener) {
		w := open(t, o, newClock())
		v := w.visitor("ada@example.com", nil).login("ada@example.com")
		v.allow(nil)
		for n := 0; ; n++ {
			code := v.allow(nil)
			w.heard()
			w.plan.FailAt(n)
			_, err := v.redeem(code, nil)
			fired := w.plan.Heal()
			if fired == "" {
				must(t, err)
				if n < 8 {
					t.Errorf("a redemption is over after %d statements", n)
				}
				return
			}
			if !errors.Is(err, fault.Unavailable) {
				t.Errorf("statement %d (%s) failed, and it is %v", n, fired, err)
			}
			if told := w.told(); len(told) > 0 {
				t.Errorf("statement %d (%s) failed, and it is told %v", n, fired, told)
			}
			if _, err := v.redeem(code, nil); err != nil {
				t.Errorf("statement %d (%s) failed, and then: %v", n, fired, err)
			}
		}
	})
}

// The same of an authorization: no code, no consent, no event; and of a second
// use, whose refusal is not answered before what it ends has ended.
func TestAFailingDatabaseAllowsNothingByHalf(t *testing.T) {
	w := open(t, backends["SQLite"](t), newClock())
	v := w.visitor("ada@example.com", nil).login("ada@example.com")
	ask, visit := v.asked(nil), v.visit(nil)
	w.heard()
	for n := 0; ; n++ {
		w.plan.FailAt(n)
		out, err := w.authorizer.Decide(t.Context(), visit, ask.Pending, true)
		fired := w.plan.Heal()
		if fired == "" {
			must(t, err)
			break
		}
		if !errors.Is(err, fault.Unavailable) || out.Reply != nil || len(w.told()) > 0 {
			t.Errorf("statement %d (%s) failed, and it is %+v, %v", n, fired, out, err)
		}
		if _, err := w.db.Authorizations().Consent(t.Context(), v.user().ID, v.client.ID); !errors.Is(err, fault.NotFound) {
			t.Errorf("statement %d (%s) failed, and the consent is there: %v", n, fired, err)
		}
	}
	code := v.allow(nil)
	in, err := v.redeem(code, nil)
	must(t, err)
	for n := 0; ; n++ {
		w.plan.FailAt(n)
		_, err := v.redeem(code, nil)
		fired := w.plan.Heal()
		f, lookup := w.db.Sessions().Family(t.Context(), in.Session)
		must(t, lookup)
		if ended := !f.Ended.At.IsZero(); ended != badGrant(err) {
			t.Fatalf("statement %d (%s) failed: %v, ended %v", n, fired, err, ended)
		}
		if fired == "" {
			break
		}
	}
}

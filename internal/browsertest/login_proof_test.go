package browsertest_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/browsertest"
	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// besieged is a house with an account that strangers failed at until only a
// proof lets others in.
func besieged(t *testing.T, change func(*house.Config)) (*housetest.Harness, housetest.Person) {
	t.Helper()
	h := housetest.Start(t, housetest.Options{Config: change})
	h.House().Logins.Throttle.Pool = accounts.Limit{Failures: 6, Window: time.Hour}
	p := h.Person(h.Admin.Org, "ada", "viewer")
	for i := range 6 {
		h.Client().From(fmt.Sprintf("203.0.113.%d", i)).TryLogin(p.Email, "not the password of anyone").Expect(http.StatusUnauthorized)
	}
	return h, p
}

// In a real browser: our script works while people type. The policy lets the page
// load what it needs for that, and no more.
func TestChromiumProvesThatItIsWorthALogin(t *testing.T) {
	w := browsertest.Open(t, browsertest.Look{Width: 390, Height: 844})
	enter := func(w *browsertest.Window, h *housetest.Harness, p housetest.Person) {
		w.Go(h.Config.Issuer + "/login")
		w.Fill("#email", p.Email)
		w.Fill("#password", p.Password)
		w.Click("button[type=submit]")
		w.Reads("#problem", "this time there is a check besides")
	}
	seen := func(t *testing.T, w *browsertest.Window, name string) {
		t.Helper()
		w.Screenshot(name)
		for _, b := range w.Barriers() {
			t.Errorf("%s: %s", name, b)
		}
		if m := w.Complaints("Content Security Policy"); len(m) > 0 {
			t.Errorf("the browser complains: %q", m)
		}
	}
	t.Run("work", func(t *testing.T) {
		w := w.For(t)
		h, p := besieged(t, nil) // with as much work as usual
		enter(w, h, p)
		w.Reads("#proof-says", "This browser has passed the check")
		seen(t, w, "login-work-390")
		w.Fill("#password", p.Password)
		w.Click("button[type=submit]")
		w.Reads("h1", "You are signed in")
	})
	if m := w.Complaints("Content Security Policy"); len(m) > 0 {
		t.Errorf("the browser complains: %q", m)
	}
}

package browsertest_test

import (
	"strings"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/browsertest"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
	"github.com/tokenhouse/tokenhouse/server/console/shell"
)

// What every page of the console has, on a phone: the menu, the password asked
// again before what is dangerous, problems that have the focus, notices that are
// shown once, and times of the viewer's zone. First with scripts, then without.
func TestChromiumFindsItsWayInTheConsole(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	w := browsertest.Open(t, browsertest.Look{Width: 390, Height: 844})
	w.Go(h.Config.Issuer + "/settings/api-keys/new")
	signIn(w, h)
	w.Arrives(h.Config.Issuer + "/settings/api-keys/new")

	w.Click("button.menu-button")
	w.Click(`#menu a[href="/settings/sessions"]`)
	w.Arrives(h.Config.Issuer + "/settings/sessions")
	if !w.Has(`#menu a[href="/settings/sessions"][aria-current="page"]`) {
		t.Error("the menu does not say where one is")
	}
	if browsertest.Eval[bool](w, "document.querySelector('#menu').checkVisibility()") {
		t.Error("the menu is open on a new page")
	}
	if !w.Has("main time[title]") || strings.Contains(browsertest.Eval[string](w, "document.querySelector('main time').textContent"), "UTC") {
		t.Error("a time is not in the viewer's zone")
	}

	for name, script := range map[string]bool{"with scripts": true, "without": false} {
		w.LookAs(browsertest.Look{Width: 390, Height: 844, NoScript: !script})
		h.Advance(shell.FreshFor + time.Second)
		w.Go(h.Config.Issuer + "/settings/api-keys/new")
		w.Reads("h1", "Confirm that it is you")
		w.Focused("#password")
		w.Fill("#password", "not the password of anyone")
		w.Click("button[type=submit]")
		w.Reads("#problem[role=alert]", "The password is wrong.")
		w.Fill("#password", h.Admin.Password)
		w.Click("button[type=submit]")
		w.Arrives(h.Config.Issuer + "/settings/api-keys/new")

		w.Fill("#f-name", "A key without permissions "+name)
		w.Click(".fields button[type=submit]")
		w.Reads("#problems", "Please check")
		w.Focused("#problems")
		if got := browsertest.Eval[string](w, "document.querySelector('#f-name').value"); got != "A key without permissions "+name {
			t.Errorf("%s: what was typed is %q", name, got)
		}

		w.Go(h.Config.Issuer + "/settings")
		w.Fill("#f-name", "Ada "+name)
		w.Click(".fields button[type=submit]")
		w.Reads(".notice", "name")
		w.Go(h.Config.Issuer + "/settings")
		if w.Has(".notice") {
			t.Errorf("%s: the notice is shown again", name)
		}
	}
	if m := w.Complaints("Content Security Policy"); len(m) > 0 {
		t.Errorf("the browser complains: %q", m)
	}
}

package browsertest_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/tokenhouse/tokenhouse/internal/browsertest"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// settingsTour is somebody who walks through the pages of their own account.
type settingsTour struct {
	*browsertest.Window
	t    *testing.T
	h    *housetest.Harness
	name string
	wide int64
}

// seen looks at a page: nothing keeps anybody out of it, and nothing is wider than
// the window.
func (s settingsTour) seen(page string) {
	s.t.Helper()
	s.Screenshot("settings-" + page + "-" + s.name)
	for _, f := range s.Barriers() {
		s.t.Errorf("%s: %s", page, f)
	}
	if wide := browsertest.Eval[int64](s.Window, "document.documentElement.scrollWidth"); wide > s.wide {
		s.t.Errorf("%s is %d pixels wide", page, wide)
	}
}

func (s settingsTour) shows(heading, page string) {
	s.t.Helper()
	s.Reads("h1", heading)
	s.seen(page)
}

// link follows a link by its text.
func (s settingsTour) link(text string) {
	s.t.Helper()
	follow := `(() => { const a = [...document.querySelectorAll("a")].find((a) => a.textContent.trim() === "` + text + `"); a?.click(); return a !== undefined })()`
	if !browsertest.Eval[bool](s.Window, follow) {
		s.t.Fatalf("there is no link %q", text)
	}
}

// K8, K10, K12, K17: from the login by Settings, API Keys and Create Key to a key
// that works, is shown once, and is revoked; on a phone without scripts and on a
// laptop with them. All other pages of one's own account are looked at on the way.
func TestChromiumSettings(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	first := h.Admin
	for name, look := range map[string]browsertest.Look{
		"390":       {Width: 390, Height: 844, NoScript: true},
		"1280":      {Width: 1280, Height: 800},
		"1280-dark": {Width: 1280, Height: 800, Dark: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := settingsTour{browsertest.Open(t, look), t, h, name, look.Width}
			h.Admin = h.Person(first.Org, "admin-"+name, "owner")
			defer func() { h.Admin = first }()
			s.Go(h.Config.Issuer + "/login?return_to=/settings")
			signIn(s.Window, h)
			s.shows("Profile", "profile")
			s.Fill("#f-name", "Grace <b>Hopper</b>")
			s.Click("form.fields button[type=submit]")
			s.Reads(".notice", "Your name was saved.")
			if got := browsertest.Eval[string](s.Window, `document.querySelector("#f-name").value`); got != "Grace <b>Hopper</b>" {
				t.Errorf("the name reads %q", got)
			}
			if look.NoScript {
				s.Go(h.Config.Issuer + "/settings/api-keys") // the menu opens without scripts too; the walk on the laptop uses it
			} else {
				if !strings.Contains(browsertest.Eval[string](s.Window, `document.querySelector("#menu").textContent`), "Settings") {
					t.Error("the menu does not say Settings")
				}
				s.link("API Keys") // K8
			}
			s.shows("API Keys", "no-keys")
			s.link("Create Key") // K10
			s.shows("Create Key", "new-key")
			s.Fill("#f-name", "prod-agent")
			s.Click("button[type=submit]:not(.quiet)") // no permission was chosen
			s.Reads("#f-permissions-problem", "Must hold")
			if !look.NoScript {
				s.Focused("#problems")
			}
			s.seen("new-key-refused")
			s.Click(`input[value="agents:read"]`)
			browsertest.Eval[string](s.Window, `document.querySelector("#f-networks").value = "127.0.0.1"`)
			s.Click("button[type=submit]:not(.quiet)")
			s.shows("Key created", "key-created")
			value := s.shownOnce() // K12
			s.Reads("h1", "API Keys")
			s.seen("keys")
			s.link("prod-agent")
			s.shows("prod-agent", "key")
			s.link("Rotate")
			s.shows("Rotate prod-agent?", "rotate-key")
			s.Click("button[type=submit]:not(.quiet)")
			s.Reads("h1", "Key rotated")
			next := s.shownOnce()
			s.link("Revoke")
			s.shows("Revoke prod-agent?", "revoke-key")
			s.Click("button.danger[type=submit]")
			s.Reads(".notice", "prod-agent was revoked.")
			s.Reads("tbody tr", "Revoked") // K17: with the time and who
			s.Reads("tbody td .soft", "by you")
			if !s.Has("tbody td .badge.bad ~ time") {
				t.Error("the row does not say when it was revoked")
			}
			s.seen("revoked-key")
			for _, v := range []string{value, next} {
				h.Client().WithKey(v).Get("/api/v1/me").Expect(http.StatusUnauthorized)
			}
			s.rest(look)
			if m := s.Complaints("Content Security Policy"); len(m) > 0 {
				t.Errorf("the browser complains: %q", m)
			}
		})
	}
}

var shownKey = regexp.MustCompile(`^th_live_[0-9A-Za-z]{46}$`)

// shownOnce takes the key from the page that shows it and leaves; afterwards it
// is on no page, neither of those one can go back to nor of any other.
func (s settingsTour) shownOnce() string {
	s.t.Helper()
	value := browsertest.Eval[string](s.Window, `document.querySelector("#secret").textContent`)
	if !shownKey.MatchString(value) {
		s.t.Fatalf("the page shows %q for a key", value)
	}
	s.h.Client().WithKey(value).Get("/api/v1/me").Expect(http.StatusOK)
	if address := browsertest.Eval[string](s.Window, "location.href + document.cookie + JSON.stringify(history.state) + JSON.stringify(localStorage) + JSON.stringify(sessionStorage)"); strings.Contains(address, value) {
		s.t.Errorf("the address, a cookie or the storage holds the key: %s", address)
	}
	s.link("Done")
	s.Reads("h1", "API Keys")
	gone := func(where string) {
		s.t.Helper()
		if html := browsertest.Eval[string](s.Window, "document.documentElement.outerHTML"); strings.Contains(html, value) {
			s.t.Errorf("%s shows the key again", where)
		}
	}
	gone("the list")
	s.Back() // where the key was shown
	gone("the page of the history")
	for _, path := range []string{"/settings/api-keys/new", "/settings/activity"} {
		s.Go(s.h.Config.Issuer + path)
		gone(path)
	}
	s.Go(s.h.Config.Issuer + "/settings/api-keys")
	return value
}

// rest are the other pages: password, sessions, applications, activity.
func (s settingsTour) rest(look browsertest.Look) {
	s.t.Helper()
	s.Go(s.h.Config.Issuer + "/settings/password")
	s.Reads("h1", "Password")
	s.Fill("#f-current_password", s.h.Admin.Password)
	s.Fill("#f-new_password", "123456789987654321")
	if !look.NoScript {
		s.Reads(".strength", "Very easy to guess")
	}
	s.seen("password")
	s.Click("form.fields button[type=submit]")
	s.Reads("#f-new_password-problem", "stolen elsewhere")
	s.seen("password-refused")
	next := "four lamps beside a quiet harbour"
	s.Fill("#f-current_password", s.h.Admin.Password)
	s.Fill("#f-new_password", next)
	if !look.NoScript {
		s.Reads(".strength", "Very good")
		s.Click("#f-new_password + button") // to see what one typed
		if kind := browsertest.Eval[string](s.Window, `document.querySelector("#f-new_password").type`); kind != "text" {
			s.t.Errorf("the password is not shown: %s", kind)
		}
	}
	s.Click("form.fields button[type=submit]")
	s.Reads(".notice", "Your password was changed")
	s.h.Client().Login(s.h.Admin.Email, next)
	s.Go(s.h.Config.Issuer + "/settings/sessions")
	s.Reads("h1", "Sessions")
	s.Reads("tbody", "This browser")
	s.seen("sessions")
	s.link("End")
	s.shows("End this session?", "end-session")
	s.Click("button.danger[type=submit]")
	s.Reads(".notice", "The session was ended.")
	s.h.Client().Login(s.h.Admin.Email, next)
	s.Go(s.h.Config.Issuer + "/settings/sessions")
	s.link("End all others")
	s.shows("End all other sessions?", "end-others")
	s.Click("button.danger[type=submit]")
	s.Reads(".notice", "One session was ended.")
	s.Go(s.h.Config.Issuer + "/settings/applications")
	s.shows("Connected apps", "no-applications")
	s.Go(s.h.Config.Issuer + "/settings/activity")
	s.Reads("tbody", "API key revoked")
	s.seen("activity")
}

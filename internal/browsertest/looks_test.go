package browsertest_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/browsertest"
	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
	"github.com/tokenhouse/tokenhouse/internal/smtptest"
)

// looks are how people see pages: on a phone and on a laptop, by day and by night.
var looks = map[string]browsertest.Look{
	"390":       {Width: 390, Height: 844, NoScript: true}, // no script of ours is needed for anything here
	"1280":      {Width: 1280, Height: 800, NoScript: true},
	"1280-dark": {Width: 1280, Height: 800, Dark: true, NoScript: true},
}

// unlockLink locks somebody out and returns the link that they are mailed.
func unlockLink(t *testing.T, h *housetest.Harness, post *smtptest.Sink, name string) string {
	t.Helper()
	p := h.Person(h.Admin.Org, name, "viewer")
	for range 5 {
		h.Client().From("198.51.100.1").TryLogin(p.Email, "not the password of anyone")
	}
	return post.Next(t, len(post.Mails())+1).Link()
}

// Every page lets everybody in: axe-core finds nothing in it. Nothing is wider
// than the window, and nothing is loaded from elsewhere (SEC-WEB-12).
func TestEveryPageIsForEverybody(t *testing.T) {
	post := smtptest.Start(t, smtptest.Options{})
	h := housetest.Start(t, housetest.Options{Config: func(c *house.Config) {
		c.Mail.Server, c.Mail.CAFile, c.Mail.From = post.Address, post.CAFile, "tokens@example.com"
	}})
	s := build(t, h, map[string]any{"client_uri": "https://notes.example", "policy_uri": "https://notes.example/privacy", "tos_uri": "https://notes.example/terms"})
	link, _, err := h.House().People.IssueSetupLink(context.Background(), h.Operator(""), h.Admin.ID)
	if err != nil {
		t.Fatal(err)
	}
	for name, look := range looks {
		t.Run(name, func(t *testing.T) {
			w := browsertest.Open(t, look)
			seen := func(page, heading string) {
				t.Helper()
				w.Reads("h1", heading)
				w.Screenshot(page + "-" + name)
				for _, f := range w.Barriers() {
					t.Errorf("%s: %s", page, f)
				}
				if wide := browsertest.Eval[int](w, "document.documentElement.scrollWidth"); int64(wide) > look.Width {
					t.Errorf("%s is %d pixels wide", page, wide)
				}
				for _, from := range browsertest.Eval[[]string](w, "performance.getEntriesByType('resource').map((e) => e.name)") {
					if !strings.HasPrefix(from, h.Config.Issuer+"/assets/") {
						t.Errorf("%s loads %s", page, from)
					}
				}
			}
			w.Go(h.Config.Issuer + "/setup?token=" + link.Reveal())
			seen("setup", "Set up tokenhouse")
			w.Go(h.Config.Issuer + "/oauth2/authorize?client_id=nobody")
			seen("error", "Error")
			w.Go(unlockLink(t, h, post, "locked-"+name))
			seen("unlock", "Sign in here again?")
			w.Click("button[type=submit]")
			seen("unlocked", "You can sign in again")
			w.Go(s.asks("prompt", "consent", "login_hint", h.Admin.Email, "scope", "openid profile email offline_access agents:read incidents:read", "response_mode", "form_post"))
			seen("login", "Sign in")
			w.Fill("input#password", "a wrong password")
			w.Click("button[type=submit]")
			w.Reads("#problem", "wrong")
			seen("login-refused", "Sign in")
			signIn(w, h)
			seen("consent", "Allow access?")
			w.Click("button[name=decision][value=deny]")
			seen("form-post", "Going back")
			h.Advance(time.Second) // what was just proved is not asked again
			w.Go(s.asks("prompt", "select_account"))
			seen("accounts", "Choose an account")
			w.Go(s.asks("prompt", "login"))
			seen("login-again", "Sign in")
			w.Go(h.Config.Issuer + "/login")
			seen("signed-in", "You are signed in")
			w.Click("button[type=submit]")
			seen("logout", "Sign out?")
			w.Click("button[type=submit]")
			seen("logged-out", "You have been logged out")
		})
	}
}

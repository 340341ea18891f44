package examples_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The service guide works as it is printed, in a plain shell.
func TestTheServiceGuide(t *testing.T) {
	s := newClone(t).follow("README.md", "service.md")
	for _, want := range []string{
		`"token_endpoint":"`, `"data":\[\{`, "INSUFFICIENT_PERMISSIONS", `^200 .*"data":\[\{`, `"active":true.*{"active":false}`,
		"^deleted +yes", "INVALID_TOKEN", `^200 .*"data":\[\{`,
	} {
		s.until(want)
	}
	s.finish()
}

// Service accounts work as their guide says, in a plain shell.
func TestTheGuideToServiceAccounts(t *testing.T) {
	s := newClone(t).follow("README.md", "../service-accounts.md")
	for _, want := range []string{
		"^name +deploy-bot", `"data":`, "^status +disabled", "INVALID_API_KEY", "owner_inactive", "^status +active", "^owner +svc_", "^status +disabled", `"data":`, "^deleted +yes",
	} {
		s.until(want)
	}
	s.finish()
}

// The web guide's application signs somebody in and out, in Chromium.
func TestTheWebGuide(t *testing.T) {
	c := newClone(t)
	s := c.follow("README.md", "web.md")
	s.until("^Open http://")
	home := "http://" + c.web + "/"
	w := opens(t, home)
	w.Click("#login")
	w.signsIn()
	w.Arrives(home)
	w.Reads("#who", adaEmail)
	w.Click("#account")
	w.Reads("#claims", "Ada Lovelace")
	w.Go(home)
	w.Click("#logout")
	w.Arrives(home)
	w.Reads("#login", "Sign in")

	// The session at tokenhouse is over too: the password is asked for again, the consent is not.
	w.Click("#login")
	w.logsIn()
	w.Arrives(home)
	w.Reads("#who", adaEmail)

	// Signing out elsewhere reaches the application by the back channel.
	w.Go("http://" + c.house + "/oauth2/logout")
	w.Click("button[type=submit]")
	w.Reads("h1", "You have been logged out")
	c.eventually("the application forgets the visit", func() bool {
		w.Go(home)
		return w.Has("#login")
	})
}

// The command line guide's program signs somebody in by the browser, in Chromium.
func TestTheCommandLineGuide(t *testing.T) {
	c := newClone(t)
	s := c.follow("README.md", "cli.md")
	w := opens(t, s.until(`^http://.*/oauth2/authorize\?`))
	w.signsIn()
	w.Reads("#done", "go back to the terminal")
	s.until("^Signed in")
	s.until("^" + adaEmail)
	s.until("^Signed out")
	s.until("nobody is signed in")
	s.finish()
}

// A page without a server signs somebody in, renews in silence in both ways and
// by itself, and signs out, in Chromium.
func TestTheSinglePageGuide(t *testing.T) {
	// The library renews 60 seconds before the end of the access token: at once.
	c := newClone(t, "TOKENHOUSE_ACCESS_TOKEN_TTL=64s")
	s := c.follow("README.md", "spa.md")
	s.until("^Open http://")
	home := "http://" + c.page + "/"
	w := opens(t, home)
	w.Click("#login")
	w.signsIn()
	w.Arrives(home)
	w.Reads("#state", "Signed in as "+adaEmail)

	// by itself
	before := w.stored("access_token")
	c.eventually("the page renews by itself", func() bool { return w.stored("access_token") != before })

	// with the refresh token
	before = w.stored("access_token")
	w.Click("#refresh")
	c.eventually("the page has another access token", func() bool { return w.stored("access_token") != before })
	w.Click("#call")
	w.Reads("#answer", "Ada Lovelace")

	// in a hidden frame
	before = w.stored("access_token")
	w.Click("#frame")
	c.eventually("the frame brings another access token", func() bool { return w.stored("access_token") != before && w.stored("refresh_token") != "" })
	w.Click("#call")
	w.Reads("#answer", "Ada Lovelace")
	w.Reads("#error", "")

	last := w.stored("access_token")
	w.Click("#logout")
	w.Arrives(home)
	w.Reads("#state", "Nobody is signed in")
	if status := c.userinfo(last); status != 401 {
		t.Errorf("after the logout the access token is answered %d", status)
	}
}

// What the guides show of a program is in the program.
func TestWhatTheGuidesShowIsInTheExamples(t *testing.T) {
	for guide, files := range map[string][]string{
		"web.md": {"node-web/server.mjs"}, "spa.md": {"spa/app.mjs", "spa/silent.html"}, "cli.md": {"go-cli/main.go"}, "service.md": {"go-service/main.go", "node-service/service.mjs"},
	} {
		var all strings.Builder
		for _, f := range files {
			text, err := os.ReadFile(filepath.FromSlash(f))
			if err != nil {
				t.Fatal(err)
			}
			all.Write(text)
		}
		shown := append(fences(t, guide, "js"), fences(t, guide, "go")...)
		if len(shown) == 0 {
			t.Errorf("%s shows no code", guide)
		}
		for _, block := range shown {
			rest := all.String()
			for line := range strings.Lines(block) {
				_, after, found := strings.Cut(rest, strings.TrimSpace(line))
				if !found {
					t.Errorf("%s shows a line that is not in %v, or not there:\n%s", guide, files, line)
					break
				}
				rest = after
			}
		}
	}
}

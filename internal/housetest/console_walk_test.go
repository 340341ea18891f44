package housetest_test

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
	"github.com/tokenhouse/tokenhouse/server/console/shell"
)

// nobodys fills the parameters of a path with ids that exist nowhere.
func nobodys(path string) string {
	parts := strings.Split(path, "/")
	for i, p := range parts {
		if strings.HasPrefix(p, ":") {
			parts[i] = "nobody"
		}
	}
	return strings.Join(parts, "/")
}

// consoleOf are the routes of the console, of which there are some.
func consoleOf(t *testing.T, h *housetest.Harness) []shell.Route {
	t.Helper()
	c := h.House().Console()
	if len(c.Routes) == 0 {
		t.Fatal("the console has no pages")
	}
	return c.Routes
}

// visitRoute asks a route as a browser's own page does, with these values.
func visitRoute(b *housetest.Browser, origin string, r shell.Route, path string, values url.Values) housetest.Page {
	if r.Method == http.MethodGet {
		return b.Open(path)
	}
	return b.Post(origin, path, values)
}

// Whoever is signed out is asked to sign in, and comes back (SEC-WEB-04: a cookie
// that stands for nobody is no session).
func TestConsoleAsksStrangersToSignIn(t *testing.T) {
	h := housetest.Start(t, housetest.Options{Still: true})
	for _, r := range consoleOf(t, h) {
		for _, cookie := range []string{"", "deadbeef"} {
			b := h.Browser()
			if cookie != "" {
				b.SetCookie("th_session", cookie)
			}
			path := nobodys(r.Path)
			page := visitRoute(b, h.Config.Issuer, r, path, url.Values{})
			if page.URL.Path != "/login" || page.URL.Query().Get("return_to") != path || page.Trail[0].Status != http.StatusSeeOther {
				t.Errorf("%s %s with cookie %q: %s", r.Method, r.Path, cookie, page)
			}
		}
	}
}

// What every reply of the console has (SEC-WEB-11, SEC-WEB-12, SEC-WEB-16), and
// that whoever lacks a permission sees and does nothing.
func TestConsoleIsClosedToWhoLacksThePermission(t *testing.T) {
	h := housetest.Start(t, housetest.Options{Still: true})
	nothing := h.Client().As(h.Login(h.Admin).Access)
	nothing.Put("/api/v1/roles/nothing", map[string]any{"permissions": []string{"agents:read"}}).Expect(http.StatusOK)
	powerless := h.Person(h.Admin.Org, "powerless", "nothing")
	b := h.Browser()
	b.SignIn("/login", powerless)
	for _, r := range consoleOf(t, h) {
		page := visitRoute(b, h.Config.Issuer, r, nobodys(r.Path), url.Values{})
		if r.Need != "" && r.Method == http.MethodGet && (page.Status != http.StatusForbidden || !strings.Contains(page.Words, string(r.Need))) {
			t.Errorf("%s %s: %s", r.Method, r.Path, page)
		}
		if r.Need != "" && slices.ContainsFunc(page.Links, func(l *url.URL) bool { return l.Path == r.Path && l.Fragment == "" }) {
			t.Errorf("%s is linked for somebody who may not see it", r.Path)
		}
		for _, reply := range page.Trail {
			conformsToConsole(t, r, reply)
		}
	}
}

func conformsToConsole(t *testing.T, r shell.Route, reply housetest.Reply) {
	t.Helper()
	policy := reply.Header.Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"} {
		if !strings.Contains(policy, want) {
			t.Errorf("%s %s: policy %q lacks %s", r.Method, r.Path, policy, want)
		}
	}
	for _, unwanted := range []string{"unsafe", "*", "data:", "http"} {
		if strings.Contains(policy, unwanted) {
			t.Errorf("%s %s: policy %q has %s", r.Method, r.Path, policy, unwanted)
		}
	}
	if reply.Header.Get("Cache-Control") != "no-store" || reply.Header.Get("X-Frame-Options") != "DENY" || reply.Header.Get("X-Content-Type-Options") != "nosniff" || reply.Header.Get("Referrer-Policy") != "same-origin" {
		t.Errorf("%s %s: %v", r.Method, r.Path, reply.Header)
	}
	if reply.Header.Get("Content-Encoding") != "" {
		t.Errorf("%s %s is compressed", r.Method, r.Path) // its secrets could be learnt from its size
	}
}

// SEC-WEB-05: nothing happens that another site asks for, whatever it says of
// itself, and nothing without the token of this browser, session and form.
func TestConsoleRefusesForgedForms(t *testing.T) {
	h := housetest.Start(t, housetest.Options{Still: true})
	b := h.Browser()
	b.SignIn("/login", h.Admin)
	stranger := h.Browser()
	stranger.SignIn("/login", h.Admin)
	auditor := h.Client().As(h.Login(h.Admin).Access)
	happened := func() string {
		return string(auditor.Get("/api/v1/audit-events?limit=200").Expect(http.StatusOK).Body)
	}
	before := happened()
	others := map[string]string{
		"none": "", "made up": "AAAA", "another form's": tokenOf(b, "/login/again"), "another browser's": tokenOf(stranger, "/login/again"),
	}
	for _, r := range consoleOf(t, h) {
		if r.Method == http.MethodGet {
			continue
		}
		path := nobodys(r.Path)
		for name, token := range others {
			page := b.Post(h.Config.Issuer, path, url.Values{"form_token": {token}})
			if page.Status != http.StatusForbidden || !strings.Contains(page.Words, "CROSS_ORIGIN") {
				t.Errorf("%s with token %s: %s", r.Path, name, page)
			}
		}
		for _, site := range []string{"https://evil.example", "null", "http://sub." + strings.TrimPrefix(h.Config.Issuer, "http://")} {
			if page := b.Post(site, path, url.Values{}); page.Status != http.StatusForbidden {
				t.Errorf("%s from %s: %s", r.Path, site, page)
			}
		}
	}
	if after := happened(); after != before {
		t.Errorf("something happened: %s", after)
	}
}

// tokenOf is the token of the form on a page.
func tokenOf(b *housetest.Browser, path string) string {
	for _, f := range b.Open(path).Forms {
		if v := f.Fields.Get("form_token"); v != "" {
			return v
		}
	}
	return ""
}

// What is Fresh asks for the password where it is not ten minutes old, and has a
// page to come back to.
func TestConsoleAsksForThePasswordAgain(t *testing.T) {
	h := housetest.Start(t, housetest.Options{Still: true})
	b := h.Browser()
	b.SignIn("/login", h.Admin)
	h.Advance(shell.FreshFor + time.Second)
	routes := consoleOf(t, h)
	for _, r := range routes {
		if !r.Fresh {
			continue
		}
		if !slices.ContainsFunc(routes, func(g shell.Route) bool { return g.Method == http.MethodGet && g.Path == r.Path }) {
			t.Errorf("%s %s: nowhere to come back to", r.Method, r.Path)
		}
		if r.Method != http.MethodGet {
			continue
		}
		path := nobodys(r.Path)
		if page := b.Open(path); page.URL.Path != "/login/again" || page.URL.Query().Get("return_to") != path {
			t.Errorf("%s: %s", path, page)
		}
	}
	// SEC-WEB-02: a new cookie afterwards, and the old one is dead; SEC-WEB-14: to no other site.
	old := b.Cookie("th_session")
	b.Open("/login/again?return_to=//evil.example/")
	if b.Submit(map[string]string{"password": "not the password"}); b.Page.Status != http.StatusUnauthorized || b.Cookie("th_session") != old {
		t.Fatalf("a wrong password: %s", b.Page)
	}
	b.Submit(map[string]string{"password": h.Admin.Password})
	if b.Left != nil || b.Cookie("th_session") == old || b.Cookie("th_session") == "" {
		t.Errorf("left for %v, with the cookie %q as before", b.Left, old)
	}
	thief := h.Browser()
	thief.SetCookie("th_session", old)
	if page := thief.Open("/settings"); page.URL.Path != "/login" {
		t.Errorf("the old cookie is good: %s", page)
	}
	for _, r := range routes {
		if r.Fresh && r.Method == http.MethodGet {
			if page := b.Open(nobodys(r.Path)); page.URL.Path == "/login/again" {
				t.Errorf("%s asks again at once", r.Path)
			}
		}
	}
}

// Every page that the menu leads to is there for the owner, is one page with one
// heading, and leads to nothing that is missing.
func TestConsoleLeadsNowhereThatIsMissing(t *testing.T) {
	h := housetest.Start(t, housetest.Options{Still: true, Config: func(c *house.Config) { c.HTTP.Demo = false }})
	h.Browser().SignIn("/login", h.Admin) // there is another session to end
	b := h.Browser()
	b.SignIn("/login", h.Admin)
	seen, next, bodies := map[string]bool{}, []string{"/settings"}, ""
	for len(next) > 0 {
		path := next[0]
		next = next[1:]
		if seen[path] {
			continue
		}
		seen[path] = true
		page := b.Open(path)
		bodies += string(page.Body)
		if page.Status != http.StatusOK || len(page.Headings) == 0 {
			t.Errorf("%s: %s", path, page)
		}
		if page.Status != http.StatusOK {
			continue
		}
		if weight := weigh(t, h, page); weight > 60_000 {
			t.Errorf("%s weighs %d bytes with what it loads", path, weight)
		}
		for _, l := range page.Links {
			if l.Host == page.URL.Host && l.Path != "" && !strings.HasPrefix(l.Path, "/oauth2/") && !strings.HasPrefix(l.Path, "/login") && !seen[l.RequestURI()] && len(seen)+len(next) < 300 {
				next = append(next, l.RequestURI())
			}
		}
	}
	for _, r := range consoleOf(t, h) {
		if r.Method == http.MethodGet && !strings.Contains(r.Path, ":") && !strings.Contains(bodies, `"`+r.Path) {
			t.Errorf("nothing leads to %s", r.Path)
		}
	}
}

// SEC-WEB-16: what belongs to another organisation is not there, on no page, by
// none of its ids.
func TestConsoleShowsNothingOfAnotherOrganisation(t *testing.T) {
	h := housetest.Start(t, housetest.Options{Still: true})
	victim, intruder := settle(h, "victim"), settle(h, "intruder")
	b := h.Browser()
	b.SignIn("/login", intruder.owner)
	routes := slices.Clone(consoleOf(t, h))
	// Lists first: afterwards the log names what was asked for.
	slices.SortStableFunc(routes, func(a, b shell.Route) int { return strings.Count(a.Path, ":") - strings.Count(b.Path, ":") })
	for _, r := range routes {
		if r.Method != http.MethodGet {
			continue
		}
		before, after, takes := strings.Cut(r.Path, "/:")
		_, after, _ = strings.Cut(after+"/", "/")
		for _, id := range append([]string{victim.role}, victim.ids...) {
			path := strings.TrimSuffix(before+"/"+id+"/"+after, "/")
			if !takes {
				path = r.Path
			}
			page := b.Open(path)
			for _, f := range page.Forms {
				if takes && page.Status == http.StatusOK && f.Action.Path == path && f.Method == http.MethodPost { // it asks about whatever it is given
					page = b.Post(h.Config.Issuer, path, f.Fields)
				}
			}
			if takes && page.Status != http.StatusNotFound && page.Status != http.StatusForbidden { // what is of the deployment is forbidden
				t.Errorf("%s: %s", path, page)
			}
			for _, s := range victim.secrets {
				if s != id && strings.Contains(string(page.Body), s) {
					t.Errorf("%s shows %s", path, s)
				}
			}
			if !takes {
				break
			}
		}
	}
}

var fileAddress = regexp.MustCompile(`(?:src|href)="([^"#]*)"[^>]*>`)

// weigh is what a page and the files it loads cost on the way, in bytes: the
// files gzip-encoded, the page not. It fails the test where one is not ours.
func weigh(t *testing.T, h *housetest.Harness, page housetest.Page) int {
	t.Helper()
	weight := len(page.Body)
	for _, m := range fileAddress.FindAllStringSubmatch(string(page.Body), -1) {
		if !strings.Contains(m[1], "/assets/") {
			if strings.Contains(m[0], "src=") {
				t.Errorf("%s loads %s", page.URL, m[1])
			}
			continue
		}
		address, _, _ := strings.Cut(m[1], "#")
		file := h.Client().With("Accept-Encoding", "gzip").Get(strings.ReplaceAll(address, "&amp;", "&")).Expect(http.StatusOK)
		if file.Header.Get("Content-Encoding") != "gzip" && len(file.Body) > 1000 || file.Header.Get("Cache-Control") != "public, max-age=31536000" || file.Header.Get("Vary") == "" {
			t.Errorf("%s: %v", address, file.Header)
		}
		weight += len(file.Body)
	}
	return weight
}

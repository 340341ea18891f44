package browsertest_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/browsertest"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
	"github.com/tokenhouse/tokenhouse/server/console/shell"
)

// envEveryLook makes the test look at each page of the console in every look; else it
// looks at one page of each kind in one. envGallery names the directory of the gallery.
const (
	envEveryLook = "TOKENHOUSE_TEST_EVERY_LOOK"
	envGallery   = "TOKENHOUSE_TEST_GALLERY"
)

// furnish makes an organisation that looks as if people worked in it.
func furnish(t *testing.T, h *housetest.Harness) {
	t.Helper()
	c := h.Client().As(h.Login(h.Admin).Access)
	for i, name := range []string{"Deployment pipeline", "Nightly backup", "Grafana", "An importer with a name that is longer than anybody would have thought useful"} {
		id, _ := c.CreateKey(name, "agents:read", "incidents:read")
		if i == 1 {
			c.Delete("/api/v1/api-keys/" + id)
		}
	}
	hook := c.Post("/api/v1/webhooks", map[string]any{"url": "https://hooks.example/tokenhouse/incoming", "events": []string{"login.*", "api_key.revoked"}}).Expect(http.StatusCreated)
	c.Post("/api/v1/webhooks/"+hook.Text("id")+"/test", nil)
	c.Post("/api/v1/service-accounts", map[string]string{"name": "Backup robot", "role": "viewer", "description": "Copies the incidents every night"}).Expect(http.StatusCreated)
	c.Put("/api/v1/roles/auditor", map[string]any{"permissions": []string{"audit:read", "users:read"}}).Expect(http.StatusOK)
	c.Post("/api/v1/clients", map[string]any{
		"name": "Field Notes", "auth_method": "none", "grants": []string{"authorization_code", "refresh_token"},
		"scopes": []string{"openid", "profile", "agents:read"}, "redirect_uris": []string{"https://notes.example/callback"},
	}).Expect(http.StatusCreated)
	for i, name := range []string{"grace", "katherine", "margaret"} {
		p := h.Person(h.Admin.Org, name, []string{"viewer", "auditor", "admin"}[i])
		for range i * 3 {
			h.Client().From("198.51.100.7").TryLogin(p.Email, "not the password of anyone")
		}
		h.Advance(time.Hour)
		h.Login(p)
	}
}

// pagesOf finds the console's pages by following links as its owner: one address
// for each route.
func pagesOf(t *testing.T, h *housetest.Harness) map[string]string {
	t.Helper()
	b := h.Browser()
	b.SignIn("/login", h.Admin)
	found, seen, next := map[string]string{}, map[string]bool{}, []string{"/settings"}
	for len(next) > 0 && len(seen) < 150 {
		address := next[0]
		next = next[1:]
		path, _, _ := strings.Cut(address, "?")
		r, ok := routeOf(h, path)
		if seen[address] || !ok || found[r] != "" {
			continue
		}
		seen[address], found[r] = true, address
		for _, l := range b.Open(address).Links {
			if l.Host == b.Page.URL.Host {
				next = append(next, l.RequestURI())
			}
		}
	}
	return found
}

// routeOf is the route that answers GET at a path, static ones first.
func routeOf(h *housetest.Harness, path string) (string, bool) {
	best := ""
	for _, r := range h.House().Console().Routes {
		if r.Method == http.MethodGet && matches(r, path) && (best == "" || strings.Contains(best, ":")) {
			best = r.Path
		}
	}
	return best, best != ""
}

func matches(r shell.Route, path string) bool {
	want, got := strings.Split(r.Path, "/"), strings.Split(path, "/")
	return len(want) == len(got) && !slices.ContainsFunc(want, func(p string) bool {
		i := slices.Index(want, p)
		return !strings.HasPrefix(p, ":") && p != got[i]
	})
}

// samples are a page of each kind: plots, lists, filters, forms, confirmations.
var samples = []string{"/console", "/console/audit", "/console/webhooks", "/settings", "/settings/api-keys/new", "/settings/sessions"}

// The console is for everybody: axe-core finds nothing in any page, nothing is
// wider than the window, and nothing comes from elsewhere (SEC-WEB-12).
func TestConsoleIsForEverybody(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	furnish(t, h)
	found := pagesOf(t, h)
	every := os.Getenv(envEveryLook) != "" || os.Getenv(envGallery) != ""
	w := browsertest.Open(t, browsertest.Look{})
	w.Go(h.Config.Issuer + "/login")
	signIn(w, h)
	w.Reads("h1", "You are signed in")
	routes := samples
	looks := []browsertest.Look{{Width: 390, Height: 844, Dark: true}, {Width: 1280, Height: 800}}
	if every {
		routes = nil
		for r := range found {
			routes = append(routes, r)
		}
		looks = append(looks, browsertest.Look{Width: 390, Height: 844}, browsertest.Look{Width: 1280, Height: 800, Dark: true}, browsertest.Look{Width: 320, Height: 640})
		slices.Sort(routes)
	}
	for i, look := range looks {
		w.LookAs(look)
		for k, r := range routes {
			if found[r] == "" {
				t.Errorf("nothing leads to %s", r)
				continue
			}
			if !every && k%len(looks) != i {
				continue // half of the pages in each look
			}
			w.Go(h.Config.Issuer + found[r])
			lookAt(t, w, look, r)
		}
	}
	if dir := os.Getenv(envGallery); dir != "" {
		writeGallery(t, dir, routes)
	}
}

// writeGallery writes the page that shows the pictures.
func writeGallery(t *testing.T, dir string, routes []string) {
	t.Helper()
	var out strings.Builder
	out.WriteString("# The console\n\nEvery page, by day on a laptop and by night on a phone. `make gallery` takes the pictures.\n")
	for _, r := range routes {
		if _, err := os.Stat(filepath.Join(dir, fileName(r)+"-1280.png")); err == nil {
			fmt.Fprintf(&out, "\n## `%s`\n\n<img src=\"%s-1280.png\" width=\"640\" alt=\"%s on a laptop\"> <img src=\"%s-390.png\" width=\"195\" alt=\"%s on a phone\">\n", r, fileName(r), r, fileName(r), r)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "README.md"), []byte(out.String()), 0o644); err != nil { //nolint:gosec // for everybody
		t.Fatal(err)
	}
}

// fileName is what pictures of a page are called.
func fileName(route string) string {
	return strings.Trim(strings.NewReplacer("/", "-", ":", "").Replace(route), "-")
}

func lookAt(t *testing.T, w *browsertest.Window, look browsertest.Look, r string) {
	t.Helper()
	if !w.Has("main h1") {
		return // a part of a page
	}
	name := fileName(r)
	shade := map[bool]string{true: "-dark", false: ""}[look.Dark]
	w.Screenshot(fmt.Sprintf("%s-%d%s", name, look.Width, shade))
	if dir := os.Getenv(envGallery); dir != "" && (look.Width == 1280 && !look.Dark || look.Width == 390 && look.Dark) {
		w.Picture(dir, fmt.Sprintf("%s-%d", name, look.Width))
	}
	for _, f := range w.Barriers() {
		t.Errorf("%s at %d%s: %s", r, look.Width, shade, f)
	}
	if wide := browsertest.Eval[int](w, "document.documentElement.scrollWidth"); int64(wide) > look.Width {
		t.Errorf("%s at %d is %d pixels wide", r, look.Width, wide)
	}
	for _, from := range browsertest.Eval[[]string](w, "performance.getEntriesByType('resource').map((e) => new URL(e.name).pathname)") {
		if !strings.HasPrefix(from, "/assets/") && !strings.HasPrefix(from, "/console/") {
			t.Errorf("%s loads %s", r, from)
		}
	}
	if m := w.Complaints("Content Security Policy"); len(m) > 0 {
		t.Errorf("%s: the browser complains: %q", r, m)
	}
}

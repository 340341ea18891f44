package housetest_test

import (
	"bytes"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/housetest"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/oauth"
)

// at sends the form of a page of ours, with these values.
func at(b *housetest.Browser, h *housetest.Harness, path string, values url.Values) housetest.Page {
	values.Set("form_token", tokenOf(b, path))
	return b.Post(h.Config.Issuer, path, values)
}

var keyForm = regexp.MustCompile(`th_live_[0-9A-Za-z]{46}`)

// K11, K12, K17, O23: a key is made, shown once, rotated and revoked in the pages.
// Its value is in the answer that made it and in nothing else.
func TestConsoleMakesAKeyThatIsShownOnce(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	b := h.Browser()
	b.SignIn("/login", h.Admin)
	made := at(b, h, "/settings/api-keys/new", url.Values{
		"name": {"prod-agent <script>alert(1)</script>"}, "permissions": {"agents:read", "metrics:read"}, "expires_at": {"720h0m0s"}, "networks": {"127.0.0.0/8\r\n2001:db8::/32"},
	}).Shows("Key created")
	value := string(keyForm.Find(made.Body))
	if value == "" || made.Status != http.StatusOK || made.Header.Get("Cache-Control") != "no-store" || bytes.Contains(made.Body, []byte("<script>alert")) {
		t.Fatalf("%s", made)
	}
	key := h.Client().WithKey(value)
	me := key.Get("/api/v1/me").Expect(http.StatusOK)
	id := me.Text("key_id")
	if me.Text("permissions.0") != "agents:read" || me.Text("permissions.1") != "metrics:read" || len(me.List("permissions")) != 2 {
		t.Errorf("%s", me.Body)
	}
	own := h.Client().As(h.Login(h.Admin).Access)
	k := own.Get("/api/v1/api-keys/" + id).Expect(http.StatusOK)
	if k.Text("expires_at") != h.Clock.Now().Add(720*time.Hour).Format(time.RFC3339) || k.Text("networks.1") != "2001:db8::/32" {
		t.Errorf("%s", k.Body)
	}
	pages := []string{"/settings/api-keys", "/settings/api-keys/" + id, "/settings/api-keys/" + id + "/rotate", "/settings/api-keys/new", "/settings/activity", "/settings"}
	hidden := func(values ...string) {
		t.Helper()
		for _, path := range pages {
			page := b.Open(path)
			for _, v := range values {
				if page.Status != http.StatusOK || bytes.Contains(page.Body, []byte(v)) || bytes.Contains(page.Body, []byte("<script>alert")) {
					t.Errorf("%s: %s", path, page)
				}
			}
		}
		for _, path := range []string{"/api/v1/api-keys", "/api/v1/audit-events"} {
			for _, v := range values {
				if r := own.Get(path).Expect(http.StatusOK); bytes.Contains(r.Body, []byte(v)) {
					t.Errorf("%s: %s", path, r.Body)
				}
			}
		}
		for _, c := range []string{"th_session", "th_notice"} {
			for _, v := range values {
				if strings.Contains(b.Cookie(c), v) {
					t.Errorf("the cookie %s holds it", c)
				}
			}
		}
	}
	hidden(value)
	rotated := at(b, h, "/settings/api-keys/"+id+"/rotate", url.Values{"grace": {"1h0m0s"}}).Shows("Key rotated")
	next := string(keyForm.Find(rotated.Body))
	if next == "" || next == value || bytes.Contains(rotated.Body, []byte(value)) {
		t.Fatalf("%s", rotated)
	}
	key.Get("/api/v1/me").Expect(http.StatusOK)
	h.Client().WithKey(next).Get("/api/v1/me").Expect(http.StatusOK)
	hidden(value, next)
	list := at(b, h, "/settings/api-keys/"+id+"/revoke", url.Values{}).Shows("API Keys")
	if row := list.ID(id); !strings.Contains(row, "Revoked 1 Mar 2027") || !strings.Contains(row, "by you") || strings.Contains(row, "Rotate") {
		t.Errorf("the row of the revoked key reads %q", row)
	}
	h.Client().WithKey(next).Get("/api/v1/me").Expect(http.StatusUnauthorized)
	key.Get("/api/v1/me").Expect(http.StatusUnauthorized)
	if page := b.Open("/settings/api-keys?status=active"); page.ID(id) != "" || page.Status != http.StatusOK {
		t.Errorf("among the active ones: %s", page)
	}
}

func TestConsoleRefusesAKeyBesideItsFields(t *testing.T) {
	h := housetest.Start(t, housetest.Options{Still: true})
	engineer := h.Person(h.Admin.Org, "engineer", "engineer")
	b := h.Browser()
	b.SignIn("/login", engineer)
	for name, c := range map[string]struct {
		change url.Values
		field  string
		says   string
	}{
		"no name":         {url.Values{"name": {""}}, "name", "Must be 1 to 100"},
		"no permission":   {url.Values{"permissions": nil}, "permissions", "Must hold"},
		"unknown":         {url.Values{"permissions": {"nothing:here"}}, "permissions", "Is not a permission"},
		"a bad network":   {url.Values{"networks": {"10.0.0.0/8 there"}}, "networks", "There must be a network"},
		"no day":          {url.Values{"expires_at": {"day"}}, "expires_on", "Must be a day"},
		"a day gone by":   {url.Values{"expires_on": {"2020-01-01"}}, "expires_at", "Must be in the future"},
		"made up expiry":  {url.Values{"expires_at": {"soon"}}, "expires_at", "Must be one of"},
		"negative expiry": {url.Values{"expires_at": {"-1h"}}, "expires_at", "Must be one of"},
	} {
		values := url.Values{"name": {"a <b>name</b>"}, "permissions": {"agents:read"}, "expires_at": {"never"}, "networks": {""}}
		for k, v := range c.change {
			values[k] = v
		}
		page := at(b, h, "/settings/api-keys/new", values)
		if page.Status != http.StatusUnprocessableEntity || !strings.Contains(page.ID("f-"+c.field+"-problem"), c.says) || page.ID("problems") == "" {
			t.Errorf("%s: %s", name, page)
		}
		if bytes.Contains(page.Body, []byte("<b>name")) || name != "no name" && !bytes.Contains(page.Body, []byte("a &lt;b&gt;name")) {
			t.Errorf("%s: the name did not come back as text", name)
		}
	}
	page := b.Open("/settings/api-keys/new")
	if strings.Contains(page.Words, "users:create") || !strings.Contains(page.Words, "agents:read") {
		t.Errorf("what an engineer lacks is offered, or what they hold is not: %s", page)
	}
	// Whoever asks for more all the same gets nothing (INV-08).
	if page := at(b, h, "/settings/api-keys/new", url.Values{"name": {"x"}, "permissions": {"users:create"}, "expires_at": {"never"}}); page.Status != http.StatusForbidden {
		t.Errorf("a permission that they lack: %s", page)
	}
	if list := b.Open("/settings/api-keys"); !strings.Contains(list.Words, "No API keys yet") {
		t.Errorf("%s", list)
	}
}

// What is one's own is not another's, in the same organisation or another,
// whatever else one may do there.
func TestConsoleSettingsAreOnesOwn(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	mate := h.Person(h.Admin.Org, "mate", "admin")
	stranger := h.Person(h.Org("globex"), "stranger", "admin")
	b := h.Browser()
	b.SignIn("/login", h.Admin)
	for _, p := range []housetest.Person{mate, stranger} {
		session := h.Login(p)
		theirs := h.Client().As(session.Access)
		key, _ := theirs.CreateKey("theirs", "agents:read")
		id := theirs.Get("/api/v1/me").Text("session_id")
		for _, path := range []string{"/settings/api-keys/" + key, "/settings/api-keys/" + key + "/rotate", "/settings/api-keys/" + key + "/revoke", "/settings/sessions/" + id + "/end"} {
			if page := b.Open(path); page.Status != http.StatusNotFound {
				t.Errorf("GET %s: %s", path, page)
			}
		}
		for _, path := range []string{"/settings/api-keys/" + key + "/rotate", "/settings/api-keys/" + key + "/revoke", "/settings/sessions/" + id + "/end"} {
			if page := b.Post(h.Config.Issuer, path, url.Values{"form_token": {tokenOf(b, "/settings")}, "grace": {"0s"}}); page.Status != http.StatusForbidden && page.Status != http.StatusNotFound {
				t.Errorf("POST %s: %s", path, page)
			}
		}
		theirs.Get("/api/v1/me").Expect(http.StatusOK)
		for _, path := range []string{"/settings/api-keys", "/settings/sessions", "/settings/activity", "/settings/applications"} {
			if page := b.Open(path); strings.Contains(page.Words, "theirs") || bytes.Contains(page.Body, []byte(id)) || strings.Contains(page.Words, p.Email) {
				t.Errorf("%s shows what is not one's own: %s", path, page)
			}
		}
	}
}

func TestConsoleEndsSessions(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	b := h.Browser()
	b.SignIn("/login", h.Admin)
	phone, laptop := h.Login(h.Admin), h.Login(h.Admin)
	id := h.Client().As(phone.Access).Get("/api/v1/me").Text("session_id")
	list := b.Open("/settings/sessions").Shows("Sessions")
	if n := strings.Count(string(list.Body), `<tr id="ses_`); n != 3 || !strings.Contains(list.Words, "This browser") || !strings.Contains(list.Words, "127.0.0.1") {
		t.Errorf("%d sessions: %s", n, list)
	}
	at(b, h, "/settings/sessions/"+id+"/end", url.Values{}).Shows("Sessions")
	h.Client().As(phone.Access).Get("/api/v1/me").Expect(http.StatusUnauthorized)
	h.Client().As(laptop.Access).Get("/api/v1/me").Expect(http.StatusOK)
	if page := b.Open("/settings/sessions/" + id + "/end"); page.Status != http.StatusNotFound {
		t.Errorf("one that has ended: %s", page)
	}
	page := at(b, h, "/settings/sessions/end-others", url.Values{}).Shows("Sessions")
	if !strings.Contains(page.Words, "One session was ended.") || strings.Contains(b.Open("/settings/sessions").Words, "was ended") {
		t.Errorf("the notice is not shown once: %s", page)
	}
	h.Client().As(laptop.Access).Get("/api/v1/me").Expect(http.StatusUnauthorized)
}

func TestConsoleChangesThePasswordAndTheName(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	b := h.Browser()
	b.SignIn("/login", h.Admin)
	elsewhere := h.Login(h.Admin)
	for name, c := range map[string]struct{ current, next, field, says string }{
		"wrong":  {"not the password", "a wholly new sentence", "current_password", "Is wrong"},
		"short":  {h.Admin.Password, "short", "new_password", "Must have at least"},
		"stolen": {h.Admin.Password, "1234567890qwerty", "new_password", "stolen elsewhere"}, // SEC-LOG-20
		"same":   {h.Admin.Password, h.Admin.Password, "new_password", "Must differ"},
	} {
		page := at(b, h, "/settings/password", url.Values{"current_password": {c.current}, "new_password": {c.next}})
		if page.Status != http.StatusUnprocessableEntity || !strings.Contains(page.ID("f-"+c.field+"-problem"), c.says) {
			t.Errorf("%s: %s", name, page)
		}
		if bytes.Contains(page.Body, []byte(c.next)) || bytes.Contains(page.Body, []byte(h.Admin.Password)) {
			t.Errorf("%s: a password came back", name)
		}
	}
	const next = "a wholly new sentence"
	page := at(b, h, "/settings/password", url.Values{"current_password": {h.Admin.Password}, "new_password": {next}}).Shows("Password")
	if !strings.Contains(page.Words, "Your password was changed") {
		t.Errorf("%s", page)
	}
	h.Client().As(elsewhere.Access).Get("/api/v1/me").Expect(http.StatusUnauthorized) // SEC-LOG-23
	h.Client().Login(h.Admin.Email, next)

	page = at(b, h, "/settings", url.Values{"name": {`"><script>alert(1)</script>`}}).Shows("Profile")
	if bytes.Contains(page.Body, []byte("<script>alert")) || !strings.Contains(page.Words, `"><script>alert(1)</script>`) || !strings.Contains(page.Words, "Your name was saved.") {
		t.Errorf("%s", page) // SEC-WEB-13: text is text
	}
	if page = at(b, h, "/settings", url.Values{"name": {"two\u2028lines"}}); page.Status != http.StatusUnprocessableEntity || page.ID("f-name-problem") == "" {
		t.Errorf("%s", page)
	}
	trail := b.Open("/settings/activity").Shows("Activity")
	for _, want := range []string{"Password changed", "Name changed", "Signed in", "Sign-in with a wrong password", "You"} {
		if !strings.Contains(trail.Words, want) {
			t.Errorf("%q is not in the trail: %s", want, trail)
		}
	}
}

// A long list goes on, and each thing is on one page of it.
func TestConsoleSettingsPageTheirLists(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	b := h.Browser()
	b.SignIn("/login", h.Admin)
	api := h.Client().As(h.Login(h.Admin).Access)
	for range 30 {
		api.CreateKey("many", "agents:read")
	}
	for path, want := range map[string]int{"/settings/api-keys?status=active": 30, "/settings/activity": 32} {
		seen := map[string]bool{}
		rows := 0
		for next := path; next != ""; {
			page := b.Open(next)
			if page.Status != http.StatusOK || seen[next] {
				t.Fatalf("%s: %s", next, page)
			}
			seen[next] = true
			rows += strings.Count(string(page.Body), `<th scope="row"`)
			next = ""
			for _, l := range page.Links {
				if l.Query().Get("after") != "" {
					next = l.RequestURI()
				}
			}
		}
		if len(seen) != 2 || rows < want {
			t.Errorf("%s: %d rows on %d pages, want %d", path, rows, len(seen), want)
		}
	}
	if page := b.Open("/settings/activity?after=made-up"); page.Status != http.StatusBadRequest {
		t.Errorf("a made-up cursor: %s", page)
	}
}

// People see what they allowed an application in the pages too, and take it back.
func TestConsoleWithdrawsWhatWasAllowed(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	p := single(t, h)
	id := ident.ClientID(p.client.id)
	err := h.House().DB.Clients().InClientTx(t.Context(), func(tx oauth.ClientTx) error {
		r, err := tx.LockClient(h.Operator(h.Admin.Org).Tenant(), id)
		if err != nil {
			return err
		}
		r.Settings.SkipConsent = false
		return tx.UpdateClient(r)
	})
	if err != nil {
		t.Fatal(err)
	}
	h.House().Clients.Forget()
	given := h.Client().With("Content-Type", "application/x-www-form-urlencoded").Post("/oauth2/token", p.freshCode()).Expect(http.StatusOK)
	app := h.Client().As(given.Text("access_token"))
	app.Get("/api/v1/me").Expect(http.StatusOK)
	b := h.Browser()
	b.SignIn("/login", h.Admin)
	if list := b.Open("/settings/applications").Shows("Connected apps"); !strings.Contains(list.Words, "Single-page") || !strings.Contains(list.Words, "know who you are") {
		t.Errorf("%s", list)
	}
	if list := b.Open("/settings/sessions"); !strings.Contains(list.Words, "Single-page") {
		t.Errorf("the app's session is not named: %s", list)
	}
	path := "/settings/applications/" + p.client.id + "/withdraw"
	mate := h.Browser()
	mate.SignIn("/login", h.Person(h.Admin.Org, "mate", "admin"))
	for _, there := range []string{path, "/settings/applications/nobody/withdraw"} {
		if page := mate.Open(there); page.Status != http.StatusNotFound {
			t.Errorf("%s: %s", there, page)
		}
	}
	if list := at(b, h, path, url.Values{}).Shows("Connected apps"); !strings.Contains(list.Words, "No connected apps") {
		t.Errorf("%s", list)
	}
	app.Get("/api/v1/me").Expect(http.StatusUnauthorized)
}

package operations_test

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// fill opens a page and sends its form with these values and no others.
func fill(t *testing.T, b *housetest.Browser, path string, values url.Values) housetest.Page {
	t.Helper()
	page := b.Open(path)
	i := slices.IndexFunc(page.Forms, func(f housetest.Form) bool {
		return f.Method == http.MethodPost && f.Action.Path == strings.SplitN(path, "?", 2)[0]
	})
	if i < 0 {
		t.Fatalf("no form is sent to %s: %s", path, page)
	}
	if values == nil {
		values = url.Values{}
	}
	values.Set("form_token", page.Forms[i].Fields.Get("form_token"))
	return b.Post(page.URL.Scheme+"://"+page.URL.Host, page.Forms[i].Action.Path, values)
}

// leads is the first link of the page whose path begins and ends so; empty where
// there is none.
func leads(page housetest.Page, prefix, suffix string) string {
	for _, l := range page.Links {
		if l.Fragment == "" && strings.HasPrefix(l.Path, prefix) && strings.HasSuffix(l.Path, suffix) && l.Path != prefix {
			return l.RequestURI()
		}
	}
	return ""
}

func shows(t *testing.T, page housetest.Page, heading string) housetest.Page {
	t.Helper()
	if !slices.Contains(page.Headings, heading) {
		t.Fatalf("the page shows %q, want %q: %s", page.Headings, heading, page)
	}
	return page
}

func says(t *testing.T, page housetest.Page, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(page.Words, w) {
			t.Errorf("the page does not say %q: %s", w, page)
		}
	}
}

func keepsQuiet(t *testing.T, page housetest.Page, words ...string) {
	t.Helper()
	for _, w := range words {
		if strings.Contains(string(page.Body), w) {
			t.Errorf("the page says %q: %s", w, page)
		}
	}
}

// locked is a person who was locked out from one network, and the request that
// met the lock.
func locked(t *testing.T, h *housetest.Harness, org ident.OrgID, name string) (housetest.Person, string) {
	t.Helper()
	p := h.Person(org, name, "viewer")
	from := h.Client().From("198.51.100.7")
	for range 5 {
		from.TryLogin(p.Email, "not the password of anyone").Expect(http.StatusUnauthorized)
	}
	return p, from.TryLogin(p.Email, p.Password).Expect(http.StatusLocked).Header.Get("X-Request-Id")
}

// The overview draws what happened, for who may know, and tells everybody else
// what they can do here.
func TestConsoleOverview(t *testing.T) {
	h := housetest.Start(t, housetest.Options{Still: true})
	b := h.Browser()
	b.SignIn("/login", h.Admin)
	says(t, shows(t, b.Open("/console"), "Overview"), "Nothing happened in this time", "What to do next", "Invite people")
	ada, _ := locked(t, h, h.Admin.Org, "ada")
	id, key := h.Client().As(h.Login(h.Admin).Access).CreateKey("reader", "agents:read")
	for range 3 {
		h.Client().WithKey(key).Get("/api/v1/agents").Expect(http.StatusOK)
	}
	other := another(h)
	h.Login(h.Person(other, "eve", "owner"))
	tended(t, h)
	tended(t, h) // nothing is counted twice
	page := b.Open("/console?range=day")
	says(t, page, "One person is locked out at present.", "Logins 2 logins", "Failed logins 5 attempts", "Wrong password: 5", "Lockouts 1 lock",
		"Access tokens by grant 2 tokens", "API key use 3 uses", "As a table")
	keepsQuiet(t, page, "Nothing happened", id, ada.Email)
	for r, want := range map[string]int{"week": http.StatusOK, "month": http.StatusOK, "year": http.StatusOK, "decade": http.StatusUnprocessableEntity} {
		if page := b.Open("/console?range=" + r); page.Status != want {
			t.Errorf("%s: %s", r, page)
		}
	}
	h.Client().As(h.Login(h.Admin).Access).Put("/api/v1/roles/nothing", map[string]any{"permissions": []string{"agents:read"}}).Expect(http.StatusOK)
	poor := h.Browser()
	poor.SignIn("/login", h.Person(h.Admin.Org, "poor", "nothing"))
	page = poor.Open("/console")
	says(t, page, "What to do next", "See your own account")
	keepsQuiet(t, page, "plot", "locked out", "Invite people")
}

// The audit log is read page by page, narrowed down, and explained; a search that
// finds nothing in a stretch says how far it looked.
func TestConsoleAuditLog(t *testing.T) {
	h := housetest.Start(t, housetest.Options{Still: true})
	b := h.Browser()
	b.SignIn("/login", h.Admin)
	ada, refused := locked(t, h, h.Admin.Org, "ada")
	other := another(h)
	eve := h.Person(other, "eve", "owner")
	h.Login(eve)
	hostile := `<script>alert(1)</script>"'`
	h.Client().As(h.Login(h.Admin).Access).Agent(hostile).Patch("/api/v1/organizations/"+string(h.Admin.Org), map[string]string{"name": "Acme " + hostile}).Expect(http.StatusOK)
	for range 40 {
		record(t, h, audit.Event{Time: h.Clock.Now(), Name: audit.APIKeyUsed, Outcome: audit.Success, Org: h.Admin.Org, Actor: audit.Actor{Type: "api_key", ID: "key_1"}})
	}

	first := shows(t, b.Open("/console/audit"), "Audit log")
	next := leads(first, "/console/audit", "/console/audit")
	for _, l := range first.Links {
		if l.Query().Get("after") != "" {
			next = l.RequestURI()
		}
	}
	second := b.Open(next)
	says(t, second, "Back to the first page", "login.failed")
	keepsQuiet(t, second, eve.Email)
	if page := b.Open(next + "&outcome=denied"); page.Status != http.StatusBadRequest && page.Status != http.StatusUnprocessableEntity {
		t.Errorf("a cursor of another list: %s", page)
	}
	locks := b.Open("/console/audit?name=login.locked&user_id=" + string(ada.ID) + "&when=hour")
	says(t, locks, "login.locked", ada.Email, "198.51.100.7")
	if n := strings.Count(locks.Words, "login.locked") - strings.Count(b.Open("/console/audit?name=login.locked&ip=192.0.2.1").Words, "login.locked"); n != 1 {
		t.Errorf("%d locks are listed", n)
	}
	says(t, b.Open("/console/audit?name=org.created&ip=192.0.2.1"), "Nothing was found")
	wrong := b.Open("/console/audit?ip=everywhere&name=no.such")
	if says(t, wrong, "is not an IP address"); wrong.Status != http.StatusUnprocessableEntity {
		t.Errorf("a filter that is none: %d", wrong.Status)
	}
	event := shows(t, b.Open(leads(b.Open("/console/audit?name=org.updated"), "/console/audit/events/", "")), "org.updated")
	says(t, event, hostile, "As the API has it", "Explain the request")
	keepsQuiet(t, event, hostile, "<script>alert")
	log := everything(t, h)
	foreign := slices.IndexFunc(log, func(e audit.Event) bool { return e.Org == other })
	for _, id := range []string{string(log[foreign].ID), "evt_00000000000000000000000000", "nobody"} {
		if page := b.Open("/console/audit/events/" + id); page.Status != http.StatusNotFound {
			t.Errorf("%s: %s", id, page)
		}
	}
	if page := b.Open("/console/audit/tail?name=login.*"); page.URL.RequestURI() != "/console/audit?live=on&name=login.%2A" {
		t.Errorf("without htmx: %s", page)
	}
	explains(t, b, refused)
}

func explains(t *testing.T, b *housetest.Browser, refused string) {
	t.Helper()
	says(t, shows(t, b.Open("/console/audit/explain?request_id="+refused), "Explain a request"), "There were too many failed attempts, so that the password was not looked at.", "login.refused", "423")
	says(t, b.Open("/console/audit/explain?request_id="+string(ident.NewRequestID(housetest.Epoch(), rand.Reader))), "Nothing is known of that request")
	if page := b.Open("/console/audit/explain?request_id=x"); page.Status != http.StatusUnprocessableEntity || !strings.Contains(page.ID("f-request_id-problem"), "not a request ID") {
		t.Errorf("what is no request: %s", page)
	}
}

// everything is the whole log of the deployment, oldest first.
func everything(t *testing.T, h *housetest.Harness) []audit.Event {
	t.Helper()
	events, err := h.House().DB.Audit().Export(t.Context(), 0, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	return events
}

// another makes an organisation that is younger than the first.
func another(h *housetest.Harness) ident.OrgID {
	h.Advance(time.Second)
	return h.Org("other")
}

// record puts an event into the log.
func record(t *testing.T, h *housetest.Harness, e audit.Event) {
	t.Helper()
	if err := h.House().DB.Recorder().RecordAll(t.Context(), e); err != nil {
		t.Fatal(err)
	}
}

// The signing keys are everybody's, and the first organisation's to change.
func TestConsoleSigningKeys(t *testing.T) {
	h := housetest.Start(t, housetest.Options{Still: true})
	b := h.Browser()
	b.SignIn("/login", h.Admin)
	page := shows(t, b.Open("/console/signing-keys"), "Signing keys")
	says(t, page, "ES256", "RS256", "active", "Rotate keys")
	before := len(page.Links)
	says(t, fill(t, b, "/console/signing-keys/rotate", url.Values{"algorithm": {"ES256"}}), "The next keys are published", "published")
	if page := fill(t, b, "/console/signing-keys/rotate", url.Values{"algorithm": {"none"}}); page.Status != http.StatusUnprocessableEntity {
		t.Errorf("an algorithm that there is not: %s", page)
	}
	says(t, fill(t, b, "/console/signing-keys/rotate", url.Values{"algorithm": {"ES256"}, "immediately": {"on"}}), "The new keys sign from now on.", "retiring")
	if after := len(b.Page.Links); after <= before {
		t.Errorf("%d links before, %d after", before, after)
	}
	revoke := leads(b.Page, "/console/signing-keys/", "/revoke")
	says(t, b.Open(revoke), "Every token that it signed is refused")
	says(t, fill(t, b, revoke, nil), "was revoked.", "revoked")
	if page := b.Open("/console/signing-keys/nobody/revoke"); page.Status != http.StatusNotFound {
		t.Errorf("a key that there is not: %s", page)
	}
	stranger := h.Browser()
	stranger.SignIn("/login", h.Person(another(h), "eve", "owner"))
	page = stranger.Open("/console/signing-keys")
	says(t, page, "Only the organisation that runs the deployment can change them.")
	if leads(page, "/console/signing-keys/", "") != "" {
		t.Errorf("it offers to change them: %s", page)
	}
	for _, p := range []string{"/console/signing-keys/rotate", revoke} {
		if page := stranger.Open(p); page.Status != http.StatusForbidden {
			t.Errorf("%s: %s", p, page)
		}
	}
}

// Who is locked out is listed for their own organisation, and can be let in.
func TestConsoleLockouts(t *testing.T) {
	h := housetest.Start(t, housetest.Options{Still: true})
	b := h.Browser()
	b.SignIn("/login", h.Admin)
	says(t, b.Open("/console/lockouts"), "Nobody is locked out")
	ada, _ := locked(t, h, h.Admin.Org, "ada")
	eve, _ := locked(t, h, another(h), "eve")
	page := shows(t, b.Open("/console/lockouts"), "Lockouts")
	says(t, page, ada.Email, "From one network", "198.51.100.7", "Unlock")
	keepsQuiet(t, page, eve.Email)
	unlock := leads(page, "/console/lockouts/", "/unlock")
	says(t, fill(t, b, unlock, nil), "The person was unlocked.", "Nobody is locked out")
	h.Client().From("198.51.100.7").TryLogin(ada.Email, ada.Password).Expect(http.StatusOK)
	if page := fill(t, b, fmt.Sprintf("/console/lockouts/%s/unlock", eve.ID), nil); page.Status != http.StatusNotFound {
		t.Errorf("another organisation's person: %s", page)
	}
	h.Client().From("198.51.100.7").TryLogin(eve.Email, eve.Password).Expect(http.StatusLocked)
	again, _ := locked(t, h, h.Admin.Org, "bob")
	says(t, b.Open("/console/lockouts"), again.Email)
	h.Advance(2 * time.Hour)
	if page := b.Open("/console/lockouts"); page.URL.Path == "/console/lockouts" {
		keepsQuiet(t, page, again.Email)
	}
}

// The first run: the link that was printed makes the administrator and names the
// first organisation, and leads to the console.
func TestConsoleAfterTheFirstRun(t *testing.T) {
	h := housetest.Start(t, housetest.Options{Still: true})
	link, _, err := h.House().People.IssueSetupLink(t.Context(), h.Operator(""), h.Admin.ID)
	if err != nil {
		t.Fatal(err)
	}
	b := h.Browser()
	b.Open("/setup?token=" + link.Reveal())
	done := b.Submit(map[string]string{"email": "grace@example.com", "password": "a sentence that is long enough", "organization_name": "Hopper & Daughters"}).Shows("You are set up")
	to := leads(done, "/login", "")
	if to == "" {
		for _, l := range done.Links {
			to = l.RequestURI()
		}
	}
	b.Open(to)
	page := b.Submit(map[string]string{"email": "grace@example.com", "password": "a sentence that is long enough"})
	says(t, shows(t, page, "Overview"), "Hopper & Daughters", "What to do next", "Invite people")
}

// tended does the work of the background.
func tended(t *testing.T, h *housetest.Harness) {
	t.Helper()
	if err := h.House().Tend(t.Context()); err != nil {
		t.Fatal(err)
	}
}

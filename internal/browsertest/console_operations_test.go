package browsertest_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/browsertest"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// operator looks after an organisation in one window.
type operator struct {
	t    *testing.T
	h    *housetest.Harness
	w    *browsertest.Window
	look browsertest.Look
	name string
}

func (o operator) open(path, heading string) {
	o.t.Helper()
	o.w.Go(o.h.Config.Issuer + path)
	o.w.Reads("h1", heading)
}

// seen takes a picture, and fails the test where the page keeps people out, is
// wider than the window, or loads anything from elsewhere.
func (o operator) seen(page string) {
	o.t.Helper()
	o.w.Screenshot("operations-" + page + "-" + o.name)
	o.w.LookAs(o.look) // a picture of a long page changes the window
	for _, f := range o.w.Barriers() {
		o.t.Errorf("%s: %s", page, f)
	}
	if wide := browsertest.Eval[int](o.w, "document.documentElement.scrollWidth"); int64(wide) > o.look.Width {
		o.t.Errorf("%s is %d pixels wide", page, wide)
	}
	for _, from := range browsertest.Eval[[]string](o.w, "performance.getEntriesByType('resource').map((e) => e.name)") {
		if !strings.HasPrefix(from, o.h.Config.Issuer+"/") {
			o.t.Errorf("%s loads %s", page, from)
		}
	}
}

// busy makes something happen in the first organisation.
func busy(t *testing.T, h *housetest.Harness) {
	t.Helper()
	for day := range 7 {
		for n := range 3 + day%3 {
			at := h.Clock.Now().Add(-time.Duration(day)*24*time.Hour - time.Duration(n)*time.Hour)
			event := audit.Event{Time: at, Outcome: audit.Success, Org: h.Admin.Org, Actor: audit.Actor{Type: "user", ID: string(h.Admin.ID), Name: h.Admin.Email}}
			for i, name := range []audit.Name{audit.LoginSucceeded, audit.LoginFailed, audit.LoginFailed} {
				if event.Name = name; i > 0 {
					event.Outcome, event.Reason = audit.Failure, []string{"", "wrong_password", "disabled"}[i]
				}
				if err := h.House().DB.Recorder().RecordAll(t.Context(), event); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	_, key := h.Client().As(h.Login(h.Admin).Access).CreateKey("reader", "agents:read")
	for range 5 {
		h.Client().WithKey(key).Get("/api/v1/agents").Expect(http.StatusOK)
	}
	p := h.Person(h.Admin.Org, "ada", "viewer")
	for range 5 {
		h.Client().From("198.51.100.1").TryLogin(p.Email, "not the password of anyone")
	}
	if err := h.House().Tend(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Those who look after an organisation do so in a browser, on a phone without
// scripts and on a laptop with them, by night.
func TestChromiumLooksAfterAnOrganisation(t *testing.T) {
	h := housetest.Start(t, housetest.Options{Still: true})
	busy(t, h)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
	t.Cleanup(receiver.Close)
	w := browsertest.Open(t, browsertest.Look{})
	for _, look := range []struct {
		name string
		browsertest.Look
	}{
		{"390", browsertest.Look{Width: 390, Height: 844, NoScript: true}},
		{"1280-dark", browsertest.Look{Width: 1280, Height: 800, Dark: true}},
	} {
		t.Run(look.name, func(t *testing.T) {
			w := w.For(t)
			w.LookAs(look.Look)
			o := operator{t: t, h: h, w: w, look: look.Look, name: look.name}
			if !browsertest.Eval[bool](w, "location.href.startsWith('http')") {
				w.Go(h.Config.Issuer + "/login?return_to=%2Fconsole")
				signIn(w, h)
				w.Reads("h1", "Overview")
			}
			o.open("/console", "Overview")
			w.Reads("#plot-key-use-title", "API key use")
			o.seen("overview")
			o.auditLog()
			o.webhooks(receiver.URL)
			o.open("/console/lockouts", "Lockouts")
			w.Reads("tbody", "ada@example.com")
			o.seen("lockouts")
			o.open("/console/signing-keys", "Signing keys")
			o.seen("signing-keys")
			w.Click("a[href='/console/signing-keys/rotate']")
			w.Reads("h1", "Rotate the signing keys?")
			o.seen("rotate-keys")
			w.Click("main button[type=submit]")
			w.Reads(".notice", "The next keys are published")
			o.open("/console/signing-keys", "Signing keys")
			w.Click(".row-actions a.danger")
			w.Reads("h1", "Revoke this signing key?")
			o.seen("revoke-key")
			for _, c := range w.Complaints("Content Security Policy") {
				t.Error(c)
			}
		})
	}
	unlocks(t, h, w)
}

// auditLog narrows the log down, looks at an event and at a request, and follows
// what happens.
func (o operator) auditLog() {
	o.t.Helper()
	w, h := o.w, o.h
	o.open("/console/audit", "Audit log")
	o.seen("audit")
	o.open("/console/audit?"+url.Values{"name": {"login.locked"}}.Encode(), "Audit log")
	w.Reads("tbody", "ada@example.com")
	w.Click("tbody th a")
	w.Reads("h1", "login.locked")
	o.seen("event")
	w.Click(".related a")
	w.Reads("h1", "Explain a request")
	w.Reads(".why", "the limit of failed attempts was reached")
	o.seen("explain")
	o.open("/console/audit?ip=nowhere", "Audit log")
	w.Reads("#f-ip-problem", "not an IP address")
	o.seen("audit-refused")
	if o.look.NoScript {
		return
	}
	o.open("/console/audit?name=role.%2A&live=on", "Audit log")
	w.Reads("#tail", "Waiting for the first event.")
	h.Client().As(h.Login(h.Admin).Access).Put("/api/v1/roles/followed", map[string]any{"permissions": []string{"audit:read"}}).Expect(http.StatusOK)
	w.Reads("#log", "role.set")
	w.Reads("#tail", "1 new")
	o.seen("audit-live")
}

// webhooks makes one, tests it, gives it a new secret and removes it. The secret
// is on no later page.
func (o operator) webhooks(receiver string) {
	o.t.Helper()
	w := o.w
	o.open("/console/webhooks", "Webhooks")
	o.seen("webhooks-none")
	w.Click(".empty .button")
	w.Reads("h1", "Add a webhook")
	o.seen("webhook-new")
	w.Fill("#f-url", "https://somebody@hooks.example/x")
	w.Click("main button[type=submit]")
	w.Reads("#f-url-problem", "without user information")
	o.seen("webhook-refused")
	w.Fill("#f-url", receiver+"/hooks")
	w.Fill("#f-description", "The receiver of the test")
	w.Click("main button[type=submit]")
	w.Reads("h1", "The webhook was added")
	secret := browsertest.Eval[string](w, "document.querySelector('#secret').textContent")
	o.w.Screenshot("operations-webhook-secret-" + o.name)
	o.w.LookAs(o.look)
	w.Click("main .send .button")
	w.Reads("h1", strings.TrimPrefix(receiver, "http://"))
	if strings.Contains(browsertest.Eval[string](w, "document.documentElement.outerHTML"), secret) || !strings.HasPrefix(secret, "whsec_") {
		o.t.Errorf("the secret %q is on the webhook's page", secret)
	}
	w.Click("main form button[type=submit]")
	w.Reads(".notice", "A test message is on its way")
	if err := o.h.House().Tend(o.t.Context()); err != nil {
		o.t.Fatal(err)
	}
	o.seen("webhook")
	w.Click("a[href$='/rotate-secret']")
	w.Reads("h1", "Rotate the secret?")
	o.seen("webhook-rotate")
	w.Click("main button[type=submit]")
	w.Reads("h1", "The secret was rotated")
	w.Click("main .send .button")
	w.Reads(".facts", "Signs as well until")
	w.Click("a[href$='/edit']")
	w.Reads("h1", "Change the webhook")
	o.seen("webhook-edit")
	o.open("/console/webhooks", "Webhooks")
	o.seen("webhooks")
	w.Click("tbody th a")
	w.Click("a[href$='/replay']")
	w.Reads("h1", "Send again?")
	o.seen("webhook-replay")
	w.Click("main .send a")
	w.Click("a[href$='/delete']")
	w.Reads("h1", "Delete this webhook?")
	o.seen("webhook-delete")
	w.Click("main button[type=submit]")
	w.Reads(".notice", "The webhook was deleted.")
}

// unlocks lets the person in who was locked out.
func unlocks(t *testing.T, h *housetest.Harness, w *browsertest.Window) {
	t.Helper()
	w.Go(h.Config.Issuer + "/console/lockouts")
	w.Click(".row-actions a")
	w.Reads("h1", "Unlock this person?")
	w.Click("main button[type=submit]")
	w.Reads(".notice", "The person was unlocked.")
	w.Reads("main", "Nobody is locked out")
}

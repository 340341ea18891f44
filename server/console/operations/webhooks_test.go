package operations_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// taker is somebody's receiver of webhooks, which believes only what is signed
// with the secret that it was given.
type taker struct {
	url    string
	mu     sync.Mutex
	secret string
	got    []string // the types, in order
}

func takes(t *testing.T) *taker {
	r := &taker{}
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		r.mu.Lock()
		defer r.mu.Unlock()
		hook, wrong := standardwebhooks.NewWebhook(r.secret)
		if wrong == nil {
			wrong = hook.VerifyIgnoringTimestamp(body, q.Header)
		}
		if err != nil || wrong != nil {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(string(body), `{"type":"`), `"`)
		r.got = append(r.got, name)
	}))
	t.Cleanup(site.Close)
	r.url = site.URL
	return r
}

func (r *taker) knows(secret string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.secret = secret
}

func (r *taker) took() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

// A webhook from its making to its end: its secret is in the one answer that made
// it and in no page after that.
func TestConsoleWebhooks(t *testing.T) {
	h := housetest.Start(t, housetest.Options{Still: true})
	r := takes(t)
	b := h.Browser()
	b.SignIn("/login", h.Admin)
	says(t, b.Open("/console/webhooks"), "No webhook yet", "Add webhook")
	refused := fill(t, b, "/console/webhooks/new", url.Values{"url": {"ftp://hooks.example/<b>"}, "patterns": {"no.such"}})
	if refused.Status != http.StatusUnprocessableEntity || refused.ID("f-url-problem") == "" || !slices.ContainsFunc(refused.Forms, func(f housetest.Form) bool { return f.Fields.Get("url") == "ftp://hooks.example/<b>" }) {
		t.Errorf("what is wrong: %s", refused)
	}
	made := shows(t, fill(t, b, "/console/webhooks/new", url.Values{"url": {r.url}, "description": {`<i>mine</i>`}, "events": {"role.*"}, "patterns": {"webhook.created"}}), "The webhook was added")
	first := made.ID("secret")
	if !strings.HasPrefix(first, "whsec_") || made.Header.Get("Cache-Control") != "no-store" || made.Status != http.StatusOK {
		t.Fatalf("the secret is %q: %s", first, made)
	}
	r.knows(first)
	path := strings.TrimSuffix(leads(made, "/console/webhooks/", ""), "/")
	page := b.Open(path)
	says(t, page, "role.*, webhook.created", "<i>mine</i>", "Nothing was given up", "Never")
	for _, p := range []string{path, "/console/webhooks", path + "/edit", path + "/rotate-secret", path + "/replay", path + "/delete"} {
		keepsQuiet(t, b.Open(p), first, "<i>mine")
	}
	says(t, fill2(t, b, path, path+"/test"), "A test message is on its way.")
	tended(t, h)
	if got := r.took(); !slices.Equal(got, []string{"webhook.created", "webhook.tested"}) {
		t.Errorf("it was sent %v", got)
	}
	rotated := shows(t, fill(t, b, path+"/rotate-secret", url.Values{"grace": {"0s"}}), "The secret was rotated")
	r.knows(rotated.ID("secret"))
	if rotated.ID("secret") == first || fill(t, b, path+"/rotate-secret", url.Values{"grace": {"9999h"}}).Status != http.StatusUnprocessableEntity {
		t.Error("the secret is the old one, or a grace of a year is taken")
	}
	says(t, fill(t, b, path+"/edit", url.Values{"url": {r.url}, "events": {"*", "role.*"}, "status": {"disabled"}}), "The webhook was changed.", "off")
	keepsQuiet(t, b.Open(path), "Send a test message")
	says(t, fill(t, b, path+"/edit", url.Values{"url": {r.url}, "events": {"*"}, "status": {"active"}}), "active")
	says(t, fill(t, b, path+"/replay", url.Values{"what": {"since"}, "since": {h.Clock.Now().Add(-time.Hour).Format("2006-01-02T15:04")}}), "What happened since then is being sent again.")
	if page := fill(t, b, path+"/replay", url.Values{"what": {"since"}, "since": {"yesterday"}}); page.Status != http.StatusUnprocessableEntity {
		t.Errorf("a time that is none: %s", page)
	}
	tended(t, h)
	if got := r.took(); !slices.Contains(got, "role.set") && !slices.Contains(got, "org.created") && len(got) < 6 {
		t.Errorf("sent again: %v", got)
	}
	theirs(t, h, path)
	says(t, fill(t, b, path+"/delete", nil), "The webhook was deleted.", "No webhook yet")
	if page := b.Open(path); page.Status != http.StatusNotFound {
		t.Errorf("it is there: %s", page)
	}
}

// fill2 sends the form of a page that goes to another address.
func fill2(t *testing.T, b *housetest.Browser, page, action string) housetest.Page {
	t.Helper()
	for _, f := range b.Open(page).Forms {
		if f.Action.Path == action {
			return b.Post(f.Action.Scheme+"://"+f.Action.Host, action, f.Fields)
		}
	}
	t.Fatalf("no form is sent to %s: %s", action, b.Page)
	return housetest.Page{}
}

// theirs: another organisation's webhook is not there, and that it was asked for
// is recorded.
func theirs(t *testing.T, h *housetest.Harness, path string) {
	t.Helper()
	b := h.Browser()
	b.SignIn("/login", h.Person(another(h), "eve", "owner"))
	for _, p := range []string{path, path + "/edit", path + "/replay", path + "/rotate-secret", path + "/delete"} {
		if page := b.Open(p); page.Status != http.StatusNotFound {
			t.Errorf("another organisation's %s: %s", p, page)
		}
	}
	if n := len(slices.DeleteFunc(everything(t, h), func(e audit.Event) bool { return e.Name != audit.CrossOrgDenied })); n != 5 {
		t.Errorf("%d of 5 were recorded", n)
	}
}

package webhooks

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/keys/sealing"
)

// The library of the standard's authors verifies what we sign, by the old secret
// and by the new one, and by no other; and nothing that was changed.
func TestTheStandardsOwnLibraryVerifies(t *testing.T) {
	keeper, err := sealing.NewLocal([]byte(rand.Text() + rand.Text()))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	e := Endpoint{ID: ident.NewWebhookID(now, rand.Reader)}
	var plain []string
	for n := 1; n <= 3; n++ {
		p, s, err := newSecret(keeper, rand.Reader, e.ID, Secret{N: n, CreatedAt: now})
		if err != nil {
			t.Fatal(err)
		}
		plain, e.Secrets = append(plain, p.Reveal()), append([]Secret{s}, e.Secrets...)
	}
	e.Secrets[1].ValidUntil, e.Secrets[2].ValidUntil = now.Add(time.Second), now // the second is on its way out, the first is out
	ev := audit.Event{ID: ident.NewEventID(now, rand.Reader), Time: now, Name: audit.LoginFailed, Org: "org_1"}
	body, err := bodyOf(ev)
	if err != nil {
		t.Fatal(err)
	}
	with, err := keys(keeper, e, now)
	if err != nil || len(with) != 2 {
		t.Fatalf("%d keys, %v", len(with), err)
	}
	h := http.Header{}
	for name, value := range headers(ev.ID, now, body, with) {
		h.Set(name, value)
	}
	for i, want := range []bool{false, true, true} {
		wh, err := standardwebhooks.NewWebhook(plain[i])
		if err != nil {
			t.Fatal(err)
		}
		if err := wh.Verify(body, h); (err == nil) != want {
			t.Errorf("secret %d: %v", i+1, err)
		}
		if err := wh.Verify([]byte(strings.Replace(string(body), "login.failed", "login.locked", 1)), h); err == nil {
			t.Error("a changed body is verified")
		}
	}
	var m message
	if err := json.Unmarshal(body, &m); err != nil || m.Type != audit.LoginFailed || m.Data.ID != ev.ID || m.Timestamp == "" {
		t.Errorf("%s: %v", body, err)
	}
	if _, err := keys(keeper, Endpoint{ID: "hook_other", Secrets: e.Secrets}, now); err == nil {
		t.Error("a secret opens in another endpoint's place")
	}
	if _, err := keys(keeper, Endpoint{ID: e.ID, Secrets: e.Secrets[2:]}, now); err == nil {
		t.Error("an endpoint without a valid secret is signed for")
	}
}

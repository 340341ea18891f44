package captcha_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tokenhouse/tokenhouse/accounts/captcha"
	"github.com/tokenhouse/tokenhouse/internal/outbound"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// at is a checker that asks a server of the test, as turnstile's.
func at(t *testing.T, serve http.HandlerFunc) *captcha.Checker {
	t.Helper()
	s := httptest.NewServer(serve)
	t.Cleanup(s.Close)
	p, known := captcha.ProviderOf("turnstile")
	if !known {
		t.Fatal("turnstile is not known")
	}
	return captcha.NewChecker(p.At(s.URL+"/siteverify", ""), secret.Of("hush & hush"), []string{"tokens.example", "app.example"}, &outbound.Client{Networks: outbound.Loopback()})
}

func says(kind string, status int, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(status)
		_, _ = w.Write([]byte(text)) // the client may have read enough
	}
}

func TestTheProviderIsAsked(t *testing.T) {
	var asked url.Values
	c := at(t, func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil || r.Method != http.MethodPost || r.URL.Path != "/siteverify" || r.URL.RawQuery != "" {
			t.Errorf("asked by %s %s: %v", r.Method, r.URL, err)
		}
		asked = r.PostForm
		says("application/json; charset=utf-8", http.StatusOK, `{"success":true,"hostname":"tokens.example","challenge_ts":"2027-03-01T09:00:00Z","error-codes":[]}`)(w, r)
	})
	if ok, err := c.Solved(t.Context(), "0.answer+&="); !ok || err != nil {
		t.Errorf("solved %t, %v", ok, err)
	}
	if len(asked) != 2 || asked.Get("secret") != "hush & hush" || asked.Get("response") != "0.answer+&=" {
		t.Errorf("asked with %v, want the secret and the answer and nothing else", asked)
	}
}

func TestWhatProvidersSay(t *testing.T) {
	const asJSON = "application/json"
	for name, tt := range map[string]struct {
		serve  http.HandlerFunc
		solved bool
		unsure string // in the error
	}{
		"on a page that may call us":  {serve: says(asJSON, 200, `{"success":true,"hostname":"APP.example"}`), solved: true},
		"on somebody else's page":     {serve: says(asJSON, 200, `{"success":true,"hostname":"evil.example"}`)},
		"on a page nobody names":      {serve: says(asJSON, 200, `{"success":true}`)},
		"wrong":                       {serve: says(asJSON, 200, `{"success":false,"error-codes":["invalid-input-response"]}`)},
		"shown before":                {serve: says(asJSON, 200, `{"success":false,"hostname":"tokens.example","error-codes":["timeout-or-duplicate"]}`)},
		"not even a word about it":    {serve: says(asJSON, 200, `{}`)},
		"with a secret that is wrong": {serve: says(asJSON, 200, `{"success":false,"error-codes":["invalid-input-secret"]}`), unsure: "captcha_secret"},
		"with its own failure":        {serve: says(asJSON, 500, `{"success":true,"hostname":"tokens.example"}`), unsure: "500"},
		"by a redirect":               {serve: http.RedirectHandler("https://elsewhere.example/", http.StatusFound).ServeHTTP, unsure: "302"},
		"in HTML":                     {serve: says("text/html", 200, `<p>maintenance</p>`), unsure: "text/html"},
		"in no JSON":                  {serve: says(asJSON, 200, `{"success":tru`), unsure: "no JSON"},
		"endlessly":                   {serve: says(asJSON, 200, `{"success":true,"hostname":"tokens.example","x":"`+strings.Repeat("x", 20<<10)+`"}`), unsure: "bytes"},
	} {
		c := at(t, tt.serve)
		var told error
		c.Failed = func(err error) { told = err }
		ok, err := c.Solved(t.Context(), "an answer")
		if ok != tt.solved || (err != nil) != (tt.unsure != "") || err != nil && (!strings.Contains(err.Error(), tt.unsure) || told == nil) || strings.Contains(text(err), "hush") {
			t.Errorf("%s: %t, %v (told %v)", name, ok, err, told)
		}
	}
	gone := at(t, says(asJSON, 200, `{}`))
	gone.Provider.Verify = "https://192.0.2.1/siteverify" // reserved for documentation: refused before it is asked
	if ok, err := gone.Solved(t.Context(), "an answer"); ok || err == nil {
		t.Errorf("nobody there: %t, %v", ok, err)
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Whoever sends many answers does not make us send as many.
func TestAFloodIsNotPassedOn(t *testing.T) {
	arrived, release := make(chan struct{}, 100), make(chan struct{})
	c := at(t, func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-release
		says("application/json", http.StatusOK, `{"success":true,"hostname":"tokens.example"}`)(w, r)
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var all sync.WaitGroup
	results := make(chan bool, 16)
	for range 16 {
		all.Go(func() {
			ok, err := c.Solved(ctx, "an answer")
			results <- ok && err == nil
		})
	}
	for range 16 {
		<-arrived
	}
	if ok, err := c.Solved(ctx, "one more"); ok || err == nil || len(arrived) != 0 {
		t.Errorf("a seventeenth: %t, %v", ok, err)
	}
	close(release)
	all.Wait()
	close(results)
	for ok := range results {
		if !ok {
			t.Error("one of the sixteen was not judged")
		}
	}
	if ok, err := c.Solved(ctx, "later"); !ok || err != nil {
		t.Errorf("afterwards: %t, %v", ok, err)
	}
}

func TestProvidersAreComplete(t *testing.T) {
	if got := captcha.Kinds(); !slices.Equal(got, []string{"hcaptcha", "turnstile", "recaptcha"}) {
		t.Fatalf("the providers are %v", got)
	}
	client := &outbound.Client{}
	for _, kind := range captcha.Kinds() {
		p, _ := captcha.ProviderOf(kind)
		if client.CheckURL(p.Verify) != nil || client.CheckURL(p.Script) != nil || p.Class == "" || p.Field == "" {
			t.Errorf("%s is not complete: %+v", kind, p)
		}
		for _, s := range slices.Concat(p.Scripts, p.Frames, p.Styles, p.Connections) {
			if !strings.HasPrefix(s, "https://") || strings.ContainsAny(s, " ;,'\"") {
				t.Errorf("%s loads from %q", kind, s)
			}
		}
		if len(p.Scripts) == 0 || !slices.ContainsFunc(p.Scripts, func(s string) bool {
			return strings.HasPrefix(p.Script, s) || strings.Contains(s, "*.") && strings.HasSuffix(host(p.Script), strings.TrimPrefix(s, "https://*"))
		}) {
			t.Errorf("%s may not load its own script %s: %v", kind, p.Script, p.Scripts)
		}
		moved := p.At("https://v.example/x", "https://s.example:8443/api.js?render=explicit")
		if moved.Verify != "https://v.example/x" || !slices.Equal(moved.Scripts, []string{"https://s.example:8443"}) || !slices.Equal(moved.Frames, moved.Scripts) {
			t.Errorf("%s elsewhere is %+v", kind, moved)
		}
	}
}

func host(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

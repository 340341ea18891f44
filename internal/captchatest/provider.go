// Package captchatest runs a provider of captchas for tests: a real one as far
// as pages and servers see it, over HTTP, with a puzzle that solves itself.
package captchatest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Provider is a running provider, which speaks as Turnstile does.
type Provider struct {
	URL    string // where it is: http://127.0.0.1:port
	Verify string // where answers are judged
	Script string // what shows puzzles
	Site   string // site key
	Secret string // that belongs to it

	mu       sync.Mutex
	host     string
	given    map[string]bool // answers, and whether they were shown
	asked    int
	down     bool
	received []string // the bodies that came
}

// Start starts a provider, which ends with the test. Its puzzles are solved at
// pages of host.
func Start(t testing.TB, host string) *Provider {
	t.Helper()
	p := &Provider{Site: "a-site-key", Secret: "a secret of the provider", host: host, given: map[string]bool{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /siteverify", p.judge)
	mux.HandleFunc("GET /api.js", p.script)
	mux.HandleFunc("GET /answer", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		if r.FormValue("sitekey") != p.Site {
			http.Error(w, "no such site", http.StatusBadRequest)
			return
		}
		_, _ = w.Write([]byte(p.Answer())) // the page may be gone
	})
	mux.HandleFunc("GET /frame", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte("<!doctype html><title>puzzle</title><p>I am no robot</p>"))
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	p.URL, p.Verify, p.Script = s.URL, s.URL+"/siteverify", s.URL+"/api.js"
	return p
}

// Answer is one that is right, once.
func (p *Provider) Answer() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := "0.answer." + strconv.Itoa(len(p.given)) // as with dots as the real ones
	p.given[a] = false
	return a
}

// Asked is how many answers were to be judged.
func (p *Provider) Asked() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

// Received is everything that was sent to have answers judged.
func (p *Provider) Received() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.received, "\n")
}

// Break lets it fail from now on, or no more.
func (p *Provider) Break(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
}

func (p *Provider) judge(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked++
	secret, answer := r.PostFormValue("secret"), r.PostFormValue("response")
	p.received = append(p.received, r.PostForm.Encode())
	if p.down {
		http.Error(w, "maintenance", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	shown, given := p.given[answer]
	problem := ""
	switch {
	case secret != p.Secret:
		problem = "invalid-input-secret"
	case !given:
		problem = "invalid-input-response"
	case shown:
		problem = "timeout-or-duplicate"
	}
	if problem != "" {
		_, _ = fmt.Fprintf(w, `{"success":false,"error-codes":[%q]}`, problem)
		return
	}
	p.given[answer] = true
	_, _ = fmt.Fprintf(w, `{"success":true,"hostname":%q,"challenge_ts":"2027-03-01T09:00:00Z","error-codes":[]}`, p.host)
}

// script shows a puzzle wherever a page asks for one, in a frame of the
// provider's, and adds its answer to the form.
func (p *Provider) script(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/javascript")
	_, _ = fmt.Fprintf(w, `const at = %q
for (const e of document.querySelectorAll('.cf-turnstile')) {
  const frame = document.createElement('iframe')
  frame.src = at + '/frame'
  frame.title = 'Puzzle'
  frame.onload = async () => {
    const reply = await fetch(at + '/answer?sitekey=' + encodeURIComponent(e.dataset.sitekey))
    const input = document.createElement('input')
    Object.assign(input, { type: 'hidden', name: 'cf-turnstile-response', value: await reply.text() })
    e.append(input)
    e.dataset.solved = 'yes'
  }
  e.append(frame)
}
`, p.URL)
}

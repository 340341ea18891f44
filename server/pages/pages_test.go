package pages

import (
	"bytes"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"
)

const evil = `"><script>alert(1)</script><img src=x onerror=alert(1)>`

// every page, with markup in everything that comes from outside.
func everyPage() map[string]View {
	f := Form{Token: evil, Pending: evil, ReturnTo: evil}
	g := Guest{Name: evil, Redirects: []string{"https://app.example/cb", evil}}
	return map[string]View{
		"login":           Login{Form: f, Guest: g, Email: evil, Problem: evil, MayLeave: true}.View(),
		"login with work": Login{Form: f, Guest: g, Proof: &Proof{Challenge: evil, Bits: 18, Mailed: true, Wait: evil}}.View(),
		"login with a puzzle": Login{Form: f, Guest: g, Proof: &Proof{Challenge: evil, Wait: evil, Puzzle: &Puzzle{
			Class: "cf-turnstile", SiteKey: evil, Script: "https://challenges.example/api.js", Field: "cf-turnstile-response",
			Scripts: []string{"https://challenges.example"}, Frames: []string{"https://frames.example"},
		}}}.View(),
		"login of a user": Login{Form: f, Guest: g, User: evil}.View(),
		"accounts":        Accounts{Form: f, Guest: g, User: evil}.View(),
		"signed in":       SignedIn{User: evil, Name: evil, Org: evil}.View(),
		"consent": Consent{
			Form: f, Guest: g, User: evil, Org: evil, Host: evil, Unknown: true,
			Links:  Links{Home: "javascript:alert(1)", Policy: "https://app.example/" + evil, Terms: "data:text/html,x"},
			Grants: []Grant{{Scope: evil, Text: evil, New: true}},
		}.View(),
		"failure":   Failure{Status: 400, Code: evil, Text: evil, Request: evil, Retry: evil}.View(),
		"form post": FormPost{Action: "https://app.example/cb?x=" + url.QueryEscape(evil), Host: evil, Fields: []Field{{Name: "state", Value: evil}}}.View(),
		"message":   message(200, evil, evil),
		"unlock":    Unlock{Form: f, Link: evil}.View(),
		"unlocked":  Unlocked{For: evil}.View(),
	}
}

// SEC-WEB-13, SEC-OAU-59: what comes from outside is text on every page, and
// no page has code or style of its own inside.
func TestNothingFromOutsideIsMarkup(t *testing.T) {
	for name, v := range everyPage() {
		page, err := v.Render()
		if err != nil {
			t.Fatal(name, err)
		}
		if !strings.Contains(string(page), "&lt;script&gt;") {
			t.Errorf("%s does not show what came from outside: %s", name, page)
		}
		root, err := html.Parse(bytes.NewReader(page))
		if err != nil {
			t.Fatal(name, err)
		}
		for n := range root.Descendants() {
			if n.Type == html.ElementNode && !harmless(n) {
				t.Errorf("%s: <%s> %v", name, n.Data, n.Attr)
			}
		}
	}
}

// harmless reports whether an element is one that our templates have.
func harmless(n *html.Node) bool {
	for _, a := range n.Attr {
		u, err := url.Parse(a.Val)
		address := a.Key == "href" || a.Key == "src" || a.Key == "action"
		if strings.HasPrefix(a.Key, "on") || a.Key == "style" || address && (err != nil || u.Scheme != "" && u.Scheme != "https" && a.Val != "#ZgotmplZ") {
			return false
		}
	}
	if n.Data == "script" {
		src := attributeOf(n, "src")
		return n.FirstChild == nil && slices.Contains([]string{"/assets/submit.js", "/assets/proof.js", "https://challenges.example/api.js"}, src)
	}
	return !slices.Contains([]string{"img", "iframe", "style", "object", "embed", "base", "svg"}, n.Data)
}

func attributeOf(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// SEC-WEB-11, SEC-WEB-12: nobody frames a page, nothing inline runs, and forms
// go to us and to the application at hand.
func TestThePolicyOfEveryPage(t *testing.T) {
	for name, v := range everyPage() {
		p := v.Policy()
		for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action "} {
			if !strings.Contains(p, want) {
				t.Errorf("%s: no %s in %s", name, want, p)
			}
		}
		if strings.Contains(p, "unsafe") || strings.Contains(p, "*") || strings.Contains(p, "<") {
			t.Errorf("%s: %s", name, p)
		}
		if scripts := strings.Contains(p, "script-src"); scripts != slices.Contains([]string{"form post", "login with work", "login with a puzzle"}, name) {
			t.Errorf("%s: %s", name, p)
		}
	}
	if p := everyPage()["form post"].Policy(); !strings.Contains(p, "form-action https://app.example;") {
		t.Errorf("a response goes to others than the client: %s", p)
	}
	if p, want := everyPage()["login with work"].Policy(), "default-src 'none'; style-src 'self'; script-src 'self'; worker-src 'self'; form-action"; !strings.HasPrefix(p, want) {
		t.Errorf("a login that asks for work loads %s", p)
	}
	if p, want := everyPage()["login with a puzzle"].Policy(), "default-src 'none'; style-src 'self'; script-src https://challenges.example; frame-src https://frames.example; form-action"; !strings.HasPrefix(p, want) {
		t.Errorf("a login that asks for a puzzle loads %s", p)
	}
	if p := everyPage()["login"].Policy(); !strings.Contains(p, "form-action 'self' https://app.example;") {
		t.Errorf("a login does not lead to the client, or elsewhere: %s", p)
	}
}

func TestSourcesOfAPolicy(t *testing.T) {
	for address, want := range map[string][]string{
		"https://app.example/cb?x=1":    {"https://app.example"},
		"https://app.example:8443/cb":   {"https://app.example:8443"},
		"http://127.0.0.1:5000/cb":      {"http://127.0.0.1:5000"},
		"http://[::1]:5000/cb":          {"http:"},
		"com.example.app:/cb":           {"com.example.app:"},
		"com.example.app://host/cb":     {"com.example.app:"},
		"":                              nil,
		"/path":                         nil,
		"https://a.example;script-src*": nil,
		"https://*.example/":            nil,
	} {
		if got := sources(address, address); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", address, got, want)
		}
	}
}

func TestScopesInWords(t *testing.T) {
	for scope, want := range map[string]string{
		"openid": "Know who you are", "agents:read": "See agents", "api-keys:create": "Create API keys", "*:*": "Do everything that you may do",
		"*:read": "See everything that you may", "agents:*": "Do everything with agents", "agents:frobnicate": "agents:frobnicate", "word": "word",
	} {
		if got := InWords(scope); got != want {
			t.Errorf("%s: %q, want %q", scope, got, want)
		}
	}
}

func TestWaitingInWords(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "1 second", time.Millisecond: "1 second", 1500 * time.Millisecond: "2 seconds", time.Minute: "60 seconds", 61 * time.Second: "2 minutes", 15 * time.Minute: "15 minutes",
	} {
		if got := Wait(d); got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
}

func TestHostsForPeople(t *testing.T) {
	for address, want := range map[string]string{
		"https://app.example/cb": "app.example", "https://user@app.example:8443/cb": "app.example:8443", "com.example.app:/cb": "the app com.example.app",
		"http://127.0.0.1:5000/cb": "this computer (127.0.0.1:5000)", "http://[::1]/cb": "this computer ([::1])", "http://localhost:1/": "this computer (localhost:1)",
	} {
		if got := Host(address); got != want {
			t.Errorf("%s: %q, want %q", address, got, want)
		}
	}
}

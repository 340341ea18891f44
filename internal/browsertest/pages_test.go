package browsertest_test

import (
	"crypto/sha256"
	"encoding/base64"
	"html/template"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/tokenhouse/tokenhouse/internal/browsertest"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// site is an application of somebody else, on a site of its own.
type site struct {
	url    string
	client string
	h      *housetest.Harness
	heard  chan url.Values // what came back to /cb
}

var sitePage = template.Must(template.New("").Parse(`<!doctype html><html lang="en"><head><title>Field Notes</title></head>
<body><h1>{{.Heading}}</h1><form method="post" action="{{.Action}}">{{range $n, $v := .Fields}}<input type="hidden" name="{{$n}}" value="{{index $v 0}}">{{end}}<button id="post">Sign in</button></form></body></html>`))

// build starts the application and registers it. It is at localhost and the
// server at 127.0.0.1, so that a browser takes them for two sites.
func build(t *testing.T, h *housetest.Harness, change map[string]any) *site {
	t.Helper()
	s := &site{h: h, heard: make(chan url.Values, 10)}
	mux := http.NewServeMux()
	mux.HandleFunc("/cb", func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		s.heard <- r.Form
		http.Redirect(w, r, "/inside", http.StatusSeeOther) // as applications do, to be rid of the code
	})
	mux.HandleFunc("/inside", func(w http.ResponseWriter, _ *http.Request) { s.page(t, w, "Back at Field Notes", nil) })
	mux.HandleFunc("/start", func(w http.ResponseWriter, _ *http.Request) {
		s.page(t, w, "Field Notes", s.request("prompt", "consent"))
	})
	web := httptest.NewServer(mux)
	t.Cleanup(web.Close)
	s.url = strings.Replace(web.URL, "127.0.0.1", "localhost", 1)
	body := map[string]any{
		"name": "Field Notes", "auth_method": "none", "grants": []string{"authorization_code", "refresh_token"},
		"scopes": []string{"openid", "profile", "email", "offline_access", "agents:read", "incidents:read"}, "redirect_uris": []string{s.url + "/cb"},
	}
	maps.Copy(body, change)
	r := h.Client().As(h.Login(h.Admin).Access).Post("/api/v1/clients", body).Expect(http.StatusCreated)
	s.client = r.Text("client_id")
	return s
}

func (s *site) page(t *testing.T, w http.ResponseWriter, heading string, form url.Values) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if err := sitePage.Execute(w, map[string]any{"Heading": heading, "Action": s.h.Config.Issuer + "/oauth2/authorize", "Fields": form}); err != nil {
		t.Error(err)
	}
}

func (s *site) request(changes ...string) url.Values {
	digest := sha256.Sum256([]byte("a-verifier-of-the-length-that-rfc-7636-wants-it-to-have"))
	v := url.Values{
		"client_id": {s.client}, "redirect_uri": {s.url + "/cb"}, "response_type": {"code"}, "scope": {"openid profile email agents:read"}, "state": {"a state"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(digest[:])}, "code_challenge_method": {"S256"},
	}
	for i := 0; i < len(changes); i += 2 {
		v.Set(changes[i], changes[i+1])
	}
	return v
}

func (s *site) asks(changes ...string) string {
	return s.h.Config.Issuer + "/oauth2/authorize?" + s.request(changes...).Encode()
}

// signIn fills in the login page as the administrator.
func signIn(w *browsertest.Window, h *housetest.Harness) {
	w.Reads("h1", "Sign in")
	w.Fill("input#email[name=email]", h.Admin.Email)
	w.Fill("input#password[name=password]", h.Admin.Password)
	w.Click("button[type=submit]")
}

func hear(t *testing.T, s *site) url.Values {
	t.Helper()
	select {
	case v := <-s.heard:
		return v
	case <-t.Context().Done():
		t.Fatal("the application heard nothing")
		return nil
	}
}

// SEC-OAU-57: from the application to the login, to the consent, and back, with
// scripts and without, by a link and by a form of the application's own.
func TestChromiumSignsIn(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	s := build(t, h, nil)
	for name, c := range map[string]struct {
		look browsertest.Look
		mode string
		post bool
	}{
		"by a link":                        {},
		"without scripts":                  {look: browsertest.Look{NoScript: true}},
		"by the application's form":        {post: true},
		"into a fragment":                  {mode: "fragment"},
		"with a form":                      {mode: "form_post"},
		"with a form, but without scripts": {look: browsertest.Look{NoScript: true}, mode: "form_post"},
		"on a phone":                       {look: browsertest.Look{Width: 390, Height: 844}},
	} {
		t.Run(name, func(t *testing.T) {
			w := browsertest.Open(t, c.look)
			if c.post {
				w.Go(s.url + "/start")
				w.Click("#post")
			} else {
				w.Go(s.asks("response_mode", c.mode, "prompt", "consent"))
			}
			signIn(w, h)
			w.Reads("h1", "Allow access?")
			w.Click("button[name=decision][value=allow]")
			if c.mode == "form_post" && c.look.NoScript {
				w.Reads("h1", "Going back")
				w.Click("button[type=submit]")
			}
			w.Arrives(s.url + "/inside")
			got := hear(t, s)
			if c.mode == "fragment" {
				if got.Has("code") {
					t.Errorf("the application's server hears the code: %v", got)
				}
				got, _ = url.ParseQuery(strings.TrimPrefix(browsertest.Eval[string](w, "location.hash"), "#"))
			}
			if got.Get("code") == "" || got.Get("state") != "a state" || got.Get("iss") != h.Config.Issuer {
				t.Errorf("the application hears %v", got)
			}
			if m := w.Complaints("Content Security Policy"); len(m) > 0 {
				t.Errorf("the browser complains: %q", m)
			}
		})
	}
}

// By the keyboard alone, as people do who use no mouse: the focus is where one
// types first, and every step is in reach.
func TestChromiumByKeyboard(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	s := build(t, h, nil)
	w := browsertest.Open(t, browsertest.Look{})
	w.Go(s.asks())
	w.Reads("h1", "Sign in")
	w.Focused("#email")
	w.Press(h.Admin.Email + "\t" + "a wrong password" + "\r")
	w.Reads("#problem[role=alert]", "The e-mail or the password is wrong.")
	w.Focused("#password") // the e-mail is still there
	w.Press(h.Admin.Password + "\r")
	w.Reads("h1", "Allow access?")
	for range 10 {
		if w.Press("\t"); browsertest.Eval[string](w, "document.activeElement.value ?? ''") == "deny" {
			break
		}
	}
	w.Press("\r")
	w.Arrives(s.url + "/inside")
	if got := hear(t, s); got.Get("error") != "access_denied" || got.Get("state") != "a state" {
		t.Errorf("the application hears %v", got)
	}
}

// SEC-OAU-09, SEC-WEB-11: an error stays with us, and no other site shows our
// pages inside of its own.
func TestChromiumFramesNothing(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	s := build(t, h, nil)
	framing := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "text/html")
		for _, path := range []string{"/login", s.asks(), "/oauth2/authorize?client_id=nobody", "/oauth2/logout"} {
			_, _ = rw.Write([]byte(`<iframe src="` + h.Config.Issuer + strings.TrimPrefix(path, h.Config.Issuer) + `"></iframe>`)) // the test reads on
		}
	}))
	t.Cleanup(framing.Close)
	w := browsertest.Open(t, browsertest.Look{})
	w.Go(h.Config.Issuer + "/oauth2/authorize?client_id=nobody&redirect_uri=" + url.QueryEscape(s.url+"/cb"))
	w.Reads("h1", "Error")
	w.Reads("#code", "invalid_client")
	w.Arrives(h.Config.Issuer + "/oauth2/authorize")
	w.Go(framing.URL)
	w.Arrives(framing.URL)
	if refused := w.Complaints("frame-ancestors"); len(refused) < 4 {
		t.Errorf("frames were shown: %q", refused)
	}
}

// An application whose callback goes on to another site of its own is let go
// there, where it named that site when it was registered.
func TestChromiumFollowsAnApplicationToItsOtherSite(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte("<h1>The other site</h1>")) // the test reads on
	}))
	t.Cleanup(other.Close)
	callback := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusFound))
	t.Cleanup(callback.Close)
	for name, change := range map[string]map[string]any{
		"its home": {"redirect_uris": []string{callback.URL}, "client_uri": other.URL},
		"another":  {"redirect_uris": []string{callback.URL, other.URL}},
	} {
		s := build(t, h, change)
		w := browsertest.Open(t, browsertest.Look{})
		w.Go(s.asks("redirect_uri", callback.URL, "prompt", "consent"))
		signIn(w, h)
		w.Reads("h1", "Allow access?")
		w.Click("button[name=decision][value=allow]")
		w.Reads("h1", "The other site")
		if m := w.Complaints("Content Security Policy"); len(m) > 0 {
			t.Errorf("%s: the browser complains: %q", name, m)
		}
	}
}

// SEC-OAU-59: a response in a form is text, whatever is in it.
func TestChromiumRunsNothingOfAResponse(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	s := build(t, h, map[string]any{"name": `</title><script>document.title='owned'</script>`})
	const evil = `"><script>document.title='owned'</script><img src=x onerror="document.title='owned'">`
	w := browsertest.Open(t, browsertest.Look{})
	w.Go(s.asks("response_mode", "form_post", "state", evil, "login_hint", evil))
	signIn(w, h)
	w.Reads("#client", "</title><script>")
	if browsertest.Eval[string](w, "document.title") == "owned" {
		t.Error("the name of an application runs")
	}
	w.Click("button[name=decision][value=allow]")
	w.Arrives(s.url + "/inside")
	if got := hear(t, s); got.Get("state") != evil || got.Get("code") == "" {
		t.Errorf("the application hears %v", got)
	}
}

package housetest_test

import (
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// guest is an application that people sign in to.
type guest struct{ id, redirect string }

const verifier = "a-verifier-of-the-length-that-rfc-7636-wants-it-to-have"

// invite registers a public client with that redirect URI.
func invite(h *housetest.Harness, redirect string, change map[string]any) guest {
	body := map[string]any{
		"name": "Field Notes", "auth_method": "none", "grants": []string{"authorization_code", "refresh_token"},
		"scopes": []string{"openid", "profile", "email", "offline_access", "agents:read"}, "redirect_uris": []string{redirect},
	}
	maps.Copy(body, change)
	admin := h.Login(h.Admin)
	r := h.Client().As(admin.Access).Post("/api/v1/clients", body).Expect(http.StatusCreated)
	return guest{r.Text("client_id"), redirect}
}

// asks is the address of an authorization request; changes are names and values,
// an empty value takes a parameter away.
func (g guest) asks(changes ...string) string {
	return "/oauth2/authorize?" + g.request(changes...).Encode()
}

func (g guest) request(changes ...string) url.Values {
	digest := sha256.Sum256([]byte(verifier))
	v := url.Values{
		"client_id": {g.id}, "redirect_uri": {g.redirect}, "response_type": {"code"}, "scope": {"openid email"}, "state": {"a state"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(digest[:])}, "code_challenge_method": {"S256"},
	}
	for i := 0; i < len(changes); i += 2 {
		if v.Del(changes[i]); changes[i+1] != "" {
			v.Set(changes[i], changes[i+1])
		}
	}
	return v
}

// The whole way: sign in, allow, and the code is worth tokens.
func TestSigningInToAnApplication(t *testing.T) {
	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		g := invite(h, "https://notes.example/cb", nil)
		b := h.Browser().For(t)
		b.Open(g.asks()).Shows("Sign in").Expect(http.StatusOK)
		if !strings.Contains(b.Page.Words, "Field Notes") {
			t.Errorf("the page does not say for whom: %s", b.Page)
		}
		b.Submit(map[string]string{"email": h.Admin.Email, "password": h.Admin.Password}).Shows("Allow access?")
		if b.Page.ID("client") != "Field Notes" || b.Page.ID("user") != h.Admin.Email || b.Page.ID("host") != "notes.example" || b.Page.ID("org") == "" {
			t.Errorf("who asks whom for what is not said: %s", b.Page)
		}
		b.Submit(map[string]string{"decision": "allow"})
		got := b.FollowsTo(g.redirect + "?")
		if got.Get("state") != "a state" || got.Get("iss") != h.Config.Issuer || !strings.HasPrefix(got.Get("code"), "thc_") {
			t.Errorf("the client hears %v", got)
		}
		r := form(h.Client(), "/oauth2/token", "grant_type", "authorization_code", "code", got.Get("code"), "redirect_uri", g.redirect, "client_id", g.id, "code_verifier", verifier).Expect(http.StatusOK)
		if r.Text("access_token") == "" || r.Text("id_token") == "" {
			t.Errorf("no tokens: %s", r)
		}
		// Signed in and allowed: nothing is asked any more.
		b.Open(g.asks("state", "again"))
		if got := b.FollowsTo(g.redirect); got.Get("state") != "again" || got.Get("code") == "" {
			t.Errorf("the second time: %v", got)
		}
	})
}

// A refusal, a cancelled login and a denied consent are told the client; whoever
// does not want to be asked again is asked all the same after prompt=consent.
func TestSayingNoToAnApplication(t *testing.T) {
	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		g := invite(h, "https://notes.example/cb?tenant=1", nil)
		b := h.Browser().For(t)
		refusal := func() {
			t.Helper()
			got := b.FollowsTo("https://notes.example/cb?tenant=1&")
			if got.Get("error") != "access_denied" || got.Get("state") != "a state" || got.Get("iss") != h.Config.Issuer || got.Has("code") {
				t.Errorf("the client hears %v", got)
			}
		}
		b.Open(g.asks())
		b.Open("/login?account=none&pending=" + b.Page.Forms[0].Fields.Get("pending"))
		refusal()
		b.SignIn(g.asks(), h.Admin)
		b.Submit(map[string]string{"decision": "deny"})
		refusal()
		b.Open(g.asks()).Shows("Allow access?")
		b.Submit(map[string]string{"decision": "allow"})
		if b.FollowsTo("https://notes.example/cb?tenant=1&").Get("code") == "" {
			t.Error("no code")
		}
		b.Open(g.asks("prompt", "consent")).Shows("Allow access?")
		b.Submit(map[string]string{"decision": "deny"})
		refusal()
	})
}

// Each way in which a response travels to the client.
func TestResponseModes(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	g := invite(h, "https://notes.example/cb", nil)
	b := h.Browser().For(t)
	b.Allow(g.asks(), h.Admin)
	for mode, prefix := range map[string]string{"": g.redirect + "?", "query": g.redirect + "?", "fragment": g.redirect + "#", "form_post": g.redirect} {
		b.Open(g.asks("response_mode", mode))
		if got := b.FollowsTo(prefix); !strings.HasPrefix(got.Get("code"), "thc_") || got.Get("state") != "a state" || mode == "form_post" && b.Left.RawQuery != "" {
			t.Errorf("%s: %s with %v", mode, b.Left, got)
		}
	}
	app := invite(h, "com.example.notes:/cb", nil)
	b.Allow(app.asks(), h.Admin)
	if b.FollowsTo("com.example.notes:/cb?").Get("code") == "" {
		t.Error("an app hears nothing")
	}
}

// Who has several accounts chooses, and may take another.
func TestChoosingAnAccount(t *testing.T) {
	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		g := invite(h, "https://notes.example/cb", nil)
		other := h.Person(h.Admin.Org, "other", "viewer")
		b := h.Browser().For(t)
		b.Allow(g.asks(), h.Admin)
		h.Advance(time.Second)
		b.Open(g.asks("prompt", "select_account")).Shows("Choose an account")
		b.Submit(map[string]string{"account": "current"})
		if b.FollowsTo(g.redirect).Get("code") == "" {
			t.Error("going on as oneself gives no code")
		}
		b.Open(g.asks("prompt", "select_account")).Shows("Choose an account")
		b.Open(b.Page.Links[0].String()).Shows("Sign in")
		b.Submit(map[string]string{"email": other.Email, "password": other.Password}).Shows("Allow access?")
		if b.Page.ID("user") != other.Email {
			t.Errorf("who is asked: %s", b.Page)
		}
		b.Open(b.Page.Links[0].String()).Shows("Sign in") // Not you?
		b.Submit(map[string]string{"email": h.Admin.Email, "password": h.Admin.Password})
		if b.FollowsTo(g.redirect).Get("code") == "" {
			t.Error("who allowed it before is asked again")
		}
	})
}

// A login page speaks of the lockout in words, and counts with the API's.
func TestTheLoginPageTellsHowLongToWait(t *testing.T) {
	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		p := h.Person(h.Admin.Org, "forgetful", "viewer")
		b := h.Browser().For(t)
		b.Open("/login")
		for range 4 {
			b.Submit(map[string]string{"email": p.Email, "password": "a wrong password"}).Expect(http.StatusUnauthorized)
			if b.Page.ID("problem") != "The e-mail or the password is wrong." || b.Page.Forms[0].Fields.Get("email") != p.Email || b.Page.Forms[0].Fields.Get("password") != "" {
				t.Errorf("%s", b.Page)
			}
		}
		h.Client().TryLogin(p.Email, "a wrong password").Expect(http.StatusUnauthorized, http.StatusLocked)
		b.Submit(map[string]string{"email": p.Email, "password": p.Password}).Expect(http.StatusLocked)
		if b.Page.Header.Get("Retry-After") != "60" || !strings.Contains(b.Page.ID("problem"), "60 seconds") {
			t.Errorf("%v %s", b.Page.Header, b.Page)
		}
		h.Advance(61 * time.Second)
		b.Submit(map[string]string{"email": p.Email, "password": p.Password}).Shows("You are signed in")
		if c := b.Page.Trail[0].Cookie("th_device"); c == nil {
			t.Error("the device is not remembered")
		}
		b.Submit(nil).Shows("Sign out?")
		b.Submit(nil).Shows("You have been logged out")
		b.Open("/login").Shows("Sign in")
	})
}

// A page that was open for too long says so, and one of another browser tells nothing.
func TestAPageThatWasOpenForTooLong(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	g := invite(h, "https://notes.example/cb", nil)
	b := h.Browser().For(t)
	pending := b.Open(g.asks()).Forms[0].Fields.Get("pending")
	h.Browser().For(t).Open("/login?pending=" + pending).Shows("Error").Expect(http.StatusForbidden)
	h.Advance(31 * time.Minute)
	b.Submit(map[string]string{"email": h.Admin.Email, "password": h.Admin.Password}).Shows("Error")
	if b.Page.ID("code") != "expired" || b.Left != nil {
		t.Errorf("%s", b.Page)
	}
	for _, path := range []string{"/consent", "/consent?pending=x", "/login?pending=x", "/oauth2/authorize?pending=x"} {
		b.Open(path).Shows("Error").Expect(http.StatusForbidden, http.StatusBadRequest)
	}
}

// Each step at another replica: what one puts aside, signs in and asks, another
// goes on with.
func TestSigningInAcrossReplicas(t *testing.T) {
	housetest.Both(t, housetest.Options{Replicas: 3}, func(t *testing.T, h *housetest.Harness) {
		g := invite(h, "https://notes.example/cb", nil)
		b := h.Browser().For(t)
		b.Open(g.asks()).Shows("Sign in")
		b.At(h, 1).Submit(map[string]string{"email": h.Admin.Email, "password": h.Admin.Password}).Shows("Allow access?")
		b.At(h, 2).Submit(map[string]string{"decision": "allow"})
		code := b.FollowsTo(g.redirect).Get("code")
		form(h.At(0), "/oauth2/token", "grant_type", "authorization_code", "code", code, "redirect_uri", g.redirect, "client_id", g.id, "code_verifier", verifier).Expect(http.StatusOK)
		b.Open("/login").Shows("You are signed in")
		b.At(h, 0).Submit(nil).Shows("Sign out?")
		b.At(h, 1).Submit(nil).Shows("You have been logged out")
		b.At(h, 2).Open("/login").Shows("Sign in")
	})
}

package verify_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/tokens/verify"
)

// shop is a resource server with one route.
func shop(v *verify.Verifier) http.Handler {
	return v.Middleware(verify.Require("procedures:execute", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, _ := verify.ClaimsFrom(r.Context())
		_, _ = io.WriteString(w, c.OrgID)
	})))
}

type body struct {
	Type       string   `json:"type"`
	Title      string   `json:"title"`
	Status     int      `json:"status"`
	Detail     string   `json:"detail"`
	StatusCode int      `json:"status_code"`
	Code       string   `json:"code"`
	Error      string   `json:"error"`
	RequestID  string   `json:"request_id"`
	Reason     string   `json:"reason"`
	Required   []string `json:"required"`
}

func TestTheMiddlewareAnswersAsDocumented(t *testing.T) {
	i := newIssuer(t)
	able := claim{"permissions", []string{"procedures:execute"}}
	v := i.verifier()
	v.Revoked = verify.RevokedFunc(func(_ context.Context, c verify.Claims) (bool, error) {
		if c.ID == "tok_unknown" {
			return false, errors.New("secret cause")
		}
		return c.ID == "tok_revoked", nil
	})
	expired := claim{"exp", noon.Add(-time.Hour).Unix()}
	for name, c := range map[string]struct {
		authorization []string
		status        int
		code          string
		text          string
		detail        string
		challenge     string
	}{
		"K19 O39 nothing":          {nil, 401, "INVALID_TOKEN", "unauthorized", "No credential was presented.", "Bearer"},
		"O39 the scheme alone":     {[]string{"Bearer"}, 401, "INVALID_TOKEN", "unauthorized", "No credential was presented.", "Bearer"},
		"another scheme":           {[]string{"Basic dTpw"}, 401, "INVALID_TOKEN", "unauthorized", "No credential was presented.", "Bearer"},
		"O39 Bearer x":             {[]string{"Bearer x"}, 401, "INVALID_TOKEN", "invalid token", "The token is not valid.", `Bearer error="invalid_token", error_description="The token is not valid."`},
		"O39 Bearer a.b.c":         {[]string{"Bearer a.b.c"}, 401, "INVALID_TOKEN", "invalid token", "The token is not valid.", `Bearer error="invalid_token", error_description="The token is not valid."`},
		"two headers":              {[]string{"Bearer " + i.token(able), "Bearer " + i.token(able)}, 401, "INVALID_TOKEN", "invalid token", "The token is not valid.", `Bearer error="invalid_token", error_description="The token is not valid."`},
		"two words":                {[]string{"Bearer " + i.token(able) + " x"}, 401, "INVALID_TOKEN", "invalid token", "The token is not valid.", `Bearer error="invalid_token", error_description="The token is not valid."`},
		"K21 no org_id":            {[]string{"Bearer " + i.token(able, claim{"org_id", nil})}, 401, "INVALID_TOKEN", "missing org_id claim", "The token has no org_id claim.", `Bearer error="invalid_token", error_description="The token has no org_id claim."`},
		"K22 O9 expired":           {[]string{"Bearer " + i.token(able, expired)}, 401, "INVALID_TOKEN", "token expired", "JWT token has expired", `Bearer error="invalid_token", error_description="JWT token has expired"`},
		"O16 revoked":              {[]string{"Bearer " + i.token(able, claim{"jti", "tok_revoked"})}, 401, "INVALID_TOKEN", "invalid token", "Token has been revoked", `Bearer error="invalid_token", error_description="Token has been revoked"`},
		"revocation unknown":       {[]string{"Bearer " + i.token(able, claim{"jti", "tok_unknown"})}, 503, "UNAVAILABLE", "unavailable", "The token cannot be verified at the moment.", ""},
		"O35 O41 lacks permission": {[]string{"Bearer " + i.token()}, 403, "INSUFFICIENT_PERMISSIONS", "forbidden", "The credential lacks a required permission.", `Bearer error="insufficient_scope", error_description="The credential lacks a required permission.", scope="procedures:execute"`},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, "/procedures/x/execute", nil)
			r.Header["Authorization"] = c.authorization
			w := httptest.NewRecorder()
			w.Header().Set("X-Request-Id", "req_1")
			shop(v).ServeHTTP(w, r)
			res := w.Result()
			text, _ := io.ReadAll(res.Body)
			var b body
			if err := json.Unmarshal(text, &b); err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			if res.StatusCode != c.status || b.Status != c.status || b.StatusCode != c.status || b.Code != c.code || b.Error != c.text || b.Detail != c.detail {
				t.Errorf("answered %d %s", res.StatusCode, text)
			}
			if b.RequestID != "req_1" || !strings.HasPrefix(b.Type, "urn:tokenhouse:problem:") || b.Title == "" || strings.Contains(string(text), "secret cause") {
				t.Errorf("body %s", text)
			}
			if got := res.Header.Get("WWW-Authenticate"); got != c.challenge {
				t.Errorf("challenge %q", got)
			}
			if res.Header.Get("Content-Type") != "application/problem+json" || res.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("headers %v", res.Header)
			}
			if c.status == 403 && (len(b.Required) != 1 || b.Required[0] != "procedures:execute") {
				t.Errorf("required %v", b.Required)
			}
			if (c.status == 503) != (res.Header.Get("Retry-After") != "") {
				t.Errorf("Retry-After %q", res.Header.Get("Retry-After"))
			}
		})
	}
}

// K7: the scheme in any case; a token in the query is not looked for.
func TestK7WhereATokenIsLookedFor(t *testing.T) {
	i := newIssuer(t)
	token := i.token(claim{"permissions", []string{"procedures:execute"}})
	for header, want := range map[string]int{"Bearer " + token: 200, "bearer " + token: 200, "BEARER  " + token: 200, "Bearer\t" + token: 401, token: 401} {
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		r.Header.Set("Authorization", header)
		w := httptest.NewRecorder()
		shop(i.verifier()).ServeHTTP(w, r)
		if w.Code != want || want == 200 && w.Body.String() != "org_1" {
			t.Errorf("%.12q: %d %s", header, w.Code, w.Body)
		}
	}
	r := httptest.NewRequest(http.MethodPost, "/?access_token="+token, strings.NewReader("access_token="+token))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	shop(i.verifier()).ServeHTTP(w, r)
	if w.Code != 401 {
		t.Errorf("a token in query and form: %d", w.Code)
	}
}

func TestRequireWithoutMiddlewareLetsNobodyPass(t *testing.T) {
	w := httptest.NewRecorder()
	verify.Require("agents:read", http.NotFoundHandler()).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	if w.Code != 401 {
		t.Errorf("answered %d", w.Code)
	}
}

func TestRefusalsAreReported(t *testing.T) {
	i := newIssuer(t)
	var heard []string
	v := i.verifier()
	v.Report = func(_ context.Context, err error) { heard = append(heard, verify.Result(err)) }
	for _, token := range []string{"", i.token(claim{"org_id", nil}), i.token()} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		shop(v).ServeHTTP(httptest.NewRecorder(), r)
	}
	if strings.Join(heard, " ") != "missing missing_org" {
		t.Errorf("heard %v", heard)
	}
}

// SEC-JWT-04: the cause is for the log and quotes nothing of the token.
func TestErrorsQuoteNothing(t *testing.T) {
	i := newIssuer(t)
	for _, token := range []string{
		i.sign(i.header(claim{"kid", "EVIL"}), i.payload()), i.sign(i.header(claim{"typ", "EVIL"}), i.payload()),
		i.token(claim{"iss", "EVIL"}), i.token(claim{"sub", []string{"EVIL"}}), "EVIL.EVIL.EVIL", i.sign(`{"EVIL":`, i.payload()),
	} {
		_, err := i.verifier().Verify(t.Context(), token)
		if err == nil || strings.Contains(err.Error(), "EVIL") {
			t.Errorf("the error is %v", err)
		}
	}
}

func TestAnUnknownErrorIsAnsweredWithoutItsCause(t *testing.T) {
	w := httptest.NewRecorder()
	verify.WriteError(w, errors.New("secret cause"))
	if w.Code != 503 || strings.Contains(w.Body.String(), "secret") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

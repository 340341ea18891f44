package ginverify_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/go-jose/go-jose/v4"

	"github.com/tokenhouse/tokenhouse/tokens/verify"
	"github.com/tokenhouse/tokenhouse/tokens/verify/ginverify"
)

const issuer = "https://auth.example.com"

var noon = time.Date(2026, 6, 12, 12, 0, 0, 0, time.UTC)

// newIssuer returns a verifier, and what makes tokens for it.
func newIssuer(t *testing.T) (*verify.Verifier, func(claims map[string]any) string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	private := jose.JSONWebKey{Key: key, KeyID: "k1", Algorithm: "ES256"}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: private}, (&jose.SignerOptions{}).WithType(verify.TokenType))
	if err != nil {
		t.Fatal(err)
	}
	v := &verify.Verifier{
		Issuer: issuer, Audience: issuer, Now: func() time.Time { return noon },
		Keys: verify.Lookup(func(kid string) (jose.JSONWebKey, bool) { return private.Public(), kid == "k1" }),
		Revoked: verify.RevokedFunc(func(_ context.Context, c verify.Claims) (bool, error) {
			if c.ID == "tok_unknown" {
				return false, errors.New("secret cause")
			}
			return c.ID == "tok_revoked", nil
		}),
	}
	return v, func(changed map[string]any) string {
		claims := map[string]any{
			"iss": issuer, "aud": issuer, "sub": "user_1", "jti": "tok_1", "org_id": "org_1", "permissions": []string{"agents:read"},
			"iat": noon.Unix(), "exp": noon.Add(time.Hour).Unix(),
		}
		for name, value := range changed {
			claims[name] = value
		}
		payload, err := json.Marshal(claims)
		if err != nil {
			t.Fatal(err)
		}
		jws, err := signer.Sign(payload)
		if err != nil {
			t.Fatal(err)
		}
		compact, err := jws.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		return compact
	}
}

// shops are the same resource server twice; served counts the requests that
// reached the handlers of the second.
func shops(v *verify.Verifier) (plain, withGin http.Handler, served *int) {
	mux := http.NewServeMux()
	mux.Handle("GET /agents", v.Middleware(verify.Require("agents:read", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, _ := verify.ClaimsFrom(r.Context())
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, c.OrgID)
	}))))
	gin.SetMode(gin.ReleaseMode)
	engine, served := gin.New(), new(int)
	engine.Use(ginverify.Middleware(v))
	engine.GET("/agents", ginverify.Require("agents:read"), func(c *gin.Context) {
		*served++
		c.Header("Content-Type", "text/plain")
		_, _ = io.WriteString(c.Writer, ginverify.Claims(c).OrgID)
	})
	return mux, engine, served
}

func TestTheAnswersAreThoseOfNetHTTP(t *testing.T) {
	v, token := newIssuer(t)
	var reported []string
	v.Report = func(_ context.Context, err error) { reported = append(reported, verify.Result(err)) }
	plain, withGin, served := shops(v)
	for name, c := range map[string]struct {
		authorization []string
		status        int
	}{
		"a good token":            {[]string{"Bearer " + token(nil)}, 200},
		"no credential":           {nil, 401},
		"another scheme":          {[]string{"Basic dTpw"}, 401},
		"nonsense":                {[]string{"Bearer a.b.c"}, 401},
		"two headers":             {[]string{"Bearer " + token(nil), "Bearer " + token(nil)}, 401},
		"an expired token":        {[]string{"Bearer " + token(map[string]any{"exp": noon.Add(-time.Hour).Unix()})}, 401},
		"another audience":        {[]string{"Bearer " + token(map[string]any{"aud": "https://other.example.com"})}, 401},
		"no organisation":         {[]string{"Bearer " + token(map[string]any{"org_id": ""})}, 401},
		"a revoked token":         {[]string{"Bearer " + token(map[string]any{"jti": "tok_revoked"})}, 401},
		"revocation unknown":      {[]string{"Bearer " + token(map[string]any{"jti": "tok_unknown"})}, 503},
		"a permission is lacking": {[]string{"Bearer " + token(map[string]any{"permissions": []string{"agents:list"}})}, 403},
	} {
		t.Run(name, func(t *testing.T) {
			*served, reported = 0, nil
			answers := [2]*http.Response{}
			bodies := [2]string{}
			for i, h := range []http.Handler{plain, withGin} {
				r := httptest.NewRequest(http.MethodGet, "/agents", nil)
				r.Header["Authorization"] = c.authorization
				w := httptest.NewRecorder()
				w.Header().Set("X-Request-Id", "req_1")
				h.ServeHTTP(w, r)
				answers[i], bodies[i] = w.Result(), w.Body.String()
			}
			if answers[1].StatusCode != c.status || answers[0].StatusCode != c.status || bodies[0] != bodies[1] || !reflect.DeepEqual(answers[0].Header, answers[1].Header) {
				t.Errorf("net/http: %d %v %s\ngin: %d %v %s", answers[0].StatusCode, answers[0].Header, bodies[0], answers[1].StatusCode, answers[1].Header, bodies[1])
			}
			if (*served == 1) != (c.status == 200) || c.status == 200 && bodies[1] != "org_1" {
				t.Errorf("the handler ran %d times and said %s", *served, bodies[1])
			}
			if len(reported) != 0 && reported[0] != reported[1] {
				t.Errorf("reported %v", reported)
			}
		})
	}
}

func TestRequireWithoutMiddlewareLetsNobodyPass(t *testing.T) {
	_, token := newIssuer(t)
	engine := gin.New()
	engine.GET("/", ginverify.Require("agents:read"), func(c *gin.Context) { c.Status(http.StatusOK) })
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Authorization", "Bearer "+token(nil))
	w := httptest.NewRecorder()
	engine.ServeHTTP(w, r)
	if w.Code != http.StatusUnauthorized {
		t.Errorf("answered %d", w.Code)
	}
}

func TestARouteThatAsksNobodyHasNoClaims(t *testing.T) {
	c, _ := gin.CreateTestContext(httptest.NewRecorder())
	c.Request = httptest.NewRequest(http.MethodGet, "/", nil)
	defer func() {
		if recover() == nil {
			t.Error("claims out of nowhere")
		}
	}()
	ginverify.Claims(c)
}

// What comes after in the chain sees the claims, wherever it looks.
func TestTheClaimsAreInTheContextOfTheRequest(t *testing.T) {
	v, token := newIssuer(t)
	engine := gin.New()
	engine.Use(ginverify.Middleware(v), func(c *gin.Context) {
		claims, ok := verify.ClaimsFrom(c.Request.Context())
		if !ok || claims.Subject != ginverify.Claims(c).Subject || claims.Subject != "user_1" {
			t.Errorf("%v %+v", ok, claims)
		}
	})
	engine.GET("/", func(c *gin.Context) { c.Status(http.StatusNoContent) })
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Authorization", "Bearer "+token(nil))
	w := httptest.NewRecorder()
	engine.ServeHTTP(w, r)
	if w.Code != http.StatusNoContent {
		t.Errorf("answered %d %s", w.Code, w.Body)
	}
}

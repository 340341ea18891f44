package verify_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenhouse/tokenhouse/tokens/verify"
)

// A resource server that filters everything by the caller's organisation.
func Example() {
	const issuer = "https://auth.example.com"
	v := &verify.Verifier{
		Issuer:   issuer,
		Audience: "https://api.example.com",
		Keys:     &verify.RemoteKeys{URL: issuer + "/.well-known/jwks.json", Now: time.Now},
		Now:      time.Now,
		Report:   func(_ context.Context, err error) { log.Print("refused: ", err) },
	}
	agents := func(w http.ResponseWriter, r *http.Request) {
		c, _ := verify.ClaimsFrom(r.Context())
		fmt.Fprintln(w, "the agents of", c.OrgID)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /agents", v.Middleware(verify.Require("agents:read", http.HandlerFunc(agents))))
	log.Fatal(http.ListenAndServe("localhost:3000", mux))
}

// A test of a resource server signs tokens with a key of its own and stops the
// clock. The server itself is made with the same fields as in production.
func Example_testing() {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	private := jose.JSONWebKey{Key: key, KeyID: "test", Algorithm: "ES256"}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: private}, (&jose.SignerOptions{}).WithType(verify.TokenType))
	if err != nil {
		log.Fatal(err)
	}
	now := time.Date(2026, time.June, 12, 12, 0, 0, 0, time.UTC)
	token := func(permissions ...string) string {
		payload, _ := json.Marshal(map[string]any{
			"iss": "https://auth.example.com", "aud": "https://api.example.com", "sub": "user_1", "org_id": "org_1", "jti": "tok_1",
			"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "permissions": permissions,
		})
		jws, err := signer.Sign(payload)
		if err != nil {
			log.Fatal(err)
		}
		compact, _ := jws.CompactSerialize()
		return compact
	}

	v := &verify.Verifier{
		Issuer: "https://auth.example.com", Audience: "https://api.example.com", Now: func() time.Time { return now },
		Keys: verify.Lookup(func(kid string) (jose.JSONWebKey, bool) { return private.Public(), kid == "test" }),
	}
	server := v.Middleware(verify.Require("agents:read", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNoContent)
	})))
	ask := func(token string) int {
		r := httptest.NewRequest(http.MethodGet, "/agents", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		server.ServeHTTP(w, r)
		return w.Code
	}

	good := token("agents:read")
	fmt.Println("allowed", ask(good))
	fmt.Println("another permission", ask(token("metrics:read")))
	v.Revoked = verify.RevokedFunc(func(_ context.Context, c verify.Claims) (bool, error) { return c.ID == "tok_1", nil })
	fmt.Println("revoked", ask(good))
	v.Revoked = verify.RevokedFunc(func(context.Context, verify.Claims) (bool, error) { return false, errors.New("out of reach") })
	fmt.Println("nobody knows", ask(good))
	now = now.Add(2 * time.Hour)
	fmt.Println("expired", ask(good))
	// Output:
	// allowed 204
	// another permission 403
	// revoked 401
	// nobody knows 503
	// expired 401
}

// A verifier that is told of a revocation as it is made, and refuses all tokens
// when it has heard nothing for twenty seconds.
func ExampleRemoteRevocations() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	const issuer = "https://auth.example.com"
	keys := &verify.RemoteKeys{URL: issuer + "/.well-known/jwks.json", Now: time.Now}
	feed := &verify.RemoteRevocations{
		URL: issuer + "/.well-known/revocations", Issuer: issuer, Keys: keys, Now: time.Now,
		Mode:         verify.FeedStream,
		MaxStaleness: 20 * time.Second,
		Report:       func(err error) { log.Print("revocations: ", err) },
	}
	go feed.Run(ctx)
	_ = &verify.Verifier{Issuer: issuer, Audience: "https://api.example.com", Keys: keys, Now: time.Now, Revoked: feed}
}

// A verifier that refuses a revoked token within the ttl of its status list, a
// minute, and accepts tokens while no list can be had.
func ExampleStatusLists() {
	const issuer = "https://auth.example.com"
	keys := &verify.RemoteKeys{URL: issuer + "/.well-known/jwks.json", Now: time.Now}
	_ = &verify.Verifier{
		Issuer: issuer, Audience: "https://api.example.com", Keys: keys, Now: time.Now,
		Revoked: &verify.StatusLists{
			Issuer: issuer, Keys: keys, Now: time.Now,
			FailOpen: true,
			Report:   func(err error) { log.Print("status list: ", err) },
		},
	}
}

// A verifier that hears of revocations at once, and goes on by status lists
// while the feed is out of reach.
func ExampleAnyOf() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	const issuer = "https://auth.example.com"
	keys := &verify.RemoteKeys{URL: issuer + "/.well-known/jwks.json", Now: time.Now}
	feed := &verify.RemoteRevocations{URL: issuer + "/.well-known/revocations", Issuer: issuer, Keys: keys, Now: time.Now, Mode: verify.FeedStream}
	go feed.Run(ctx)
	_ = &verify.Verifier{
		Issuer: issuer, Audience: "https://api.example.com", Keys: keys, Now: time.Now,
		Revoked: verify.AnyOf{feed, &verify.StatusLists{Issuer: issuer, Keys: keys, Now: time.Now}},
	}
}

// What to tell a client apart: an expired token is refreshed, an outage is
// waited for, everything else needs a new login.
func ExampleVerifier_Verify() {
	v := &verify.Verifier{} // nothing is set, so nothing can be verified
	_, err := v.Verify(context.Background(), "eyJhbGciOiJFUzI1NiJ9.e30.AA")
	switch {
	case errors.Is(err, verify.ErrExpired):
		fmt.Println("refresh")
	case errors.Is(err, verify.ErrUnavailable):
		fmt.Println("try again later")
	case err != nil:
		fmt.Println("log in")
	}
	// Output: try again later
}

func ExampleClaims_Allows() {
	c := verify.Claims{Permissions: []string{"agents:*", "metrics:read"}}
	fmt.Println(c.Allows("agents:delete"), c.Allows("metrics:read"), c.Allows("metrics:write"))
	// Output: true true false
}

package verify_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"time"

	"github.com/tokenhouse/tokenhouse/tokens/verify"
)

// A resource server that filters everything by the caller's organisation.
func Example() {
	keys := &verify.RemoteKeys{URL: "https://auth.example.com/.well-known/jwks.json", Now: time.Now}
	v := &verify.Verifier{
		Issuer:   "https://auth.example.com",
		Audience: "https://auth.example.com",
		Keys:     keys,
		Now:      time.Now,
		Report:   func(_ context.Context, err error) { log.Print("refused: ", err) },
	}
	agents := func(w http.ResponseWriter, r *http.Request) {
		c, _ := verify.ClaimsFrom(r.Context())
		fmt.Fprintln(w, "the agents of", c.OrgID)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /agents", v.Middleware(verify.Require("agents:read", http.HandlerFunc(agents))))
}

// A verifier that refuses revoked tokens within a second, and refuses all
// tokens when it has heard nothing for ten.
func ExampleRemoteRevocations() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	keys := &verify.RemoteKeys{URL: "https://auth.example.com/.well-known/jwks.json", Now: time.Now}
	revoked := &verify.RemoteRevocations{
		URL: "https://auth.example.com/.well-known/revocations", Issuer: "https://auth.example.com", Keys: keys, Now: time.Now,
		MaxStaleness: 10 * time.Second,
		Report:       func(err error) { log.Print("revocations: ", err) },
	}
	go revoked.Run(ctx)
	_ = &verify.Verifier{
		Issuer: "https://auth.example.com", Audience: "https://auth.example.com", Keys: keys, Now: time.Now, Revoked: revoked,
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

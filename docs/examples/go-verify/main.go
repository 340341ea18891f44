// Command go-verify verifies a tokenhouse access token offline, with nothing of
// tokenhouse's own, and prints what the token says:
//
//	ISSUER=http://localhost:8080 go run ./docs/examples/go-verify <token.txt
//
// The token comes on standard input, because arguments are visible to every
// process of the machine. ISSUER is the issuer; AUDIENCE is
// the audience of this resource server, the issuer where it is not set.
//
// It shows how little a resource server needs. One that serves traffic wants
// package tokens/verify, which caches the keys, finds new ones, and refuses
// what was revoked.
package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// leeway is how far the clocks of issuer and verifier may differ.
const leeway = 30 * time.Second

func main() {
	issuer := cmp.Or(os.Getenv("ISSUER"), "http://localhost:8080")
	claims, err := run(os.Stdin, issuer, cmp.Or(os.Getenv("AUDIENCE"), issuer))
	if err != nil {
		fmt.Fprintln(os.Stderr, "refused:", err)
		os.Exit(1)
	}
	fmt.Println(claims)
}

func run(in io.Reader, issuer, audience string) (string, error) {
	token, err := io.ReadAll(io.LimitReader(in, 16<<10))
	if err != nil {
		return "", err
	}
	keys, err := fetch(issuer + "/.well-known/jwks.json")
	if err != nil {
		return "", err
	}
	return check(strings.TrimSpace(string(token)), keys, jwt.Expected{Issuer: issuer, AnyAudience: jwt.Audience{audience}, Time: time.Now()})
}

// fetch gets the issuer's public keys. A service keeps them as long as
// Cache-Control says.
func fetch(url string) (jose.JSONWebKeySet, error) {
	var keys jose.JSONWebKeySet
	client := http.Client{Timeout: 5 * time.Second}
	res, err := client.Get(url)
	if err != nil {
		return keys, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return keys, fmt.Errorf("%s answered %s", url, res.Status)
	}
	return keys, json.NewDecoder(io.LimitReader(res.Body, 256<<10)).Decode(&keys)
}

// check returns the claims of a good token as indented JSON.
func check(token string, keys jose.JSONWebKeySet, want jwt.Expected) (string, error) {
	// Only asymmetric algorithms: a public key must never be tried as a secret.
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.ES256, jose.ES384, jose.EdDSA, jose.PS256, jose.RS256})
	if err != nil {
		return "", errors.New("invalid token")
	}
	header := parsed.Headers[0]
	if header.ExtraHeaders[jose.HeaderType] != "at+jwt" { // RFC 9068 §4: an ID token is no access token
		return "", errors.New("invalid token: it is not an access token")
	}
	// The key decides on the algorithm, not the token (RFC 8725 §3.1).
	found := slices.IndexFunc(keys.Keys, func(k jose.JSONWebKey) bool { return k.KeyID == header.KeyID && k.Algorithm == header.Algorithm })
	if found < 0 {
		return "", errors.New("invalid token: it was signed by no key of the issuer")
	}
	var registered jwt.Claims
	all := map[string]any{}
	if err := parsed.Claims(keys.Keys[found].Key, &registered, &all); err != nil {
		return "", errors.New("invalid token")
	}
	if registered.Expiry == nil {
		return "", errors.New("invalid token: it never expires")
	}
	if err := registered.ValidateWithLeeway(want, leeway); errors.Is(err, jwt.ErrExpired) {
		return "", errors.New("token expired")
	} else if err != nil {
		return "", fmt.Errorf("invalid token: %w", err)
	}
	// Filter everything by org_id; never take an organisation from the request.
	if org, _ := all["org_id"].(string); org == "" {
		return "", errors.New("missing org_id claim")
	}
	text, err := json.MarshalIndent(all, "", "  ")
	return string(text), err
}

// Command go-cli is a program on somebody's own machine that acts for them: it
// opens the browser once, and keeps a refresh token afterwards (RFC 8252).
//
//	export ISSUER=http://localhost:8080 CLIENT_ID=cli_…
//	go run ./docs/examples/go-cli login
//	go run ./docs/examples/go-cli whoami
//	go run ./docs/examples/go-cli logout
//
// It is a public client: whatever is in a program that others have is no secret,
// so PKCE takes its place.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

func main() {
	if err := run(context.Background(), os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	house, err := oidc.NewProvider(ctx, os.Getenv("ISSUER"))
	if err != nil {
		return err
	}
	endpoint := house.Endpoint()
	endpoint.AuthStyle = oauth2.AuthStyleInParams // a public client has nothing but its id
	c := &client{house: house, out: out, conf: oauth2.Config{
		ClientID: os.Getenv("CLIENT_ID"), Endpoint: endpoint, Scopes: []string{oidc.ScopeOpenID, "profile", "email", oidc.ScopeOfflineAccess},
	}}
	commands := map[string]func(context.Context) error{"login": c.login, "whoami": c.whoami, "logout": c.logout}
	if len(args) != 1 || commands[args[0]] == nil {
		return errors.New("usage: go-cli login|whoami|logout")
	}
	return commands[args[0]](ctx)
}

type client struct {
	house *oidc.Provider
	conf  oauth2.Config
	out   io.Writer
}

// login sends the person to the browser, and waits for the answer on a port
// that the system chooses: where a client is registered with
// http://127.0.0.1/callback, every port of that address will do (RFC 8252 §7.3).
func (c *client) login(ctx context.Context) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer func() { _ = l.Close() }()
	c.conf.RedirectURL = "http://" + l.Addr().String() + "/callback"
	verifier, state, nonce := oauth2.GenerateVerifier(), oauth2.GenerateVerifier(), oauth2.GenerateVerifier()
	fmt.Fprintf(c.out, "Open this address in your browser:\n%s\n", c.conf.AuthCodeURL(state, oauth2.S256ChallengeOption(verifier), oidc.Nonce(nonce)))

	answer, err := waitForAnswer(l)
	if err != nil {
		return err
	}
	switch {
	case answer.Get("state") != state, answer.Get("iss") != os.Getenv("ISSUER"): // RFC 9207 §2.4
		return errors.New("the answer belongs to another login")
	case answer.Get("error") != "":
		return errors.New(answer.Get("error"))
	}
	token, err := c.conf.Exchange(ctx, answer.Get("code"), oauth2.VerifierOption(verifier))
	if err != nil {
		return err
	}
	raw, _ := token.Extra("id_token").(string)
	id, err := c.house.Verifier(&oidc.Config{ClientID: c.conf.ClientID}).Verify(ctx, raw)
	if err != nil {
		return err
	}
	if id.Nonce != nonce {
		return errors.New("the ID token belongs to another login")
	}
	fmt.Fprintln(c.out, "Signed in.")
	return save(token)
}

// waitForAnswer serves the one request that the browser comes back with.
func waitForAnswer(l net.Listener) (url.Values, error) {
	answers := make(chan url.Values)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /callback", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprint(w, `<p id="done">You may close this page and go back to the terminal.</p>`)
		w.(http.Flusher).Flush()
		answers <- r.URL.Query()
	})
	failed := make(chan error, 1)
	go func() { failed <- http.Serve(l, mux) }()
	select {
	case a := <-answers:
		return a, nil
	case err := <-failed:
		return nil, err
	}
}

// whoami calls an API for the person; the library refreshes the access token
// where it has expired.
func (c *client) whoami(ctx context.Context) error {
	token, err := load()
	if err != nil {
		return err
	}
	source := c.conf.TokenSource(ctx, token)
	fresh, err := source.Token()
	if err != nil {
		return err
	}
	if err := save(fresh); err != nil { // each refresh brings a new refresh token
		return err
	}
	person, err := c.house.UserInfo(ctx, source)
	if err != nil {
		return err
	}
	fmt.Fprintln(c.out, person.Email)
	return nil
}

// logout ends the session at tokenhouse, not only here (RFC 7009).
func (c *client) logout(ctx context.Context) error {
	token, err := load()
	if err != nil {
		return err
	}
	var meta struct {
		Revocation string `json:"revocation_endpoint"`
	}
	if err := c.house.Claims(&meta); err != nil {
		return err
	}
	form := url.Values{"client_id": {c.conf.ClientID}, "token": {token.RefreshToken}}
	res, err := http.PostForm(meta.Revocation, form)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("revoke: %s", res.Status)
	}
	fmt.Fprintln(c.out, "Signed out.")
	return os.Remove(file())
}

// file is where the tokens are, for this person alone.
func file() string {
	dir, err := os.UserConfigDir()
	if err != nil {
		dir = "."
	}
	return filepath.Join(dir, "go-cli", "token.json")
}

func save(t *oauth2.Token) error {
	text, err := json.Marshal(t)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file()), 0o700); err != nil {
		return err
	}
	return os.WriteFile(file(), text, 0o600)
}

func load() (*oauth2.Token, error) {
	text, err := os.ReadFile(file())
	if err != nil {
		return nil, errors.New("nobody is signed in; run go-cli login")
	}
	var t oauth2.Token
	return &t, json.Unmarshal(text, &t)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/tokenhouse/tokenhouse/tokens/verify"
)

func (v *visit) find(ctx context.Context) (string, error) {
	a, err := v.ask(ctx, request{method: http.MethodGet, path: "/.well-known/oauth-authorization-server"}, http.StatusOK)
	if err != nil {
		return "", err
	}
	v.issuer = a.text("issuer")
	if v.issuer != v.base {
		return "", fmt.Errorf("the server at %s calls itself %q: its tokens name that issuer", v.base, v.issuer)
	}
	if v.audience == "" {
		v.audience = v.issuer
	}
	return "the issuer is " + v.issuer, nil
}

func (v *visit) register(ctx context.Context) (string, error) {
	_, err := v.ask(ctx, request{method: http.MethodPost, path: "/api/v1/auth/register", body: map[string]string{
		"email": v.email, "password": v.password, "name": "Visitor", "organization_name": "Visitors",
	}}, http.StatusCreated)
	if err != nil {
		return "", fmt.Errorf("%w; where registration is off, say --email", err)
	}
	return "anybody may; a known address gets the very same answer", nil
}

func (v *visit) login(ctx context.Context) (string, error) {
	a, err := v.ask(ctx, request{method: http.MethodPost, path: "/api/v1/auth/login", body: map[string]string{"email": v.email, "password": v.password}}, http.StatusOK)
	if err != nil {
		return "", err
	}
	v.access, v.refresh = a.text("access_token"), []string{a.text("refresh_token")}
	if v.access == "" || v.refresh[0] == "" || a.text("token_type") != "bearer" {
		return "", errors.New("the reply has not both tokens")
	}
	return "a short access token, and a refresh token for longer", nil
}

func (v *visit) verifier() *verify.Verifier {
	return &verify.Verifier{
		Issuer: v.issuer, Audience: v.audience, Now: v.now,
		Keys: &verify.RemoteKeys{URL: v.base + "/.well-known/jwks.json", Client: v.http, Now: v.now},
	}
}

func (v *visit) verifyOffline(ctx context.Context) (string, error) {
	c, err := v.verifier().Verify(ctx, v.access)
	if err != nil {
		return "", fmt.Errorf("the published keys do not verify the token: %w", err)
	}
	v.claims = c
	return fmt.Sprintf("by the published keys alone: %s of %s, %d permissions, until %s",
		c.Subject, c.OrgID, len(c.Permissions), c.ExpiresAt.UTC().Format(time.TimeOnly)), nil
}

func (v *visit) tamper(ctx context.Context) (string, error) {
	head, rest, _ := strings.Cut(v.access, ".")
	payload, signature, _ := strings.Cut(rest, ".")
	flipped := []byte(payload)
	if flipped[20]++; flipped[20] > 'y' || flipped[20] < 'B' {
		flipped[20] = 'B'
	}
	forged := head + "." + string(flipped) + "." + signature
	if _, err := v.verifier().Verify(ctx, forged); !errors.Is(err, verify.ErrInvalid) {
		return "", fmt.Errorf("a changed token was not refused as invalid but: %w", err)
	}
	_, err := v.ask(ctx, request{method: http.MethodGet, path: "/api/v1/me", headers: bearerOf(forged)}, http.StatusUnauthorized)
	return "one changed letter, and neither the library nor the server takes it", err
}

func bearerOf(token string) map[string]string {
	return map[string]string{"Authorization": "Bearer " + token}
}

// present presents the nth refresh token of this login from some program. A
// program that was not seen before makes the server rotate at once; the same
// one would get the same token again for a while.
func (v *visit) present(ctx context.Context, n int, program string, status int) (answer, error) {
	return v.ask(ctx, request{
		method: http.MethodPost, path: "/api/v1/auth/refresh", body: map[string]string{"refresh_token": v.refresh[n]},
		headers: map[string]string{"User-Agent": "tokenhouse-quickstart " + program},
	}, status)
}

func (v *visit) renew(ctx context.Context) (string, error) {
	for i, program := range []string{"(first renewal)", "(second renewal)"} {
		a, err := v.present(ctx, i, program, http.StatusOK)
		if err != nil {
			return "", err
		}
		next := a.text("refresh_token")
		if next == "" || next == v.refresh[i] {
			return "", errors.New("the refresh token was not replaced")
		}
		v.refresh = append(v.refresh, next)
		v.access = a.text("access_token")
	}
	c, err := v.verifier().Verify(ctx, v.access)
	switch {
	case err != nil:
		return "", err
	case c.ID == v.claims.ID || c.SessionID != v.claims.SessionID:
		return "", errors.New("the fresh token is not another one of the same session")
	}
	return "a fresh access token of the same session, twice, and a new refresh token each time", nil
}

func (v *visit) theft(ctx context.Context) (string, error) {
	stolen, err := v.present(ctx, 0, "(a thief)", http.StatusUnauthorized)
	if err != nil {
		return "", fmt.Errorf("a refresh token that was replaced twice, from a strange program: %w", err)
	}
	if reason := stolen.text("reason"); reason != "reuse_detected" {
		return "", fmt.Errorf("the reason is %q instead of reuse_detected", reason)
	}
	if _, err := v.present(ctx, len(v.refresh)-1, "(second renewal)", http.StatusUnauthorized); err != nil {
		return "", fmt.Errorf("the newest refresh token should have died with the session: %w", err)
	}
	if _, err := v.ask(ctx, request{method: http.MethodGet, path: "/api/v1/me", headers: bearerOf(v.access)}, http.StatusUnauthorized); err != nil {
		return "", fmt.Errorf("the access token should have died with the session: %w", err)
	}
	return "an old refresh token turned up elsewhere: the whole session ended at once", nil
}

func (v *visit) createKey(ctx context.Context) (string, error) {
	a, err := v.ask(ctx, request{
		method: http.MethodPost, path: "/api/v1/api-keys", headers: bearerOf(v.access),
		body: map[string]any{"name": "quickstart", "permissions": []string{"api-keys:read"}},
	}, http.StatusCreated)
	if err != nil {
		return "", err
	}
	v.keyID, v.key = a.text("id"), a.text("api_key")
	if v.key == "" {
		return "", errors.New("the reply has no api_key")
	}
	return v.keyID + ", shown once, for api-keys:read only", nil
}

func (v *visit) useKey(ctx context.Context) (string, error) {
	key := map[string]string{"X-API-Key": v.key}
	list, err := v.ask(ctx, request{method: http.MethodGet, path: "/api/v1/api-keys", headers: key}, http.StatusOK)
	if err != nil {
		return "", err
	}
	if strings.Contains(string(list.body), v.key) {
		return "", errors.New("the list of API keys shows the key itself")
	}
	_, err = v.ask(ctx, request{method: http.MethodGet, path: "/api/v1/users", headers: key}, http.StatusForbidden)
	return "it reads API keys, is not in the list itself, and may do nothing else", err
}

func (v *visit) revokeKey(ctx context.Context) (string, error) {
	if _, err := v.ask(ctx, request{method: http.MethodDelete, path: "/api/v1/api-keys/" + v.keyID, headers: bearerOf(v.access)}, http.StatusNoContent); err != nil {
		return "", err
	}
	_, err := v.ask(ctx, request{method: http.MethodGet, path: "/api/v1/api-keys", headers: map[string]string{"X-API-Key": v.key}}, http.StatusUnauthorized)
	return "its very next use is refused", err
}

func (v *visit) logout(ctx context.Context) (string, error) {
	if _, err := v.ask(ctx, request{method: http.MethodPost, path: "/api/v1/auth/logout", headers: bearerOf(v.access)}, http.StatusNoContent); err != nil {
		return "", err
	}
	if _, err := v.ask(ctx, request{method: http.MethodGet, path: "/api/v1/me", headers: bearerOf(v.access)}, http.StatusUnauthorized); err != nil {
		return "", err
	}
	_, err := v.present(ctx, 0, "", http.StatusUnauthorized)
	return "neither token is good for anything any more", err
}

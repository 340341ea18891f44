package oauth

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/ident"
)

const (
	// LogoutTokenType is the typ header of a logout token (OpenID Connect
	// Back-Channel Logout 1.0 §2.4). No other token has it, and a logout token
	// is taken for no other.
	LogoutTokenType = "logout+jwt"
	// logoutEvent is the one member of its events claim (ibid.).
	logoutEvent = "http://schemas.openid.net/event/backchannel-logout"
	// logoutTokenTTL is how long one may be accepted (ibid. §4: short).
	logoutTokenTTL = 2 * time.Minute
)

// LogoutTokens makes logout tokens. Every field is required.
type LogoutTokens struct {
	Signer   AlgorithmSigner
	Subjects *Subjects
	Issuer   string
}

// logoutClaims is the payload of a logout token. There is no nonce, so that it
// is no ID token (OpenID Connect Back-Channel Logout 1.0 §2.4).
type logoutClaims struct {
	Issuer    string              `json:"iss"`
	Subject   string              `json:"sub"`
	Audience  ident.ClientID      `json:"aud"`
	IssuedAt  int64               `json:"iat"`
	ExpiresAt int64               `json:"exp"`
	ID        string              `json:"jti"`
	Session   ident.SessionID     `json:"sid"`
	Events    map[string]struct{} `json:"events"`
}

// Mint returns the logout token that tells the client r of p at now. However
// often it is made, its jti stays: who was told twice can see it. It writes
// nothing; it fails only where signing does.
func (t *LogoutTokens) Mint(ctx context.Context, r Registered, p PendingLogout, now time.Time) (string, error) {
	payload, err := json.Marshal(logoutClaims{
		Issuer: t.Issuer, Subject: t.Subjects.Sub(r, p.User), Audience: r.ID, IssuedAt: now.Unix(), ExpiresAt: now.Add(logoutTokenTTL).Unix(),
		ID: logoutTokenID(p.Session), Session: p.Session, Events: map[string]struct{}{logoutEvent: {}},
	})
	if err != nil {
		return "", fmt.Errorf("encode a logout token: %w", err)
	}
	token, err := t.Signer.SignWith(ctx, cmp.Or(r.Settings.Signing.IDToken, DefaultIDTokenAlgorithm), payload, LogoutTokenType)
	if err != nil {
		return "", fmt.Errorf("sign a logout token: %w", err)
	}
	return token, nil
}

// logoutTokenID is one for each session, which ends once.
func logoutTokenID(session ident.SessionID) string {
	sum := sha256.Sum256([]byte(LogoutTokenType + "|" + string(session)))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

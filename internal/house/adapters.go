package house

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
	"github.com/tokenhouse/tokenhouse/keys/sealing"
	"github.com/tokenhouse/tokenhouse/keys/signing"
	"github.com/tokenhouse/tokenhouse/metrics"
	"github.com/tokenhouse/tokenhouse/tokens"
	"github.com/tokenhouse/tokenhouse/tokens/verify"
)

// owners tells API keys what their owners may do: accounts and apikeys do not
// know each other.
type owners struct{ directory *accounts.Directory }

func (o owners) Standing(ctx context.Context, user ident.UserID, org ident.OrgID) (apikeys.Standing, error) {
	s, err := o.directory.Standing(ctx, user, org)
	return apikeys.Standing{Active: s.Active, Email: s.Email, Permissions: s.Permissions}, err
}

// purpose is the deployment's secrets for one purpose.
type purpose struct {
	secrets *sealing.Secrets
	name    sealing.Purpose
}

func (p purpose) Current() (id uint8, key []byte)     { return p.secrets.Current(p.name) }
func (p purpose) ByID(id uint8) (key []byte, ok bool) { return p.secrets.ByID(p.name, id) }

// statusKey is the key of the indexes of status lists, which is never replaced.
func (h *House) statusKey() []byte {
	_, key := h.parts.secrets.Current(sealing.StatusIndex)
	return key
}

// revokedTokens tells a verifier which access tokens were revoked, those of a
// revoked signing key among them: who reads the JWK Set keeps it for minutes.
type revokedTokens struct {
	sessions *tokens.Service
	ring     *signing.Ring
}

func (r revokedTokens) Revoked(ctx context.Context, c verify.Claims) (bool, error) {
	if _, known, err := r.ring.Find(ctx, c.Bound.SignedBy); err != nil || !known {
		return err == nil, err
	}
	err := r.sessions.Check(ctx, tokens.AccessID{
		Token: ident.TokenID(c.ID), Session: ident.SessionID(c.SessionID), Key: ident.APIKeyID(c.Bound.KeyID), User: ident.UserID(c.Subject), IssuedAt: c.IssuedAt,
	})
	if errors.Is(err, fault.InvalidToken) {
		return true, nil
	}
	return false, err
}

// signingKeys is what the metrics show of the ring, from memory.
func (h *House) signingKeys() []metrics.SigningKey {
	now := h.env.Now()
	var out []metrics.SigningKey
	for _, k := range h.Ring.Loaded() {
		out = append(out, metrics.SigningKey{Algorithm: k.Algorithm, State: string(k.State), Age: now.Sub(k.CreatedAt)})
	}
	return out
}

// moment is what the metrics show of the passing of time, from memory.
func (h *House) moment() metrics.Moment {
	m := metrics.Moment{
		FeedSilence: h.Feed.Silence(), SinceCleanup: h.env.Now().Sub(time.UnixMicro(h.state.cleaned.Load())),
		SigningKeyLifetime: h.conf.Tokens.SigningKeyLife,
	}
	if h.parts.hasher != nil {
		m.HashSlots = h.parts.hasher.Capacity()
	}
	return m
}

// explicit makes a chosen 0 tell from one that was left out: services take a
// default for zero and none for less.
func explicit(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}

// describe names a database without what is secret in its URL.
func describe(databaseURL string) string {
	scheme, rest, _ := strings.Cut(databaseURL, "://")
	if scheme == "sqlite" {
		return "SQLite in " + rest
	}
	u, err := url.Parse(databaseURL)
	if err != nil {
		return "PostgreSQL"
	}
	return "PostgreSQL at " + u.Host + u.Path
}

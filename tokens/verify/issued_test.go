package verify_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenhouse/tokenhouse/tokens/verify"
)

// An issuer is asked about its tokens for others too (RFC 7662 §2.2); all else
// is judged as ever.
func TestIssuedLeavesOutTheAudienceOnly(t *testing.T) {
	i := newIssuer(t)
	now := noon
	v := i.verifier()
	v.Now = func() time.Time { return now }
	foreign := i.sign(i.header(), i.payload(claim{"aud", "https://other.example.com"}))
	refused(t, v, foreign, verify.ErrInvalid)
	if c, err := v.Issued(t.Context(), foreign); err != nil || c.Audience[0] != "https://other.example.com" {
		t.Errorf("Issued = %+v, %v", c, err)
	}
	for name, token := range map[string]string{
		"another issuer": i.sign(i.header(), i.payload(claim{"iss", "https://evil.example.com"})),
		"an ID token":    i.sign(i.header(claim{"typ", "JWT"}), i.payload()),
		"no sub":         i.sign(i.header(), i.payload(claim{"sub", nil})),
		"no signature":   foreign[:len(foreign)-8],
	} {
		if c, err := v.Issued(t.Context(), token); !errors.Is(err, verify.ErrInvalid) || c.Subject != "" {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
	now = noon.Add(2 * time.Hour)
	if _, err := v.Issued(t.Context(), foreign); !errors.Is(err, verify.ErrExpired) {
		t.Errorf("once it has expired: %v", err)
	}
	now = noon
	v.Revoked = verify.RevokedFunc(func(context.Context, verify.Claims) (bool, error) { return true, nil })
	if _, err := v.Issued(t.Context(), foreign); !errors.Is(err, verify.ErrRevoked) {
		t.Errorf("once it was revoked: %v", err)
	}
}

func TestAFinderMayNotBeAbleToTell(t *testing.T) {
	i := newIssuer(t)
	v := i.verifier()
	token := i.token()
	var known bool
	var failure error
	v.Keys = verify.Finder(func(_ context.Context, kid string) (jose.JSONWebKey, bool, error) {
		k, ok := i.lookup(kid)
		return k, ok && known, failure
	})
	refused(t, v, token, verify.ErrInvalid)
	failure = errors.New("the database is away")
	refused(t, v, token, verify.ErrUnavailable)
	known, failure = true, nil
	accepted(t, v, token)
}

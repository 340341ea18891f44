package tokens_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
	"github.com/tokenhouse/tokenhouse/tokens"
	"github.com/tokenhouse/tokenhouse/tokens/verify"
)

const accessIssuer = "http://localhost:8080"

// aKey signs as the ring does, with one key.
type aKey struct {
	private *ecdsa.PrivateKey
	fail    error
	signed  int
}

func newAKey(t testing.TB) *aKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &aKey{private: k}
}

func (k *aKey) Sign(_ context.Context, payload []byte, typ string) (string, error) {
	k.signed++
	if k.fail != nil {
		return "", k.fail
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: k.private, KeyID: "kid-1"}}, (&jose.SignerOptions{}).WithType(jose.ContentType(typ)))
	if err != nil {
		return "", err
	}
	jws, err := s.Sign(payload)
	if err != nil {
		return "", err
	}
	return jws.CompactSerialize()
}

func (k *aKey) public(kid string) (jose.JSONWebKey, bool) {
	return jose.JSONWebKey{Key: &k.private.PublicKey, KeyID: "kid-1", Algorithm: "ES256", Use: "sig"}, kid == "kid-1"
}

var accessNow = time.Date(2026, 6, 12, 10, 0, 0, 999_000_000, time.UTC)

func newMinter(k *aKey) *tokens.Minter {
	return &tokens.Minter{Signer: k, Issuer: accessIssuer, Audience: "api", Now: func() time.Time { return accessNow }, Random: rand.Reader}
}

func verifierOf(k *aKey) *verify.Verifier {
	return &verify.Verifier{Issuer: accessIssuer, Audience: "api", Keys: verify.Lookup(k.public), Now: func() time.Time { return accessNow }}
}

var fullGrant = tokens.AccessGrant{
	User: "user_1", Org: "org_1", Session: "sess_1", Client: "cli_1", Roles: []string{"engineer"},
	Permissions: scope.Of("agents:read", "incidents:read"), TTL: time.Hour,
}

func mint(t *testing.T, m *tokens.Minter, g tokens.AccessGrant) tokens.Access {
	t.Helper()
	a, err := m.Mint(t.Context(), g)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// O13: a readable JWT (RFC 9068).
func TestO13AnAccessTokenIsAReadableJWT(t *testing.T) {
	k := newAKey(t)
	a := mint(t, newMinter(k), fullGrant)
	jws, err := jose.ParseSignedCompact(a.Token.Reveal(), []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	public, _ := k.public("kid-1")
	payload, err := jws.Verify(public)
	if err != nil {
		t.Fatal(err)
	}
	h := jws.Signatures[0].Protected
	if h.Algorithm != "ES256" || h.KeyID != "kid-1" || h.ExtraHeaders[jose.HeaderType] != "at+jwt" {
		t.Errorf("header %+v", h)
	}
	var got map[string]any
	d := json.NewDecoder(bytes.NewReader(payload))
	d.UseNumber()
	if err := d.Decode(&got); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"iss": `"http://localhost:8080"`, "sub": `"user_1"`, "aud": `"api"`, "iat": "1781258400", "nbf": "1781258400", "exp": "1781262000",
		"jti": `"` + string(a.ID) + `"`, "sid": `"sess_1"`, "org_id": `"org_1"`, "roles": `["engineer"]`,
		"permissions": `["agents:read","incidents:read"]`, "client_id": `"cli_1"`, "scope": `"agents:read incidents:read"`,
	}
	for name, w := range want {
		if b, _ := json.Marshal(got[name]); string(b) != w {
			t.Errorf("%s is %s, want %s", name, b, w)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d claims, want %d: %s", len(got), len(want), payload)
	}
}

func TestWhatIsMintedVerifies(t *testing.T) {
	k := newAKey(t)
	a := mint(t, newMinter(k), fullGrant)
	c, err := verifierOf(k).Verify(t.Context(), a.Token.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	if c.ID != string(a.ID) || !c.IssuedAt.Equal(a.IssuedAt) || !c.ExpiresAt.Equal(a.ExpiresAt) || c.Subject != "user_1" || c.OrgID != "org_1" || c.SessionID != "sess_1" {
		t.Errorf("claims %+v of %+v", c, a)
	}
	if !slices.Equal(c.Permissions, []string{"agents:read", "incidents:read"}) || !slices.Equal(c.Roles, []string{"engineer"}) {
		t.Errorf("rights %+v", c)
	}
}

// SEC-JWT-16: a token may name several resource servers; each accepts it that
// is among them, and no other. One is a string, several are a list.
func TestATokenForSeveralResourceServers(t *testing.T) {
	k := newAKey(t)
	for _, tt := range []struct {
		audience []string
		written  string
		accepts  bool
	}{
		{nil, `"api"`, true},
		{[]string{"api"}, `"api"`, true},
		{[]string{"https://files.example.com", "api"}, `["https://files.example.com","api"]`, true},
		{[]string{"https://files.example.com"}, `"https://files.example.com"`, false},
		{[]string{"https://files.example.com", "https://mail.example.com"}, `["https://files.example.com","https://mail.example.com"]`, false},
	} {
		g := fullGrant
		g.Audience, g.Scope = tt.audience, "openid agents:read"
		a := mint(t, newMinter(k), g)
		payload, err := base64.RawURLEncoding.DecodeString(strings.Split(a.Token.Reveal(), ".")[1])
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			Audience json.RawMessage `json:"aud"`
		}
		if err := json.Unmarshal(payload, &got); err != nil || string(got.Audience) != tt.written {
			t.Errorf("aud is %s, %v; want %s", got.Audience, err, tt.written)
		}
		c, err := verifierOf(k).Verify(t.Context(), a.Token.Reveal())
		if (err == nil) != tt.accepts {
			t.Errorf("%v: %v", tt.audience, err)
		}
		if err == nil && (c.Scope != "openid agents:read" || !slices.Equal(c.Permissions, []string{"agents:read", "incidents:read"})) {
			t.Errorf("scope %q, permissions %v", c.Scope, c.Permissions)
		}
	}
}

// K5, O8: exp - iat is the lifetime, in whole seconds, whatever the clock says.
func TestTheLifetimeIsExact(t *testing.T) {
	for _, ttl := range []time.Duration{time.Second, time.Hour, 24 * time.Hour} {
		g := fullGrant
		g.TTL = ttl
		a := mint(t, newMinter(newAKey(t)), g)
		if a.ExpiresAt.Sub(a.IssuedAt) != ttl || a.IssuedAt.Nanosecond() != 0 || a.ExpiresAt.Location() != time.UTC {
			t.Errorf("%v: %v to %v", ttl, a.IssuedAt, a.ExpiresAt)
		}
	}
}

func TestEmptyListsAreLists(t *testing.T) {
	k := newAKey(t)
	a := mint(t, newMinter(k), tokens.AccessGrant{User: "user_1", Org: "org_1", TTL: time.Hour})
	c, err := verifierOf(k).Verify(t.Context(), a.Token.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"roles":[]`, `"permissions":[]`, `"scope":""`} {
		if !strings.Contains(string(c.Raw), want) {
			t.Errorf("%s is not in %s", want, c.Raw)
		}
	}
	if strings.Contains(string(c.Raw), `"sid"`) {
		t.Errorf("an empty session is told: %s", c.Raw)
	}
}

// SEC-JWT-36: nothing that people name can become a claim.
func TestReservedClaimsCannotBeOverridden(t *testing.T) {
	k := newAKey(t)
	evil := `x","iss":"https://evil.example.com","org_id":"org_2","exp":99999999999,"a":"`
	a := mint(t, newMinter(k), tokens.AccessGrant{
		User: ident.UserID(evil), Org: "org_1", Session: ident.SessionID(evil), Client: ident.ClientID(evil), Roles: []string{evil},
		Permissions: scope.Set{scope.Permission(evil)}, TTL: time.Hour,
	})
	c, err := verifierOf(k).Verify(t.Context(), a.Token.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	if c.Issuer != accessIssuer || c.OrgID != "org_1" || !c.ExpiresAt.Equal(a.ExpiresAt) || c.Subject != evil || c.ClientID != evil || c.Roles[0] != evil {
		t.Errorf("claims %s", c.Raw)
	}
}

// A user whose old tokens were all revoked gets one that is not among them.
func TestAFreshTokenSurvivesTheCutoffBeforeIt(t *testing.T) {
	k := newAKey(t)
	for name, c := range map[string]struct {
		cutoff time.Time
		shift  int64
	}{
		"in the same second, before":  {accessNow.Add(-500 * time.Millisecond), 1},
		"in the same second, after":   {accessNow.Truncate(time.Second).Add(999_999 * time.Microsecond), 1},
		"at the start of this second": {accessNow.Truncate(time.Second), 1},
		"a second ago":                {accessNow.Add(-time.Second), 0},
		"long ago":                    {accessNow.Add(-time.Hour), 0},
		"by a clock ahead of ours":    {accessNow.Add(2 * time.Second), 3},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMinter(k)
			m.Cutoff = func(u ident.UserID) (time.Time, bool) { return c.cutoff, u == "user_1" }
			a := mint(t, m, fullGrant)
			if got := a.IssuedAt.Unix() - accessNow.Unix(); got != c.shift {
				t.Errorf("iat is %d s from now, want %d", got, c.shift)
			}
			if !a.IssuedAt.After(c.cutoff) {
				t.Error("the token is as old as the cutoff")
			}
			if a.ExpiresAt.Sub(a.IssuedAt) != time.Hour {
				t.Error("the lifetime changed")
			}
			got, err := verifierOf(k).Verify(t.Context(), a.Token.Reveal())
			if err != nil {
				t.Fatalf("it cannot be used at once: %v", err)
			}
			if got.NotBefore.Unix() != accessNow.Unix() {
				t.Errorf("nbf moved to %v", got.NotBefore)
			}
			other := fullGrant
			other.User = "user_2"
			if b := mint(t, m, other); b.IssuedAt.Unix() != accessNow.Unix() {
				t.Error("another user's cutoff counted")
			}
		})
	}
}

func TestTokensAreDistinct(t *testing.T) {
	k := newAKey(t)
	m := newMinter(k)
	a, b := mint(t, m, fullGrant), mint(t, m, fullGrant)
	if a.ID == b.ID || a.Token.Reveal() == b.Token.Reveal() {
		t.Error("two tokens are one")
	}
	if s := a.Token.String(); strings.Contains(s, "ey") {
		t.Errorf("a token prints as %s", s)
	}
}

func TestMintingFailsWithItsSigner(t *testing.T) {
	k := newAKey(t)
	k.fail = fault.Unavailable
	if a, err := newMinter(k).Mint(t.Context(), fullGrant); !errors.Is(err, fault.Unavailable) || !a.Token.IsZero() {
		t.Errorf("got %+v %v", a, err)
	}
	k.fail = nil
	g := fullGrant
	g.TTL = time.Second - 1
	if _, err := newMinter(k).Mint(t.Context(), g); err == nil {
		t.Error("a token without a lifetime was minted")
	}
}

func BenchmarkMint(b *testing.B) {
	k := newAKey(b)
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: k.private, KeyID: "kid-1"}}, (&jose.SignerOptions{}).WithType("at+jwt"))
	if err != nil {
		b.Fatal(err)
	}
	m := newMinter(k)
	m.Signer = prepared{s}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.Mint(b.Context(), fullGrant); err != nil {
			b.Fatal(err)
		}
	}
}

type prepared struct{ s jose.Signer }

func (p prepared) Sign(_ context.Context, payload []byte, _ string) (string, error) {
	jws, err := p.s.Sign(payload)
	if err != nil {
		return "", err
	}
	return jws.CompactSerialize()
}

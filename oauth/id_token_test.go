package oauth_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/keys/sealing"
	"github.com/tokenhouse/tokenhouse/keys/signing"
	"github.com/tokenhouse/tokenhouse/oauth"
	"github.com/tokenhouse/tokenhouse/storage/gormstore"
	"github.com/tokenhouse/tokenhouse/storage/migrated"
)

// idTokens mints with a real ring that has every algorithm.
func idTokens(t *testing.T) (*oauth.IDTokens, *signing.Ring) {
	t.Helper()
	db, err := gormstore.OpenSQLite(migrated.SQLite(t), gormstore.Options{Random: rand.Reader, OnCommit: func([]audit.Event, []changes.Change) {}})
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	must(t, db.Migrate(t.Context()))
	keeper, err := sealing.NewLocal(bytes.Repeat([]byte{5}, 32))
	must(t, err)
	ring := &signing.Ring{
		Store: db.SigningKeys(), Keeper: keeper, Now: newClock().now, Random: rand.Reader,
		Algorithms: []string{"ES256", "RS256", "PS256", "EdDSA", "ES384"},
	}
	must(t, ring.Load(t.Context()))
	return &oauth.IDTokens{Signer: ring, Subjects: subjectsOf(1), Issuer: "https://id.example"}, ring
}

func subjectsOf(seed byte) *oauth.Subjects {
	return &oauth.Subjects{Key: bytes.Repeat([]byte{seed}, 32)}
}

// minted is an ID token whose signature held under the published key.
func minted(t *testing.T, m *oauth.IDTokens, ring *signing.Ring, g oauth.IDGrant) (jose.Header, map[string]any) {
	t.Helper()
	token, err := m.Mint(t.Context(), g)
	must(t, err)
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256, jose.RS256, jose.PS256, jose.EdDSA, jose.ES384})
	must(t, err)
	var set jose.JSONWebKeySet
	must(t, json.Unmarshal(ring.JWKS().Body, &set))
	h := jws.Signatures[0].Protected
	keys := set.Key(h.KeyID)
	if len(keys) != 1 || keys[0].Algorithm != h.Algorithm {
		t.Fatalf("%d keys of %s", len(keys), h.KeyID)
	}
	payload, err := jws.Verify(keys[0])
	must(t, err)
	var claims map[string]any
	must(t, json.Unmarshal(payload, &claims))
	return h, claims
}

func idGrant() oauth.IDGrant {
	return oauth.IDGrant{
		Client:  oauth.Registered{ID: "cli_1", RedirectURIs: []string{"https://app.example/callback"}},
		User:    oauth.Person{ID: "user_1", Email: "ada@example.com", Name: "Ada"},
		Session: "sess_1", Access: secret.Of("an.access.token"), IssuedAt: time.Unix(1_800_000_000, 0), First: true,
		Authorization: oauth.Authorization{
			Scopes: oauth.Scopes{"openid", "profile", "email"}, Nonce: "n-1",
			Authenticated: oauth.Authentication{Time: 1_799_999_000, Methods: []string{"pwd"}, ACR: oauth.ACRPassword},
		},
	}
}

// oidcc-idtoken-signature: RS256 where the client chose nothing (OpenID Connect
// Registration 1.0 §2), else what it chose; at_hash by the same hash function.
func TestIDTokensAreSignedAsTheClientChose(t *testing.T) {
	m, ring := idTokens(t)
	half := func(sum []byte) string { return base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2]) }
	d256, d384, d512 := sha256.Sum256([]byte("an.access.token")), sha512.Sum384([]byte("an.access.token")), sha512.Sum512([]byte("an.access.token"))
	for chosen, want := range map[string]struct{ alg, hash string }{
		"": {"RS256", half(d256[:])}, "RS256": {"RS256", half(d256[:])}, "ES256": {"ES256", half(d256[:])}, "PS256": {"PS256", half(d256[:])},
		"ES384": {"ES384", half(d384[:])}, "EdDSA": {"EdDSA", half(d512[:])},
	} {
		g := idGrant()
		g.Client.Settings.Signing.IDToken = chosen
		h, claims := minted(t, m, ring, g)
		if h.Algorithm != want.alg || h.ExtraHeaders["typ"] != "JWT" || claims["at_hash"] != want.hash {
			t.Errorf("%q: %s %v, at_hash %v; want %+v", chosen, h.Algorithm, h.ExtraHeaders["typ"], claims["at_hash"], want)
		}
	}
	for _, never := range []string{"none", "HS256", "RS512"} {
		g := idGrant()
		g.Client.Settings.Signing.IDToken = never
		if token, err := m.Mint(t.Context(), g); err == nil {
			t.Errorf("signed with %s: %s", never, token)
		}
	}
}

func TestWhatAnIDTokenSays(t *testing.T) {
	m, ring := idTokens(t)
	_, claims := minted(t, m, ring, idGrant())
	want := map[string]any{
		"iss": "https://id.example", "sub": "user_1", "aud": "cli_1", "sid": "sess_1", "nonce": "n-1", "iat": 1_800_000_000.0, "exp": 1_800_003_600.0,
		"auth_time": 1_799_999_000.0, "acr": "urn:tokenhouse:acr:password",
		// What the scopes profile and email ask for.
		"name": "Ada", "preferred_username": "ada@example.com", "email": "ada@example.com", "email_verified": false,
	}
	for name, v := range want {
		if claims[name] != v {
			t.Errorf("%s is %v; want %v", name, claims[name], v)
		}
	}
	if amr, _ := json.Marshal(claims["amr"]); string(amr) != `["pwd"]` {
		t.Errorf("amr is %s", amr)
	}
	if len(claims) != len(want)+2 { // amr and at_hash
		t.Errorf("claims %v", claims)
	}
	// OpenID Connect Core 1.0 §12.2: a refresh repeats no nonce.
	later := idGrant()
	later.First = false
	if _, claims := minted(t, m, ring, later); claims["nonce"] != nil || claims["auth_time"] != 1_799_999_000.0 {
		t.Errorf("after a refresh: %v", claims)
	}
	// OpenID Connect Core 1.0 §5.5: claims that are asked for by name.
	asked := idGrant()
	asked.Authorization.Scopes = oauth.Scopes{"openid"}
	asked.Authorization.Claims.IDToken = []string{"email", "email_verified"}
	if _, claims := minted(t, m, ring, asked); claims["email"] != "ada@example.com" || claims["email_verified"] != false || claims["name"] != nil {
		t.Errorf("claims that were asked for: %v", claims)
	}
}

// SEC-JWT-36: whatever is asked for by name and whatever a person is called,
// the claims that say who issued the token, about whom, for whom and until when
// are ours.
func TestNobodyChoosesTheClaimsThatCount(t *testing.T) {
	m, ring := idTokens(t)
	plain := idGrant()
	plain.Authorization.Scopes = oauth.Scopes{"openid"}
	_, before := minted(t, m, ring, plain)
	hostile := plain
	hostile.User.Name, hostile.User.Email = `x","sub":"user_2","iss":"evil`, `{"aud":"evil"}@example.com`
	hostile.Authorization.Claims.IDToken = append(oauth.IDTokenClaims(), "sub", "scope", "org_id", "permissions", "client_id", "name", "email", "events")
	_, after := minted(t, m, ring, hostile)
	for name, v := range before {
		a, _ := json.Marshal(v)
		if b, _ := json.Marshal(after[name]); !bytes.Equal(a, b) {
			t.Errorf("%s became %s; it was %s", name, b, a)
		}
	}
	for name := range after {
		if _, ours := before[name]; !ours && name != "name" && name != "email" {
			t.Errorf("there is a claim %s", name)
		}
	}
	for _, c := range oauth.IdentityClaims()[1:] { // after sub
		if slices.Contains(oauth.IDTokenClaims(), c) {
			t.Errorf("%s is said of people and of tokens", c)
		}
	}
}

// OpenID Connect Core 1.0 §8.1: the same user is another to each sector, and
// always the same to one.
func TestPairwiseSubjects(t *testing.T) {
	s := subjectsOf(1)
	pairwise := func(id ident.ClientID, sector string, uris ...string) oauth.Registered {
		return oauth.Registered{ID: id, RedirectURIs: uris, Settings: oauth.ClientSettings{Subject: oauth.ClientSubject{Pairwise: true, SectorURI: sector}}}
	}
	a := s.Sub(pairwise("cli_a", "", "https://a.example/cb", "https://a.example/other"), "user_1")
	if a == "user_1" || strings.Contains(a, "user_1") || len(a) != 43 {
		t.Errorf("sub %q", a)
	}
	for what, same := range map[string]string{
		"another client of the host":     s.Sub(pairwise("cli_b", "", "https://a.example/elsewhere"), "user_1"),
		"the host in capitals":           s.Sub(pairwise("cli_b", "", "https://A.example/cb"), "user_1"),
		"a sector document at that host": s.Sub(pairwise("cli_c", "https://a.example/sector.json", "https://c.example/cb"), "user_1"),
	} {
		if same != a {
			t.Errorf("%s: %q; want %q", what, same, a)
		}
	}
	for what, other := range map[string]string{
		"another host":       s.Sub(pairwise("cli_a", "", "https://b.example/cb"), "user_1"),
		"another user":       s.Sub(pairwise("cli_a", "", "https://a.example/cb"), "user_2"),
		"another deployment": subjectsOf(2).Sub(pairwise("cli_a", "", "https://a.example/cb"), "user_1"),
		"no host at all":     s.Sub(pairwise("cli_a", "", "com.example.app:/cb"), "user_1"),
	} {
		if other == a {
			t.Errorf("%s: the same sub", what)
		}
	}
	if got := s.Sub(oauth.Registered{ID: "cli_a"}, "user_1"); got != "user_1" {
		t.Errorf("a public subject is %q", got)
	}
}

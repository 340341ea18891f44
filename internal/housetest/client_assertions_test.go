package housetest_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// keyHolder is a client that proves who it is with assertions (RFC 7523).
type keyHolder struct {
	serviceClient
	alg    jose.SignatureAlgorithm
	key    any
	issuer string
	clock  *housetest.Clock
	last   atomic.Int64
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// withKey enrols a client of the method private_key_jwt.
func withKey(t *testing.T, h *housetest.Harness, key *ecdsa.PrivateKey) *keyHolder {
	t.Helper()
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k1", Algorithm: "ES256", Use: "sig"}}})
	if err != nil {
		t.Fatal(err)
	}
	admin := h.Client().As(h.Login(h.Admin).Access)
	c := enrol(admin, []string{"agents:read"}, map[string]any{"auth_method": "private_key_jwt", "jwks": json.RawMessage(set)})
	return &keyHolder{serviceClient: c, alg: jose.ES256, key: jose.JSONWebKey{Key: key, KeyID: "k1"}, issuer: h.Config.Issuer, clock: h.Clock}
}

// claims are those of a good assertion, with change on top; nil takes one away.
func (k *keyHolder) claims(change map[string]any) map[string]any {
	now := k.clock.Now().Unix()
	c := map[string]any{
		"iss": k.id, "sub": k.id, "aud": k.issuer, "jti": fmt.Sprint("j", k.last.Add(1)), "exp": now + 60, "iat": now, "nbf": now,
	}
	maps.Copy(c, change)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

func (k *keyHolder) sign(t *testing.T, change map[string]any) string {
	t.Helper()
	return signed(t, k.alg, k.key, k.claims(change))
}

func signed(t *testing.T, alg jose.SignatureAlgorithm, key any, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	compact, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return compact
}

const assertionKind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

func present(c *housetest.Client, assertion string, more ...string) housetest.Reply {
	return form(c, "/oauth2/token", append([]string{"grant_type", "client_credentials", "client_assertion_type", assertionKind, "client_assertion", assertion}, more...)...)
}

// SEC-JWT-39: an assertion is from the client, for this server alone, short,
// signed with the registered key, and counts once: on all replicas, and after
// all of them started anew.
func TestClientAssertions(t *testing.T) {
	housetest.Both(t, housetest.Options{Replicas: 2}, func(t *testing.T, h *housetest.Harness) {
		key := newKey(t)
		k := withKey(t, h, key)
		now := h.Clock.Now().Unix()
		for name, change := range map[string]map[string]any{
			"jti absent": {"jti": nil}, "jti empty": {"jti": ""}, "jti a number": {"jti": 7}, "jti huge": {"jti": strings.Repeat("x", 300)},
			"aud another server": {"aud": "https://other.example"}, "aud the endpoint": {"aud": h.Config.Issuer + "/oauth2/token"}, "aud absent": {"aud": nil},
			"aud a list": {"aud": []string{h.Config.Issuer}}, "aud two": {"aud": []string{h.Config.Issuer, "https://other.example"}}, "aud with a slash": {"aud": h.Config.Issuer + "/"},
			"sub is not iss": {"sub": "cli_00000000000000000000000000"}, "iss is not sub": {"iss": "https://other.example"}, "sub absent": {"sub": nil}, "iss absent": {"iss": nil},
			"expired 5 min ago": {"exp": now - 300}, "good for a year": {"exp": now + 365*86400}, "exp absent": {"exp": nil}, "exp text": {"exp": "soon"}, "exp enormous": {"exp": 1e300},
			"nbf +61 s": {"nbf": now + 61}, "iat +61 s": {"iat": now + 61},
		} {
			t.Log(name)
			refused(t, present(h.Client(), k.sign(t, change)), 401, "invalid_client")
		}
		for name, change := range map[string]map[string]any{"plain": nil, "nbf +8 s": {"nbf": now + 8, "iat": now + 8}, "5 min": {"exp": now + 300}, "nbf absent": {"nbf": nil, "iat": nil}, "more": {"x": map[string]any{"y": 1}}} {
			if r := present(h.Client(), k.sign(t, change), "client_id", k.id); r.Status != http.StatusOK {
				t.Errorf("%s: %s", name, r)
			}
		}
		forged(t, h, k, key)
		once := k.sign(t, map[string]any{"exp": now + 200})
		present(h.At(1), once).Expect(http.StatusOK)
		refused(t, present(h.At(1), once), 401, "invalid_client")
		refused(t, present(h.At(0), once), 401, "invalid_client")
		third := h.AddReplica()
		for _, r := range h.Replicas[:third] {
			if err := r.Stop(); err != nil {
				t.Fatal(err)
			}
		}
		refused(t, present(h.At(third), once), 401, "invalid_client")
		present(h.At(third), k.sign(t, nil)).Expect(http.StatusOK)
		h.Clock.Advance(4 * time.Minute)
		if err := h.Replicas[third].House.Tend(t.Context()); err != nil { // its row is gone now: it has expired
			t.Fatal(err)
		}
		refused(t, present(h.At(third), once), 401, "invalid_client")
		present(h.At(third), k.sign(t, nil)).Expect(http.StatusOK)
	})
}

// forged presents what the client did not sign.
func forged(t *testing.T, h *housetest.Harness, k *keyHolder, key *ecdsa.PrivateKey) {
	t.Helper()
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	jwk, err := jose.JSONWebKey{Key: key.Public(), KeyID: "k1", Algorithm: "ES256", Use: "sig"}.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	part := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	good := k.sign(t, nil)
	other := withKey(t, h, newKey(t))
	for name, assertion := range map[string]string{
		"alg none":                    part(map[string]any{"alg": "none"}) + "." + part(k.claims(nil)) + ".",
		"HS256 with the public key":   signed(t, jose.HS256, public, k.claims(nil)),
		"HS256 with the public JWK":   signed(t, jose.HS256, jwk, k.claims(nil)),
		"another client's key":        signed(t, jose.ES256, other.key, k.claims(nil)),
		"a key of nobody":             signed(t, jose.ES256, newKey(t), k.claims(nil)),
		"an unknown kid":              signed(t, jose.ES256, jose.JSONWebKey{Key: key, KeyID: "k2"}, k.claims(nil)),
		"another payload":             strings.Split(good, ".")[0] + "." + part(k.claims(map[string]any{"x": 1})) + "." + strings.Split(good, ".")[2],
		"five parts":                  good + ".a.b",
		"too long":                    k.sign(t, map[string]any{"x": strings.Repeat("y", 9000)}),
		"nothing":                     "x",
		"another client's, by itself": other.sign(t, map[string]any{"sub": k.id, "iss": k.id}),
	} {
		t.Log(name)
		refused(t, present(h.Client(), assertion), 401, "invalid_client")
	}
	refused(t, form(h.Client(), "/oauth2/token", "grant_type", "client_credentials", "client_assertion_type", "x", "client_assertion", good), 401, "invalid_client")
	refused(t, form(h.Client(), "/oauth2/token", "grant_type", "client_credentials", "client_assertion", good), 401, "invalid_client")
	refused(t, present(h.Client(), good, "client_id", other.id), 400, "invalid_request")
	refused(t, present(h.Client(), good, "client_secret", "x"), 400, "invalid_request")
	present(h.Client(), good).Expect(http.StatusOK) // no forgery used it up
}

// Of many that present one assertion at once, at two replicas, one is let in.
func TestOneAssertionPresentedByMany(t *testing.T) {
	housetest.Both(t, housetest.Options{Replicas: 2}, func(t *testing.T, h *housetest.Harness) {
		k := withKey(t, h, newKey(t))
		assertion := k.sign(t, nil)
		var in, out, wrong atomic.Int64
		var all sync.WaitGroup
		for i := range 40 {
			all.Go(func() {
				switch r := present(h.At(i%2), assertion); r.Status {
				case http.StatusOK:
					in.Add(1)
				case http.StatusUnauthorized:
					out.Add(1)
				default:
					wrong.Add(1)
				}
			})
		}
		all.Wait()
		if in.Load() != 1 || out.Load() != 39 || wrong.Load() != 0 {
			t.Errorf("%d let in, %d refused, %d else", in.Load(), out.Load(), wrong.Load())
		}
		for i := range 2 {
			if err := h.Replicas[i].House.Tend(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		told := 0
		for _, e := range eventsOf(t, h, audit.ClientRefused) {
			if e.Reason == "assertion_replayed" && e.Targets[0].ID == k.id {
				told++
			}
		}
		if told == 0 {
			t.Error("the replays are not recorded")
		}
	})
}

// client_secret_jwt: the secret signs and is never sent; a rotated one signs
// for as long as its grace lasts.
func TestAssertionsSignedWithTheSecret(t *testing.T) {
	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		admin := h.Client().As(h.Login(h.Admin).Access)
		c := enrol(admin, []string{"agents:read"}, map[string]any{"auth_method": "client_secret_jwt"})
		k := &keyHolder{serviceClient: c, alg: jose.HS256, key: []byte(c.secret), issuer: h.Config.Issuer, clock: h.Clock}
		token := present(h.Client(), k.sign(t, nil)).Expect(http.StatusOK).Text("access_token")
		h.Client().As(token).Get("/api/v1/agents").Expect(http.StatusOK)
		wrong := &keyHolder{serviceClient: c, alg: jose.HS256, key: []byte("ths_" + strings.Repeat("x", 43)), issuer: h.Config.Issuer, clock: h.Clock}
		refused(t, present(h.Client(), wrong.sign(t, nil)), 401, "invalid_client")
		refused(t, present(h.Client(), signed(t, jose.ES256, newKey(t), k.claims(nil))), 401, "invalid_client")
		refused(t, form(c.by(h.Client()), "/oauth2/token", "grant_type", "client_credentials"), 401, "invalid_client") // it is not sent
		admin.Post("/api/v1/clients/"+c.id+"/rotate-secret", map[string]string{"grace": "60s"}).Expect(http.StatusOK)
		present(h.Client(), k.sign(t, nil)).Expect(http.StatusOK)
		h.Advance(61 * time.Second)
		refused(t, present(h.Client(), k.sign(t, nil)), 401, "invalid_client")
	})
}

// A client publishes its keys at an address of its own; one that it rotates in
// counts from then on, and while the address is out of reach the known one does.
func TestAssertionsByPublishedKeys(t *testing.T) {
	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		var set atomic.Value
		var down atomic.Bool
		publish := func(kid string, key *ecdsa.PrivateKey) {
			b, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: kid, Algorithm: "ES256", Use: "sig"}}})
			if err != nil {
				t.Fatal(err)
			}
			set.Store(b)
		}
		site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if down.Load() {
				w.WriteHeader(http.StatusInternalServerError)
				return
			}
			w.Header().Set("Content-Type", "application/jwk-set+json")
			_, _ = w.Write(set.Load().([]byte)) // the server may be gone
		}))
		defer site.Close()
		admin := h.Client().As(h.Login(h.Admin).Access)
		c := enrol(admin, []string{"agents:read"}, map[string]any{"auth_method": "private_key_jwt", "jwks_uri": site.URL + "/keys"})
		first, second := newKey(t), newKey(t)
		old := &keyHolder{serviceClient: c, alg: jose.ES256, key: jose.JSONWebKey{Key: first, KeyID: "a"}, issuer: h.Config.Issuer, clock: h.Clock}
		next := &keyHolder{serviceClient: c, alg: jose.ES256, key: jose.JSONWebKey{Key: second, KeyID: "b"}, issuer: h.Config.Issuer, clock: h.Clock}
		next.last.Store(1000)
		publish("a", first)
		present(h.Client(), old.sign(t, nil)).Expect(http.StatusOK)
		refused(t, present(h.Client(), next.sign(t, nil)), 401, "invalid_client")
		publish("b", second)
		h.Advance(time.Minute)
		present(h.Client(), next.sign(t, nil)).Expect(http.StatusOK)
		refused(t, present(h.Client(), old.sign(t, nil)), 401, "invalid_client")
		down.Store(true)
		h.Advance(10 * time.Minute)
		present(h.Client(), next.sign(t, nil)).Expect(http.StatusOK)
	})
}

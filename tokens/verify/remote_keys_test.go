package verify_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenhouse/tokenhouse/tokens/verify"
)

// site serves one document, which the test may change at any time.
type site struct {
	mu      sync.Mutex
	handler http.HandlerFunc
	hits    atomic.Int64
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.hits.Add(1)
	s.mu.Lock()
	h := s.handler
	s.mu.Unlock()
	h(w, r)
}

func (s *site) serve(h http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handler = h
}

func (s *site) serveBody(body []byte, headers ...string) {
	s.serve(func(w http.ResponseWriter, _ *http.Request) {
		for n := 0; n+1 < len(headers); n += 2 {
			w.Header().Set(headers[n], headers[n+1])
		}
		_, _ = w.Write(body)
	})
}

// keySite is a site with a key set, and a clock that only the test moves.
func keySite(t *testing.T, i *issuer, headers ...string) (*site, *verify.RemoteKeys, *time.Time) {
	t.Helper()
	s := &site{}
	s.serveBody(i.jwks(), headers...)
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	now := noon
	return s, &verify.RemoteKeys{URL: server.URL, Now: func() time.Time { return now }}, &now
}

func TestKeysAreFetchedOnceAndKeptForMaxAge(t *testing.T) {
	i := newIssuer(t)
	s, keys, now := keySite(t, i, "Cache-Control", "public, max-age=300")
	v := i.verifier()
	v.Keys = keys
	for range 5 {
		accepted(t, v, i.token())
	}
	if n := s.hits.Load(); n != 1 {
		t.Fatalf("%d fetches for five tokens", n)
	}
	*now = noon.Add(299 * time.Second)
	accepted(t, v, i.token())
	*now = noon.Add(300 * time.Second)
	accepted(t, v, i.token())
	if n := s.hits.Load(); n != 2 {
		t.Errorf("%d fetches after max-age", n)
	}
}

func TestMaxAgeIsBounded(t *testing.T) {
	i := newIssuer(t)
	for cacheControl, within := range map[string]time.Duration{
		"max-age=31536000":         verify.DefaultMaxAge,
		"max-age=1":                verify.DefaultMinInterval,
		"no-store":                 verify.DefaultMinInterval,
		"":                         5 * time.Minute,
		"max-age=nonsense":         5 * time.Minute,
		`private, Max-Age="120"`:   2 * time.Minute,
		"max-age=99999999999999":   5 * time.Minute,
		"no-cache, max-age=604800": verify.DefaultMinInterval,
	} {
		t.Run(cacheControl, func(t *testing.T) {
			s, keys, now := keySite(t, i, "Cache-Control", cacheControl)
			ask := func(at time.Duration) int64 {
				*now = noon.Add(at)
				if _, err := keys.Key(t.Context(), i.kid); err != nil {
					t.Fatal(err)
				}
				return s.hits.Load()
			}
			if ask(0) != 1 || ask(within-1) != 1 || ask(within) != 2 {
				t.Errorf("not kept for %v", within)
			}
		})
	}
}

func TestAnUnchangedSetIsNotSentAgain(t *testing.T) {
	i := newIssuer(t)
	s, keys, now := keySite(t, i)
	s.serve(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"1"`)
		if r.Header.Get("If-None-Match") == `"1"` {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = w.Write(i.jwks())
	})
	for n := range 3 {
		*now = noon.Add(time.Duration(n) * time.Hour)
		if _, err := keys.Key(t.Context(), i.kid); err != nil {
			t.Fatal(err)
		}
	}
	if s.hits.Load() != 3 {
		t.Error("the set was not asked for again")
	}
}

// FLT-CLU-04, SEC-JWT-35: a new key is found at once, a withdrawn one is
// refused when the set is fetched again.
func TestKeysRotate(t *testing.T) {
	old, fresh := newIssuer(t), newIssuer(t)
	s, keys, now := keySite(t, old, "Cache-Control", "max-age=300")
	v := old.verifier()
	v.Keys, v.CacheSize = keys, 16
	token := old.token()
	accepted(t, v, token)

	*now = noon.Add(time.Minute)
	s.serveBody(fresh.jwks(), "Cache-Control", "max-age=300")
	accepted(t, v, fresh.token())
	refused(t, v, token, verify.ErrInvalid)
}

// An attacker who invents key ids causes one fetch per interval, not one each.
func TestUnknownKeyIDsAreRateLimited(t *testing.T) {
	i := newIssuer(t)
	s, keys, now := keySite(t, i)
	unknown := func(n int) error { _, err := keys.Key(t.Context(), fmt.Sprint("unknown-", n)); return err }
	for n := range 1000 {
		if err := unknown(n); !errors.Is(err, verify.ErrInvalid) {
			t.Fatalf("got %v", err)
		}
	}
	if n := s.hits.Load(); n != 1 {
		t.Errorf("%d fetches within one interval", n)
	}
	*now = noon.Add(verify.DefaultMinInterval)
	_, _ = unknown(1), unknown(2)
	if n := s.hits.Load(); n != 2 {
		t.Errorf("%d fetches after the interval", n)
	}
}

// What the issuer signs itself may need a key that nobody was told of: it is
// fetched at once where it is asked for, and still not in a flood.
func TestKeysThatTheIssuerNamesAreFetchedAtOnce(t *testing.T) {
	i := newIssuer(t)
	s, keys, now := keySite(t, i)
	v := i.verifier()
	v.Keys = keys
	accepted(t, v, i.token())
	for n := range 100 {
		*now = noon.Add(time.Duration(n) * 10 * time.Millisecond)
		if err := keys.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.hits.Load(); n != 2 {
		t.Errorf("%d fetches in a second, want one and one half a second later", n)
	}
	if err := new(verify.RemoteKeys).Refresh(t.Context()); !errors.Is(err, verify.ErrUnavailable) {
		t.Errorf("without URL and clock: %v", err)
	}
}

func TestOneFetchServesAllWhoWait(t *testing.T) {
	i := newIssuer(t)
	release := make(chan struct{})
	s, keys, _ := keySite(t, i)
	s.serve(func(w http.ResponseWriter, _ *http.Request) { <-release; _, _ = w.Write(i.jwks()) })
	var wg sync.WaitGroup
	errs := make([]error, 50)
	for n := range errs {
		wg.Go(func() { _, errs[n] = keys.Key(context.Background(), i.kid) })
	}
	// One of them gives up; the fetch goes on for the others.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := keys.Key(ctx, i.kid); !errors.Is(err, verify.ErrUnavailable) {
		t.Errorf("a cancelled request got %v", err)
	}
	close(release)
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
	if n := s.hits.Load(); n != 1 {
		t.Errorf("%d fetches", n)
	}
}

// SEC-INJ-14: whatever the other end does, the last good set stays.
// A set that is too old to serve is waited for, by everybody and not only by
// whoever began to fetch it.
func TestOneFetchServesAllWhoComeAfterALongSilence(t *testing.T) {
	i := newIssuer(t)
	s, keys, now := keySite(t, i)
	v := i.verifier()
	v.Keys = keys
	accepted(t, v, i.token())
	*now = now.Add(verify.DefaultMaxStale + time.Hour)
	arrived, answer := make(chan struct{}), make(chan struct{})
	s.serve(func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-answer
		_, _ = w.Write(i.jwks())
	})
	kid := i.kid
	var all sync.WaitGroup
	ask := func() {
		if _, err := keys.Key(t.Context(), kid); err != nil {
			t.Error(err)
		}
	}
	all.Go(ask)
	<-arrived
	for range 5 {
		all.Go(ask)
	}
	close(answer)
	all.Wait()
}

func TestBadKeySetsAreNotTaken(t *testing.T) {
	i, other := newIssuer(t), newIssuer(t)
	good := string(i.jwks())
	private, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: other.key, KeyID: "p", Algorithm: "ES256"}}})
	if err != nil {
		t.Fatal(err)
	}
	body := func(b string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(b)) }
	}
	for name, h := range map[string]http.HandlerFunc{
		"500": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = w.Write(other.jwks())
		},
		"404":         func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) },
		"304 unasked": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotModified) },
		"SEC-INJ-14 redirect loop": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path, http.StatusMovedPermanently)
		},
		"SEC-INJ-14 endless body":    endless,
		"SEC-INJ-14 not JSON":        body("<html>"),
		"cut off":                    body(good[:len(good)-2]),
		"empty":                      body(""),
		"an empty set":               body(`{"keys":[]}`),
		"no set":                     body(`{}`),
		"null":                       body(`{"keys":null}`),
		"a list":                     body(`[]`),
		"keys of other types":        body(`{"keys":[1]}`),
		"SEC-INJ-14 private key":     body(string(private)),
		"SEC-INJ-14 symmetric key":   body(strings.Replace(good, `[`, `[{"kty":"oct","kid":"s","alg":"HS256","k":"AAAA"},`, 1)),
		"SEC-JWT-42 two of one id":   body(strings.Replace(good, `[`, `[`+good[len(`{"keys":[`):len(good)-2]+`,`, 1)),
		"too many keys":              body(strings.Replace(good, `[`, `[`+strings.Repeat(`{"kty":"XX"},`, 64), 1)),
		"member twice":               body(strings.Replace(good, `{`, `{"keys":[],`, 1)),
		"only keys we cannot use":    body(`{"keys":[{"kty":"EC","crv":"X9","kid":"x","alg":"ES256"},{"kty":"XX"}]}`),
		"only keys for encryption":   body(strings.Replace(good, `"sig"`, `"enc"`, 1)),
		"only keys without alg":      body(strings.Replace(good, `"ES256"`, `""`, 1)),
		"only a key without an id":   body(strings.Replace(good, i.kid, ``, 1)),
		"only a key with a long kid": body(strings.Replace(good, i.kid, strings.Repeat("k", 129), 1)),
		"a point off the curve":      body(`{"keys":[{"kty":"EC","crv":"P-256","kid":"x","alg":"ES256","x":"AAAA","y":"AAAA"}]}`),
	} {
		t.Run(name, func(t *testing.T) {
			s, keys, now := keySite(t, i)
			if _, err := keys.Key(t.Context(), i.kid); err != nil {
				t.Fatal(err)
			}
			s.serve(h)
			*now = noon.Add(2 * time.Hour)
			if _, err := keys.Key(t.Context(), i.kid); err != nil {
				t.Errorf("the last good set is gone: %v", err)
			}
			if _, err := keys.Key(t.Context(), other.kid); !errors.Is(err, verify.ErrUnavailable) {
				t.Errorf("an unknown key during an outage: %v", err)
			}
			*now = noon.Add(verify.DefaultMaxStale + 1)
			if _, err := keys.Key(t.Context(), i.kid); !errors.Is(err, verify.ErrUnavailable) {
				t.Errorf("a set of yesterday still serves: %v", err)
			}
			s.serveBody(i.jwks())
			*now = now.Add(verify.DefaultMinInterval)
			if _, err := keys.Key(t.Context(), i.kid); err != nil {
				t.Errorf("it does not recover: %v", err)
			}
		})
	}
}

// The reasons, so that no bad set is refused for another's fault.
func TestWhyAKeySetIsRefused(t *testing.T) {
	i := newIssuer(t)
	good := string(i.jwks())
	one := good[len(`{"keys":[`) : len(good)-2]
	for want, set := range map[string]string{
		"two keys of one id":                         `{"keys":[` + one + `,` + one + `]}`,
		"private or symmetric key material":          strings.Replace(good, `"kid"`, `"d":"AAAA","kid"`, 1),
		"more than 64 keys":                          `{"keys":[` + strings.Repeat(`{"kty":"XX"},`, 64) + one + `]}`,
		"a JSON member occurs twice":                 strings.Replace(good, `"kid"`, `"kty":"EC","kid"`, 1),
		"no usable key":                              strings.Replace(good, `"sig"`, `"enc"`, 1),
		"not one JSON object":                        good + good,
		"cannot unmarshal string into Go value":      `{"keys":"x"}`,
		"private or symmetric key material is publi": `{"keys":[{"kty":"oct","k":"AAAA"}]}`,
	} {
		if _, err := verify.ReadKeySet([]byte(set)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	if keys, err := verify.ReadKeySet([]byte(good)); err != nil || len(keys) != 1 {
		t.Errorf("a good set: %v %v", keys, err)
	}
}

func endless(w http.ResponseWriter, r *http.Request) {
	for r.Context().Err() == nil {
		if _, err := w.Write([]byte(strings.Repeat(" ", 64<<10))); err != nil {
			return
		}
	}
}

// SEC-INJ-14: a key set that never comes is given up.
func TestASilentIssuerIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys := &verify.RemoteKeys{URL: "https://auth.example.com/jwks", Now: time.Now, Client: &http.Client{Transport: silent{}}}
		start := time.Now()
		_, err := keys.Key(t.Context(), "k")
		if !errors.Is(err, verify.ErrUnavailable) {
			t.Errorf("got %v", err)
		}
		if waited := time.Since(start); waited > 5*time.Second {
			t.Errorf("waited %v", waited)
		}
	})
}

type silent struct{}

func (silent) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

func TestKeysBesideUnusableOnesAreFound(t *testing.T) {
	i, k := newIssuer(t), newOtherKeys(t)
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
		{Key: &k.rsa.PublicKey, KeyID: "rsa", Algorithm: "RS256", Use: "sig"},
		{Key: k.ed.Public(), KeyID: "ed", Algorithm: "EdDSA"},
		{Key: &k.rsa.PublicKey, KeyID: "enc", Algorithm: "RSA-OAEP", Use: "enc"},
		i.public(),
	}}
	text, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	s, keys, _ := keySite(t, i)
	s.serveBody([]byte(strings.Replace(string(text), `[`, `[{"kty":"future"},`, 1)))
	for _, kid := range []string{"rsa", "ed", i.kid} {
		if _, err := keys.Key(t.Context(), kid); err != nil {
			t.Errorf("%s: %v", kid, err)
		}
	}
	if _, err := keys.Key(t.Context(), "enc"); !errors.Is(err, verify.ErrInvalid) {
		t.Errorf("a key for encryption: %v", err)
	}
}

func TestRemoteKeysWithoutClockOrURL(t *testing.T) {
	for _, k := range []*verify.RemoteKeys{{URL: "https://auth.example.com"}, {Now: time.Now}} {
		if _, err := k.Key(t.Context(), "k"); !errors.Is(err, verify.ErrUnavailable) {
			t.Errorf("got %v", err)
		}
	}
}

package outbound_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/outbound"
)

const keysURL = "https://client.example/keys"

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// site is a host whose answer the test may change, and a cache of its key set
// with a clock that only the test moves.
type site struct {
	t     *testing.T
	web   *internet
	cache *outbound.KeyCache
	now   time.Time
	log   bytes.Buffer

	mu     sync.Mutex
	answer http.HandlerFunc
	hits   atomic.Int64
}

func newSite(t *testing.T, answer http.HandlerFunc) *site {
	t.Helper()
	s := &site{t: t, web: newInternet(t), now: noon, answer: answer}
	s.web.serve("client.example", here, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.hits.Add(1)
		s.mu.Lock()
		h := s.answer
		s.mu.Unlock()
		h(w, r)
	}))
	s.cache = &outbound.KeyCache{Client: s.web.client(), Now: func() time.Time { return s.now }, Logger: slog.New(slog.NewTextHandler(&s.log, nil))}
	return s
}

func (s *site) set(h http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = h
}

// key wants the outcome of asking for a key.
func (s *site) key(kid string, want error) {
	s.t.Helper()
	k, err := s.cache.Key(s.t.Context(), keysURL, kid, "ES256")
	if !errors.Is(err, want) || err == nil && k.KeyID != kid {
		s.t.Errorf("key %s: %q, %v, want %v", kid, k.KeyID, err, want)
	}
}

// fetches wants how often the site was asked since it last looked.
func (s *site) fetches(want int64) {
	s.t.Helper()
	if got := s.hits.Swap(0); got != want {
		s.t.Errorf("%d fetches, want %d", got, want)
	}
}

// serving answers with a document and headers in pairs.
func serving(body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/jwk-set+json")
		for n := 0; n+1 < len(headers); n += 2 {
			w.Header().Set(headers[n], headers[n+1])
		}
		_, _ = io.WriteString(w, body)
	}
}

func ecSet(t *testing.T, kids ...string) string {
	t.Helper()
	out := make([]string, len(kids))
	for n, kid := range kids {
		out[n] = jwk(t, keys().ec.Public(), kid)
	}
	return jwks(out...)
}

func TestASetIsKeptAsLongAsItsOwnerSays(t *testing.T) {
	for cacheControl, age := range map[string]time.Duration{
		"public, max-age=300": 5 * time.Minute, "Max-Age=\"600\"": 10 * time.Minute, "": 5 * time.Minute, "max-age=x": 5 * time.Minute, "max-age=-1": 5 * time.Minute,
		"max-age=99999999": time.Hour, "max-age=99999999999999999999": 5 * time.Minute, "max-age=1": 10 * time.Second, "no-store": 10 * time.Second, "max-age=600, no-cache": 10 * time.Second,
	} {
		s := newSite(t, serving(ecSet(t, "1"), "Cache-Control", cacheControl))
		for range 5 {
			s.key("1", nil)
		}
		s.now = noon.Add(age - time.Nanosecond)
		s.key("1", nil)
		s.fetches(1)
		s.now = noon.Add(age)
		s.key("1", nil)
		s.key("1", nil)
		s.fetches(1)
		if t.Failed() {
			t.Fatalf("with %q", cacheControl)
		}
	}
}

func TestGetReturnsTheSet(t *testing.T) {
	s := newSite(t, serving(ecSet(t, "1", "2")))
	for range 2 {
		if set, err := s.cache.Get(t.Context(), keysURL); err != nil || len(set.Keys) != 2 {
			t.Errorf("%v, %v", set, err)
		}
	}
	s.fetches(1)
}

func TestAnUnchangedSetIsConfirmed(t *testing.T) {
	s := newSite(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("If-None-Match") == `"v1"` {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		serving(ecSet(t, "1"), "ETag", `"v1"`)(w, r)
	})
	for n := range 3 {
		s.now = noon.Add(time.Duration(n) * 20 * time.Hour)
		s.key("1", nil)
	}
	s.fetches(3)
	// Who says "not modified" to a question without a condition has no set.
	s.set(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotModified) })
	_, err := s.cache.Get(t.Context(), "https://client.example/other")
	fails(t, err, outbound.ErrAnswer)
}

func TestARotatedKeyIsFoundAndARemovedOneIsGone(t *testing.T) {
	s := newSite(t, serving(ecSet(t, "1"), "Cache-Control", "max-age=600"))
	s.key("1", nil)
	s.set(serving(ecSet(t, "2"), "Cache-Control", "max-age=600"))
	s.key("2", outbound.ErrNoKey) // asked a moment ago
	s.fetches(1)
	s.now = noon.Add(10 * time.Second)
	s.key("2", nil)
	s.key("1", outbound.ErrNoKey)
	s.fetches(1)
}

func TestUnknownKeysCauseNoFlood(t *testing.T) {
	s := newSite(t, serving(ecSet(t, "1")))
	for n := range 100 {
		s.now = noon.Add(time.Duration(n) * 200 * time.Millisecond)
		s.key("unknown", outbound.ErrNoKey)
	}
	s.fetches(2)
}

// SEC-INJ-14: whatever comes instead of a good set, the last good one serves,
// and not for ever.
func TestTheLastGoodSetServes(t *testing.T) {
	private := jwks(jwk(t, keys().ec, "1"))
	for name, bad := range map[string]http.HandlerFunc{
		"an error":      func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"no JSON":       serving(`{"keys":[`),
		"an empty body": serving(""),
		"no keys":       serving(`{"keys":[]}`),
		"private keys":  serving(private),
		"HTML":          serving(ecSet(t, "1"), "Content-Type", "text/html"),
		"a huge body":   serving(strings.Repeat(" ", outbound.DefaultMaxBytes) + ecSet(t, "1")),
		"a loop": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, keysURL, http.StatusMovedPermanently)
		},
		"a private host": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://10.0.0.1/", http.StatusFound)
		},
		"a short body": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, ecSet(t, "1"))
		},
		"no answer": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, serving(ecSet(t, "1")))
			s.key("1", nil)
			s.fetches(1)
			s.set(bad)
			s.now = noon.Add(5 * time.Minute)
			s.key("1", nil)
			s.key("1", nil) // the failure is remembered: nobody waits again
			s.fetches(1)
			if _, err := s.cache.Key(t.Context(), keysURL, "2", "ES256"); err == nil || errors.Is(err, outbound.ErrNoKey) {
				t.Errorf("whether there is another key cannot be told, got %v", err)
			}
			if log := s.log.String(); strings.Count(log, "host=client.example") != 1 || !strings.Contains(log, "outbound ") {
				t.Errorf("logged %q", log)
			}
			s.now = noon.Add(24 * time.Hour)
			s.key("1", nil)
			s.now = noon.Add(24*time.Hour + 11*time.Second)
			if _, err := s.cache.Get(t.Context(), keysURL); err == nil {
				t.Error("a set of more than 24 hours serves")
			}
			s.set(serving(ecSet(t, "1")))
			s.now = noon.Add(25 * time.Hour)
			s.key("1", nil)
		})
	}
}

// SEC-INJ-13: a set that was good does not open the way to where its name points now.
func TestANameThatMovesToAPrivateAddressIsNotFollowed(t *testing.T) {
	s := newSite(t, serving(ecSet(t, "1")))
	s.key("1", nil)
	s.web.went(here + ":443")
	s.web.name("client.example", "127.0.0.1")
	s.now = noon.Add(time.Hour)
	s.key("1", nil)
	s.key("2", outbound.ErrRefused)
	s.web.went()
}

func TestAClockSetBackDoesNotStopFetches(t *testing.T) {
	s := newSite(t, serving(ecSet(t, "1")))
	s.key("1", nil)
	s.now = noon.Add(-time.Hour)
	s.key("2", outbound.ErrNoKey)
	s.fetches(2)
}

func TestTheSetLongestUnusedIsForgottenFirst(t *testing.T) {
	s := newSite(t, serving(ecSet(t, "1")))
	s.cache.Size = 2
	get := func(path string, fetches int64) {
		t.Helper()
		if _, err := s.cache.Get(t.Context(), "https://client.example/"+path); err != nil {
			t.Error(err)
		}
		s.fetches(fetches)
	}
	get("a", 1)
	get("b", 1)
	get("a", 0)
	get("c", 1) // b goes
	get("a", 0)
	get("b", 1) // c goes
	get("a", 0)
	get("c", 1)
}

// gate is a resolver that lets nobody through before it is opened.
type gate struct {
	open    chan struct{}
	lookups atomic.Int64
	err     error
}

func (g *gate) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	g.lookups.Add(1)
	select {
	case <-g.open:
		return nil, g.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func TestOneFetchServesEverybodyWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{open: make(chan struct{}), err: errors.New("no such host")}
		cache := &outbound.KeyCache{Client: &outbound.Client{Resolver: g}, Now: time.Now, Logger: slog.New(slog.DiscardHandler)}
		first, cancel := context.WithCancel(t.Context())
		var waiting sync.WaitGroup
		var failed atomic.Int64
		for n := range 20 {
			ctx := t.Context()
			if n == 0 {
				ctx = first
			}
			waiting.Go(func() {
				if _, err := cache.Get(ctx, keysURL); errors.Is(err, outbound.ErrUnreachable) {
					failed.Add(1)
				}
			})
			synctest.Wait()
		}
		cancel() // the one who began it leaves; the others still get their answer
		synctest.Wait()
		if n := failed.Load(); n != 1 {
			t.Errorf("%d have left", n)
		}
		close(g.open)
		waiting.Wait()
		if n := g.lookups.Load(); n != 1 || failed.Load() != 20 {
			t.Errorf("%d lookups, %d answers", n, failed.Load())
		}
	})
}

func TestNobodyWaitsForAFetchThatTheyDoNotNeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		web := newInternet(t)
		body := ecSet(t, "1")
		web.speak(func(w io.ReadWriter) {
			_, _ = io.WriteString(w, okHeader+"Cache-Control: max-age=60\r\nConnection: close\r\n\r\n"+body)
		})
		cache := &outbound.KeyCache{Client: web.client(), Now: time.Now, Logger: slog.New(slog.DiscardHandler)}
		if _, err := cache.Get(t.Context(), keysURL); err != nil {
			t.Fatal(err)
		}
		cache.Client.Resolver = silent{}
		late := time.NewTimer(2 * time.Minute)
		<-late.C
		var slow sync.WaitGroup
		slow.Go(func() {
			if _, err := cache.Get(t.Context(), keysURL); err != nil {
				t.Errorf("the one who asked: %v", err)
			}
		})
		synctest.Wait()
		start := time.Now()
		if _, err := cache.Key(t.Context(), keysURL, "1", "ES256"); err != nil || time.Since(start) > 0 {
			t.Errorf("another one waited %v: %v", time.Since(start), err)
		}
		slow.Wait()
		if waited := time.Since(start); waited > 5*time.Second {
			t.Errorf("the one who asked waited %v", waited)
		}
	})
}

type broken struct{}

func (broken) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) { panic("broken") }

func TestAPanicIsAFailedFetch(t *testing.T) {
	s := newSite(t, serving(ecSet(t, "1")))
	s.cache.Client.Resolver = broken{}
	s.key("1", outbound.ErrAnswer)
	s.cache.Client.Resolver = s.web
	s.now = noon.Add(10 * time.Second)
	s.key("1", nil)
}

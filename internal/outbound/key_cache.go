package outbound

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Defaults of KeyCache.
const (
	// DefaultMinInterval is the least time between two fetches of one set.
	DefaultMinInterval = 10 * time.Second
	// DefaultMaxAge is the longest a set is used before it is asked for again.
	DefaultMaxAge = time.Hour
	// DefaultMaxStale is how long the last good set serves while its owner is
	// out of reach.
	DefaultMaxStale = 24 * time.Hour
	// DefaultSize is how many sets are kept.
	DefaultSize = 1024

	unstatedAge = 5 * time.Minute // where Cache-Control does not say
)

// ErrNoKey means that the owner of a key set publishes no such key.
var ErrNoKey = errors.New("the key set has no key for this signature")

// KeyCache keeps the key sets of others by their address. Client and Now are
// required. It is safe for concurrent use and must not be copied.
//
// One fetch of each set runs at a time and serves everybody who waits. Only a
// whole good set replaces another; until then the last good one serves.
type KeyCache struct {
	Client *Client
	Now    func() time.Time // time.Now in production
	Logger *slog.Logger     // slog.Default where nil; told why a fetch failed

	MinInterval time.Duration // DefaultMinInterval where zero: no key id and no failure causes more fetches than this
	MaxAge      time.Duration // DefaultMaxAge where zero; Cache-Control may say less
	MaxStale    time.Duration // DefaultMaxStale where zero
	Size        int           // DefaultSize where zero; the set that was longest unused goes first

	mu      sync.Mutex
	entries map[string]*list.Element // of *remoteSet, by URL
	used    list.List                // the last used first
}

// remoteSet is what is known of one set. The cache's mutex guards it.
type remoteSet struct {
	url     string
	set     *KeySet // the last good one; nil before there was any
	etag    string
	fetched time.Time     // or confirmed
	until   time.Time     // when it must be asked for again
	tried   time.Time     // when the last fetch began
	failed  error         // how it ended
	running chan struct{} // closed when the fetch that runs has ended; nil where none runs
}

// Get returns the key set at url. The error is one of the Client's.
func (c *KeyCache) Get(ctx context.Context, url string) (KeySet, error) {
	set, err := c.obtain(ctx, url, func(KeySet) bool { return true })
	if set == nil {
		return KeySet{}, err
	}
	return *set, nil
}

// Key returns the key of the set at url that KeySet.Find finds. Where the set
// at hand lacks it, the set is fetched again first (OIDC Core §10.1.1). The
// error is ErrNoKey, or one of the Client's where the owner cannot be asked.
func (c *KeyCache) Key(ctx context.Context, url, kid, alg string) (jose.JSONWebKey, error) {
	set, err := c.obtain(ctx, url, func(s KeySet) bool { _, ok := s.Find(kid, alg); return ok })
	if set != nil {
		if k, ok := set.Find(kid, alg); ok {
			return k, nil
		}
	}
	if err != nil {
		return jose.JSONWebKey{}, err
	}
	return jose.JSONWebKey{}, ErrNoKey
}

// obtain returns the set at url, nil where there is none young enough to use,
// and how the last fetch ended. It fetches where the set at hand is too old or
// not enough.
func (c *KeyCache) obtain(ctx context.Context, url string, enough func(KeySet) bool) (*KeySet, error) {
	now := c.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entry(url)
	good := c.usable(e, now) && enough(*e.set)
	if good && now.Before(e.until) {
		return e.set, nil
	}
	wait := e.running
	since := now.Sub(e.tried)
	switch {
	case wait != nil && good:
		return e.set, nil // another caller asks already
	case wait == nil && (e.tried.IsZero() || since < 0 || since >= orDefault(c.MinInterval, DefaultMinInterval)):
		wait = make(chan struct{})
		e.running, e.tried = wait, now
		// The fetch serves everybody who waits, so it does not end with the
		// request that began it.
		go c.refresh(context.WithoutCancel(ctx), e, now)
	}
	if wait != nil {
		c.mu.Unlock()
		var gone error
		select {
		case <-wait:
		case <-ctx.Done():
			gone = fmt.Errorf("%w: %w", ErrUnreachable, ctx.Err())
		}
		c.mu.Lock()
		if gone != nil {
			return nil, gone
		}
	}
	if !c.usable(e, now) {
		return nil, e.failed
	}
	return e.set, e.failed
}

func (c *KeyCache) usable(e *remoteSet, now time.Time) bool {
	return e.set != nil && now.Sub(e.fetched) <= orDefault(c.MaxStale, DefaultMaxStale)
}

// entry finds or makes what is known of url. The caller holds the mutex.
func (c *KeyCache) entry(url string) *remoteSet {
	if at, ok := c.entries[url]; ok {
		c.used.MoveToFront(at)
		return at.Value.(*remoteSet)
	}
	if c.entries == nil {
		c.entries = map[string]*list.Element{}
	}
	e := &remoteSet{url: url}
	c.entries[url] = c.used.PushFront(e)
	for c.used.Len() > orDefault(c.Size, DefaultSize) {
		delete(c.entries, c.used.Remove(c.used.Back()).(*remoteSet).url)
	}
	return e
}

// refresh fetches the set of e and ends the wait for it.
func (c *KeyCache) refresh(ctx context.Context, e *remoteSet, now time.Time) {
	c.mu.Lock()
	etag := e.etag
	c.mu.Unlock()
	got, err := c.fetch(ctx, e.url, etag)
	if err != nil {
		t, _ := parse(e.url) // the rest of the URL may carry a secret
		c.logger().WarnContext(ctx, "a key set could not be fetched", "host", t.host, "error", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		age := min(max(got.age, orDefault(c.MinInterval, DefaultMinInterval)), orDefault(c.MaxAge, DefaultMaxAge))
		e.fetched, e.until = now, now.Add(age)
		if got.set != nil {
			e.set, e.etag = got.set, got.etag
		}
	}
	close(e.running)
	e.running, e.failed = nil, err
}

// answer is a good answer of a set's owner.
type answer struct {
	set  *KeySet // nil where it is unchanged
	etag string
	age  time.Duration
}

func (c *KeyCache) fetch(ctx context.Context, url, etag string) (got answer, err error) {
	// Nothing stands above this goroutine to catch a parser that fails on what
	// an attacker wrote.
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: panic: %v", ErrAnswer, p)
		}
	}()
	r := Request{URL: url, Accept: []string{"application/jwk-set+json", "application/json"}}
	if etag != "" {
		r.Header = map[string]string{"If-None-Match": etag}
	}
	res, err := c.Client.Do(ctx, r)
	if err != nil {
		return answer{}, err
	}
	got.etag, got.age = res.Header.Get("ETag"), maxAge(res.Header.Get("Cache-Control"))
	switch {
	case res.Status == http.StatusNotModified && etag != "":
		return got, nil
	case res.Status != http.StatusOK:
		return answer{}, fmt.Errorf("%w: status %d", ErrAnswer, res.Status)
	}
	set, err := ReadKeySet(res.Body)
	got.set = &set
	return got, err
}

func (c *KeyCache) logger() *slog.Logger {
	if c.Logger == nil {
		return slog.Default()
	}
	return c.Logger
}

// maxAge reads max-age (RFC 9111 §5.2.2.1); 0 for no-store and no-cache.
func maxAge(cacheControl string) time.Duration {
	age := unstatedAge
	for d := range strings.SplitSeq(cacheControl, ",") {
		name, value, _ := strings.Cut(strings.ToLower(strings.TrimSpace(d)), "=")
		switch name {
		case "no-store", "no-cache":
			return 0
		case "max-age":
			if n, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31); err == nil {
				age = time.Duration(n) * time.Second
			}
		}
	}
	return age
}

func orDefault[T int | time.Duration](v, def T) T {
	if v <= 0 {
		return def
	}
	return v
}

package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Defaults of RemoteKeys.
const (
	// DefaultMinInterval is the least time between two fetches.
	DefaultMinInterval = 10 * time.Second
	// DefaultMaxAge is the longest a key set is used before it is asked for again.
	DefaultMaxAge = time.Hour
	// DefaultMaxStale is how long the last good set serves while the issuer is
	// out of reach.
	DefaultMaxStale = 24 * time.Hour

	unstatedAge  = 5 * time.Minute // where Cache-Control does not say
	maxKeySet    = 256 << 10       // bytes of a key set
	maxKeysInSet = 64
)

// RemoteKeys is the key set of an issuer (RFC 7517 §5), fetched over HTTP when
// it is needed and kept. URL and Now are required. It is safe for concurrent
// use and must not be copied.
//
// One fetch runs at a time. It takes at most five seconds and 256 KiB, follows
// no redirect, and replaces the set only by a whole good one: a set with
// private or symmetric key material, with two keys of one id or without a
// usable key is refused and the last good one stays.
type RemoteKeys struct {
	URL    string           // of the key set: issuer + "/.well-known/jwks.json"
	Client *http.Client     // http.DefaultClient where nil
	Now    func() time.Time // time.Now in production

	MinInterval time.Duration // DefaultMinInterval where zero: unknown key ids cause no more fetches than this
	MaxAge      time.Duration // DefaultMaxAge where zero; Cache-Control may say less
	MaxStale    time.Duration // DefaultMaxStale where zero

	set atomic.Pointer[keySet]

	mu      sync.Mutex
	running chan struct{} // closed when the fetch that runs has ended; nil where none runs
	tried   time.Time     // when the last fetch began
	failed  error         // how it ended
}

// keySet is one good answer of the issuer. It never changes, but for until.
type keySet struct {
	keys    map[string]jose.JSONWebKey
	etag    string
	fetched time.Time // or confirmed
	until   time.Time // when it must be asked for again
}

// Key returns the key with that id. Where the set at hand lacks it, or is older
// than it may be, the set is fetched first. It answers ErrInvalid where the
// issuer publishes no such key and ErrUnavailable where that cannot be told.
func (r *RemoteKeys) Key(ctx context.Context, kid string) (jose.JSONWebKey, error) {
	if r.Now == nil || r.URL == "" {
		return jose.JSONWebKey{}, ErrUnavailable.because("key set: %v", errNoClock)
	}
	now := r.Now()
	if set := r.set.Load(); set != nil && now.Before(set.until) {
		if k, ok := set.keys[kid]; ok {
			return k, nil
		}
	}
	err := r.refresh(ctx, now, kid, orDefault(r.MinInterval, DefaultMinInterval))
	set := r.set.Load()
	if set == nil || now.Sub(set.fetched) > orDefault(r.MaxStale, DefaultMaxStale) {
		return jose.JSONWebKey{}, ErrUnavailable.because("key set: %v", err)
	}
	k, ok := set.keys[kid]
	switch {
	case ok:
		return k, nil
	case err != nil:
		return jose.JSONWebKey{}, ErrUnavailable.because("key set: %v", err)
	default:
		return jose.JSONWebKey{}, ErrInvalid.because("the issuer has no key with this id")
	}
}

// refreshInterval is the least time between two fetches by Refresh.
const refreshInterval = 500 * time.Millisecond

// Refresh fetches the set now, unless that was tried within the last half
// second. It is for a key id that the issuer itself named, over a connection of
// ours: bearers of tokens cannot cause it, so MinInterval does not hold it up.
func (r *RemoteKeys) Refresh(ctx context.Context) error {
	if r.Now == nil || r.URL == "" {
		return ErrUnavailable.because("key set: %v", errNoClock)
	}
	return r.refresh(ctx, r.Now(), "", refreshInterval)
}

// refresh fetches the set unless that was tried within interval, and returns how
// the last try ended. While another caller's fetch runs, it waits for it only
// where the set at hand does not have kid, or is too old to serve.
func (r *RemoteKeys) refresh(ctx context.Context, now time.Time, kid string, interval time.Duration) error {
	r.mu.Lock()
	running := r.running
	if running != nil {
		if set := r.set.Load(); set != nil && now.Sub(set.fetched) <= orDefault(r.MaxStale, DefaultMaxStale) {
			if _, ok := set.keys[kid]; ok {
				r.mu.Unlock()
				return nil
			}
		}
	} else {
		since := now.Sub(r.tried)
		if !r.tried.IsZero() && since >= 0 && since < interval {
			defer r.mu.Unlock()
			return r.failed
		}
		running = make(chan struct{})
		r.running, r.tried = running, now
		// The fetch serves everybody who waits, so it does not end with the
		// request that began it.
		go r.fetch(context.WithoutCancel(ctx), now, running)
	}
	r.mu.Unlock()
	select {
	case <-running:
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.failed
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *RemoteKeys) fetch(ctx context.Context, now time.Time, done chan struct{}) {
	set, err := r.load(ctx, now)
	if err == nil {
		r.set.Store(set)
	}
	r.mu.Lock()
	r.running, r.failed = nil, err
	r.mu.Unlock()
	close(done)
}

func (r *RemoteKeys) load(ctx context.Context, now time.Time) (*keySet, error) {
	old := r.set.Load()
	etag := ""
	if old != nil {
		etag = old.etag
	}
	d, err := fetch(ctx, r.Client, r.URL, etag, maxKeySet)
	if err != nil {
		return nil, err
	}
	age := d.maxAge
	if age < 0 {
		age = unstatedAge
	}
	age = min(max(age, orDefault(r.MinInterval, DefaultMinInterval)), orDefault(r.MaxAge, DefaultMaxAge))
	set := &keySet{etag: d.etag, fetched: now, until: now.Add(age)}
	if d.unchanged {
		set.keys = old.keys
		return set, nil
	}
	if set.keys, err = readKeySet(d.body); err != nil {
		return nil, err
	}
	return set, nil
}

// privateMembers are the JWK members that a published key never has (RFC 7518
// §6.2.2, §6.3.2, §6.4; RFC 8037 §2).
var privateMembers = map[string]bool{"d": true, "p": true, "q": true, "dp": true, "dq": true, "qi": true, "oth": true, "k": true, "priv": true}

// readKeySet returns the usable keys of a set by id. Keys of types and
// algorithms that we do not have are passed over (RFC 7517 §5).
func readKeySet(body []byte) (map[string]jose.JSONWebKey, error) {
	top, err := members(body)
	if err != nil {
		return nil, err
	}
	var list []json.RawMessage
	for _, m := range top {
		if m.name == "keys" {
			if err := json.Unmarshal(m.raw, &list); err != nil {
				return nil, err
			}
		}
	}
	if len(list) > maxKeysInSet {
		return nil, fmt.Errorf("more than %d keys", maxKeysInSet)
	}
	keys := make(map[string]jose.JSONWebKey, len(list))
	for _, raw := range list {
		k, ok, err := readKey(raw)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		if _, twice := keys[k.KeyID]; twice {
			return nil, errors.New("two keys of one id")
		}
		keys[k.KeyID] = k
	}
	if len(keys) == 0 {
		return nil, errors.New("no usable key")
	}
	return keys, nil
}

// readKey returns one key; false where it is none that we can verify with.
func readKey(raw []byte) (jose.JSONWebKey, bool, error) {
	ms, err := members(raw)
	if err != nil {
		return jose.JSONWebKey{}, false, err
	}
	for _, m := range ms {
		if privateMembers[m.name] {
			return jose.JSONWebKey{}, false, errors.New("private or symmetric key material is published")
		}
	}
	var k jose.JSONWebKey
	if err := k.UnmarshalJSON(raw); err != nil {
		return jose.JSONWebKey{}, false, nil //nolint:nilerr // a key we cannot read is not ours to judge
	}
	good := usable(k) && goodKeyID(k.KeyID) && (k.Use == "" || k.Use == "sig")
	return k, good, nil
}

func orDefault(d, def time.Duration) time.Duration {
	if d <= 0 {
		return def
	}
	return d
}

package verify

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	// RevocationsType is the typ header of the feed of revocations.
	RevocationsType = "revocations+jwt"
	// RevocationsDeltaType is the typ header of what was added to it.
	RevocationsDeltaType = "revocations-delta+jwt"
	// DefaultPollInterval is how often RemoteRevocations asks.
	DefaultPollInterval = time.Second

	maxFeed = 32 << 20 // bytes of the feed: some 250 000 revocations
)

// RemoteRevocations follows an issuer's signed feed of revocations, so that a
// token is refused within Interval of its revocation although it is verified
// offline. URL, Issuer, Keys and Now are required. Run it in a goroutine of its
// own and set it as Verifier.Revoked.
//
// What proves that the feed is fresh is the time inside the signature, never
// that something answered. Where that time is older than the feed itself
// declares (max_staleness), or than MaxStaleness, every token is refused with
// ErrUnavailable; with FailOpen the entries last seen still count and other
// tokens pass.
//
// With Mode FeedStream or FeedLongPoll it is told of a revocation as it is made.
// Every delta is signed and names the place that it follows, so that nobody on
// the way can forge one, and one that was kept back is noticed: by the next, or
// by the silence. While the issuer, or a proxy before it, does not offer the
// mode, the next humbler one takes its place, long polls for a stream and polls
// for those; the mode is tried again after a pause that grows to half a minute.
// Both modes are told at least every ten seconds: a MaxStaleness below fifteen
// is for FeedPoll.
//
// It keeps at most 1 048 576 revocations, some 150 MB, and reads at most 32 MiB
// of a document. An issuer who tells more is not believed, so that the feed
// grows stale. Entries of kinds that this package does not know are passed over.
type RemoteRevocations struct {
	URL    string           // of the feed: issuer + "/.well-known/revocations"
	Issuer string           // iss of the feed must be exactly this
	Keys   KeySource        // the issuer's keys
	Client *http.Client     // http.DefaultClient where nil
	Now    func() time.Time // time.Now in production

	Interval     time.Duration // DefaultPollInterval where zero
	MaxStaleness time.Duration // what the feed declares where zero; never more than that
	FailOpen     bool
	Mode         FeedMode  // FeedPoll where zero
	Random       io.Reader // spreads reconnections; crypto/rand where nil
	// Report, where set, hears of each poll and of each connection that failed.
	Report func(err error)
	// Heard, where set, is called after each document that was believed.
	Heard func()

	polling sync.Mutex
	heard   revocations
	longest int // document, in bytes; maxFeed where zero
}

func (r *RemoteRevocations) limit() int {
	if r.longest > 0 {
		return r.longest
	}
	return maxFeed
}

// Run follows the feed until ctx ends.
func (r *RemoteRevocations) Run(ctx context.Context) { r.follow(ctx, r.Mode) }

func (r *RemoteRevocations) pollUntil(ctx context.Context) {
	tick := time.NewTicker(orDefault(r.Interval, DefaultPollInterval))
	defer tick.Stop()
	for {
		if err := r.Poll(ctx); err != nil {
			r.report(ctx, err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (r *RemoteRevocations) report(ctx context.Context, err error) {
	if r.Report != nil && ctx.Err() == nil {
		r.Report(err)
	}
}

func (r *RemoteRevocations) complete() error {
	if r.Now == nil || r.URL == "" || r.Issuer == "" || r.Keys == nil {
		return errors.New("revocations: URL, Issuer, Keys and Now are required")
	}
	return nil
}

// Poll fetches the feed once. A document that is older than the one at hand,
// another replica's or a replay, takes nothing away and makes nothing fresher.
func (r *RemoteRevocations) Poll(ctx context.Context) error {
	if err := r.complete(); err != nil {
		return err
	}
	r.polling.Lock()
	defer r.polling.Unlock()
	etag, _ := r.heard.place()
	d, err := fetch(ctx, r.Client, r.URL, etag, int64(r.limit()))
	if err != nil || d.unchanged {
		return err
	}
	_, err = r.take(ctx, string(d.body), d.etag)
	return err
}

// taken is what a document was that was believed.
type taken struct{ delta, newer bool }

// take believes a document, or says why not.
func (r *RemoteRevocations) take(ctx context.Context, compact, etag string) (n taken, err error) {
	f, delta, err := r.read(ctx, compact)
	if err != nil {
		return n, err
	}
	newer, err := r.heard.add(f, delta, etag, r.Now())
	if err != nil {
		return n, err
	}
	if r.Heard != nil {
		r.Heard()
	}
	return taken{delta, newer}, nil
}

// Revoked reports whether the feed names the token, its session, its subject,
// the API key that it was exchanged for, or the key that signed it.
func (r *RemoteRevocations) Revoked(_ context.Context, c Claims) (bool, error) {
	set := &r.heard
	set.mu.RLock()
	defer set.mu.RUnlock()
	if r.Now == nil || !set.known {
		if r.FailOpen {
			return false, nil
		}
		return false, ErrUnavailable.because("revocations: none were heard yet")
	}
	if set.names(c) {
		return true, nil
	}
	allowed := set.staleness
	if r.MaxStaleness > 0 {
		allowed = min(allowed, r.MaxStaleness)
	}
	if age := r.Now().Sub(set.issued); age > allowed && !r.FailOpen {
		return false, ErrUnavailable.because("revocations: the feed is %v old", age.Truncate(time.Second))
	}
	return false, nil
}

// feed is the payload of the document, see docs of tokens.RevocationFeed.
type feed struct {
	Issuer       string      `json:"iss"`
	IssuedAt     int64       `json:"iat"`
	ExpiresAt    int64       `json:"exp"`
	MaxStaleness int64       `json:"max_staleness"` // seconds
	Since        string      `json:"since"`         // of a delta: the cursor that it follows
	Cursor       string      `json:"cursor"`
	Entries      []feedEntry `json:"entries"`
}

type feedEntry struct {
	Token        string `json:"jti"`
	Session      string `json:"sid"`
	Subject      string `json:"sub"`
	IssuedBefore int64  `json:"issued_before"`
	APIKey       string `json:"key_id"`
	SigningKey   string `json:"kid"`
	ExpiresAt    int64  `json:"exp"`
}

// maxName is the longest name of anything revoked, in bytes.
const maxName = 1 << 10

// read checks form, type, signature, issuer and times of a feed document.
func (r *RemoteRevocations) read(ctx context.Context, compact string) (f feed, delta bool, err error) {
	e, err := open(compact, r.limit())
	if err != nil {
		return feed{}, false, err
	}
	if delta = e.isType(RevocationsDeltaType); !delta && !e.isType(RevocationsType) {
		return feed{}, false, ErrInvalid.because("the feed's typ is not %s", RevocationsType)
	}
	payload, err := e.stated(ctx, r.Keys)
	if err != nil {
		return feed{}, false, err
	}
	if r.heard.signedNothing(e.kid) { // the key set at hand may be older than the revocation
		return feed{}, false, ErrInvalid.because("the feed is signed by a revoked key")
	}
	if _, err := members(payload); err != nil {
		return feed{}, false, ErrInvalid.because("feed: %v", err)
	}
	if err := json.Unmarshal(payload, &f); err != nil {
		return feed{}, false, ErrInvalid.because("feed: %v", err)
	}
	for _, e := range f.Entries {
		if len(e.name()) > maxName {
			return feed{}, false, ErrInvalid.because("the feed names what nothing is named")
		}
	}
	now := r.Now()
	switch issued := time.Unix(f.IssuedAt, 0); {
	case f.Issuer != r.Issuer:
		return feed{}, false, ErrInvalid.because("another issuer's feed")
	case f.IssuedAt <= 0 || f.MaxStaleness <= 0 || issued.After(now.Add(DefaultLeeway)):
		return feed{}, false, ErrInvalid.because("the feed's times make no sense")
	case f.ExpiresAt <= 0 || !now.Before(time.Unix(f.ExpiresAt, 0).Add(DefaultLeeway)):
		return feed{}, false, ErrExpired.because("the feed has expired")
	}
	return f, delta, nil
}

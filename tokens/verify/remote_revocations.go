package verify

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// RevocationsType is the typ header of the feed of revocations.
	RevocationsType = "revocations+jwt"
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
type RemoteRevocations struct {
	URL    string           // of the feed: issuer + "/.well-known/revocations"
	Issuer string           // iss of the feed must be exactly this
	Keys   KeySource        // the issuer's keys
	Client *http.Client     // http.DefaultClient where nil
	Now    func() time.Time // time.Now in production

	Interval     time.Duration // DefaultPollInterval where zero
	MaxStaleness time.Duration // what the feed declares where zero; never more than that
	FailOpen     bool
	// Report, where set, hears of each poll that failed.
	Report func(err error)

	polling sync.Mutex
	latest  atomic.Pointer[revocations]
}

// revocations is one feed document whose signature held. It never changes.
type revocations struct {
	etag      string
	issued    time.Time
	staleness time.Duration
	tokens    map[string]struct{}
	sessions  map[string]struct{}
	subjects  map[string]time.Time // refuse what was issued before
}

// Run polls until ctx ends.
func (r *RemoteRevocations) Run(ctx context.Context) {
	tick := time.NewTicker(orDefault(r.Interval, DefaultPollInterval))
	defer tick.Stop()
	for {
		if err := r.Poll(ctx); err != nil && ctx.Err() == nil && r.Report != nil {
			r.Report(err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// Poll fetches the feed once. A document that is older than the one at hand is
// passed over: another replica's, or a replay.
func (r *RemoteRevocations) Poll(ctx context.Context) error {
	if r.Now == nil || r.URL == "" || r.Issuer == "" || r.Keys == nil {
		return errors.New("revocations: URL, Issuer, Keys and Now are required")
	}
	r.polling.Lock()
	defer r.polling.Unlock()
	old := r.latest.Load()
	etag := ""
	if old != nil {
		etag = old.etag
	}
	d, err := fetch(ctx, r.Client, r.URL, etag, maxFeed)
	if err != nil || d.unchanged {
		return err
	}
	next, err := r.read(ctx, string(d.body))
	if err != nil {
		return err
	}
	next.etag = d.etag
	if old == nil || !next.issued.Before(old.issued) {
		r.latest.Store(next)
	}
	return nil
}

// Revoked reports whether the feed names the token, its session or its subject.
func (r *RemoteRevocations) Revoked(_ context.Context, c Claims) (bool, error) {
	set := r.latest.Load()
	if r.Now == nil || set == nil {
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

func (s *revocations) names(c Claims) bool {
	if _, ok := s.tokens[c.ID]; ok {
		return true
	}
	if _, ok := s.sessions[c.SessionID]; ok && c.SessionID != "" {
		return true
	}
	before, ok := s.subjects[c.Subject]
	return ok && c.IssuedAt.Before(before)
}

// feed is the payload of the document, see docs of tokens.RevocationFeed.
type feed struct {
	Issuer       string      `json:"iss"`
	IssuedAt     int64       `json:"iat"`
	ExpiresAt    int64       `json:"exp"`
	MaxStaleness int64       `json:"max_staleness"` // seconds
	Entries      []feedEntry `json:"entries"`
}

type feedEntry struct {
	Token        string `json:"jti"`
	Session      string `json:"sid"`
	Subject      string `json:"sub"`
	IssuedBefore int64  `json:"issued_before"`
}

// read checks form, type, signature, issuer and times of a feed document.
func (r *RemoteRevocations) read(ctx context.Context, compact string) (*revocations, error) {
	e, err := open(compact, maxFeed)
	if err != nil {
		return nil, err
	}
	if !e.isType(RevocationsType) {
		return nil, ErrInvalid.because("the feed's typ is not %s", RevocationsType)
	}
	payload, _, err := e.payload(ctx, r.Keys)
	if err != nil {
		return nil, err
	}
	if _, err := members(payload); err != nil {
		return nil, ErrInvalid.because("feed: %v", err)
	}
	var f feed
	if err := json.Unmarshal(payload, &f); err != nil {
		return nil, ErrInvalid.because("feed: %v", err)
	}
	now := r.Now()
	switch issued := time.Unix(f.IssuedAt, 0); {
	case f.Issuer != r.Issuer:
		return nil, ErrInvalid.because("another issuer's feed")
	case f.IssuedAt <= 0 || f.MaxStaleness <= 0 || issued.After(now.Add(DefaultLeeway)):
		return nil, ErrInvalid.because("the feed's times make no sense")
	case f.ExpiresAt <= 0 || !now.Before(time.Unix(f.ExpiresAt, 0).Add(DefaultLeeway)):
		return nil, ErrExpired.because("the feed has expired")
	}
	return f.index(), nil
}

func (f feed) index() *revocations {
	s := &revocations{
		issued: time.Unix(f.IssuedAt, 0), staleness: time.Duration(min(f.MaxStaleness, int64(24*time.Hour/time.Second))) * time.Second,
		tokens: map[string]struct{}{}, sessions: map[string]struct{}{}, subjects: map[string]time.Time{},
	}
	for _, e := range f.Entries {
		switch {
		case e.Token != "":
			s.tokens[e.Token] = struct{}{}
		case e.Session != "":
			s.sessions[e.Session] = struct{}{}
		case e.Subject != "":
			if t := time.Unix(e.IssuedBefore, 0); t.After(s.subjects[e.Subject]) {
				s.subjects[e.Subject] = t
			}
		}
	}
	return s
}

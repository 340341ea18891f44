package tokens

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/fault"
)

const (
	// RevocationFeedType is the typ header of the feed.
	RevocationFeedType = "revocations+jwt"
	// DefaultFeedStaleness is the max_staleness the feed declares.
	DefaultFeedStaleness = 30 * time.Second
	// DefaultFeedRenewal is how often the feed is signed anew although nothing
	// was revoked: its readers believe the signed time only.
	DefaultFeedRenewal = 5 * time.Second
)

// RevocationFeed makes the signed list of revocations for verifiers that work
// offline: a compact JWS whose payload is
//
//	{"iss", "iat", "exp", "max_staleness": seconds, "cursor", "entries": [
//	  {"jti": …, "exp": …} | {"sid": …, "exp": …} | {"sub": …, "issued_before": …, "exp": …}
//	  | {"key_id": an API key that tokens were exchanged for, "exp": …} | {"kid": a signing key, "exp": …}]}
//
// An entry stays until exp, when the last token it names has expired. cursor is
// where Since goes on, and changes whenever the entries do. A reader whose newest document is older
// than max_staleness does not know what was revoked meanwhile.
//
// Signer, Issuer, Entries and Now are required. Subscribe the feed to the
// changes after the set that Entries reads.
type RevocationFeed struct {
	Signer  Signer
	Issuer  string
	Entries func(now time.Time) []changes.Change // the revocations that matter now, in a stable order
	Now     func() time.Time
	// Fresh, where set, reports whether Entries may be believed; while it does
	// not, no document is signed, so that readers notice.
	Fresh        func() bool
	MaxStaleness time.Duration // DefaultFeedStaleness where zero
	Renewal      time.Duration // DefaultFeedRenewal where zero; less than MaxStaleness

	changed atomic.Uint64 // counts what was heard
	mu      sync.Mutex
	latest  RevocationDocument
	built   uint64    // changed, when latest was made
	renew   time.Time // when latest must be made again
	past    history   // for Since
	watch   watchers
}

// RevocationDocument is the feed as it is served.
type RevocationDocument struct {
	Body     []byte    // the compact JWS; media type application/revocations+jwt
	ETag     string    // quoted, as the header has it
	Cursor   string    // where Since goes on
	Delta    bool      // not the whole list; media type application/revocations-delta+jwt
	IssuedAt time.Time // whole seconds
	// MaxAge is how long a cache between us and the reader may keep the document.
	MaxAge time.Duration
}

// Hear implements changes.Subscriber: the next Document is made anew.
func (f *RevocationFeed) Hear(cs []changes.Change) {
	for _, c := range cs {
		if c.Revokes() {
			f.changed.Add(1)
			f.watch.wake()
			return
		}
	}
}

// Forget implements changes.Subscriber.
func (f *RevocationFeed) Forget() {
	f.changed.Add(1)
	f.watch.wake()
}

// Document returns the feed as of now. One is made per change and per Renewal,
// however many readers ask. It fails with fault.Unavailable while the
// revocations are not to be believed, and where signing fails.
func (f *RevocationFeed) Document(ctx context.Context) (RevocationDocument, error) {
	if f.Fresh != nil && !f.Fresh() {
		return RevocationDocument{}, fault.New(fault.Unavailable, "The list of revocations cannot be told at the moment.")
	}
	now := f.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	changed := f.changed.Load() // before Entries is read: what comes later is heard again
	if f.latest.Body != nil && f.built == changed && now.Before(f.renew) && !now.Before(f.latest.IssuedAt) {
		return f.latest, nil
	}
	doc, err := f.make(ctx, now)
	if err != nil {
		return RevocationDocument{}, fmt.Errorf("sign revocations: %w", err)
	}
	f.latest, f.built, f.renew = doc, changed, now.Add(orElse(f.Renewal, DefaultFeedRenewal))
	return doc, nil
}

type feedPayload struct {
	Issuer       string      `json:"iss"`
	IssuedAt     int64       `json:"iat"`
	ExpiresAt    int64       `json:"exp"`
	MaxStaleness int64       `json:"max_staleness"`
	Since        string      `json:"since,omitempty"` // of a delta
	Cursor       string      `json:"cursor"`
	Entries      []feedEntry `json:"entries"`
}

type feedEntry struct {
	Token        string `json:"jti,omitempty"`
	Session      string `json:"sid,omitempty"`
	Subject      string `json:"sub,omitempty"`
	IssuedBefore int64  `json:"issued_before,omitempty"`
	APIKey       string `json:"key_id,omitempty"`
	SigningKey   string `json:"kid,omitempty"`
	ExpiresAt    int64  `json:"exp"`
}

func (f *RevocationFeed) make(ctx context.Context, now time.Time) (RevocationDocument, error) {
	entries, all := []feedEntry{}, f.Entries(now)
	for _, c := range all {
		if e, ok := entryOf(c); ok && c.Until.After(now) {
			entries = append(entries, e)
		}
	}
	return f.sign(ctx, now, feedPayload{Cursor: cursorOf(byTime(all), now), Entries: entries}, RevocationFeedType)
}

// sign completes a payload that has its entries and its cursor.
func (f *RevocationFeed) sign(ctx context.Context, now time.Time, p feedPayload, typ string) (RevocationDocument, error) {
	staleness := orElse(f.MaxStaleness, DefaultFeedStaleness)
	p.Issuer, p.IssuedAt, p.ExpiresAt, p.MaxStaleness = f.Issuer, now.Unix(), now.Add(staleness).Unix(), int64(staleness/time.Second)
	payload, err := json.Marshal(p)
	if err != nil {
		return RevocationDocument{}, err
	}
	jws, err := f.Signer.Sign(ctx, payload, typ)
	if err != nil {
		return RevocationDocument{}, err
	}
	return RevocationDocument{
		Body: []byte(jws), ETag: `"` + digest([]byte(jws)) + `"`, Cursor: p.Cursor, Delta: typ == RevocationDeltaType,
		IssuedAt: time.Unix(now.Unix(), 0).UTC(), MaxAge: time.Second,
	}, nil
}

// entryOf says what a revocation means to a verifier that sees whole seconds: a
// token issued at or before At is one with iat < issued_before.
func entryOf(c changes.Change) (feedEntry, bool) {
	e := feedEntry{ExpiresAt: c.Until.Unix()}
	switch c.Kind {
	case changes.TokenRevoked:
		e.Token = c.Key
	case changes.SessionRevoked:
		e.Session = c.Key
	case changes.SubjectCutoff:
		e.Subject, e.IssuedBefore = c.Key, c.At.Unix()+1
	case changes.APIKeyRevoked:
		e.APIKey = c.Key
	case changes.SigningKeyRevoked:
		e.SigningKey = c.Key
	default:
		return e, false
	}
	return e, true
}

func digest(b []byte) string {
	d := sha256.Sum256(b)
	return base64.RawURLEncoding.EncodeToString(d[:16])
}

func orElse(d, def time.Duration) time.Duration {
	if d == 0 {
		return def
	}
	return d
}

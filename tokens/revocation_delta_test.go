package tokens_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/tokens"
)

// replica is a feed of its own that may lag behind the others.
type replica struct {
	*tokens.RevocationFeed
	set *tokens.Revocations
}

func newReplica(k *aKey, now func() time.Time) *replica {
	set := &tokens.Revocations{Now: now}
	return &replica{&tokens.RevocationFeed{Signer: k, Issuer: accessIssuer, Now: now, Entries: set.Entries}, set}
}

func (r *replica) hear(cs ...changes.Change) { r.set.Hear(cs); r.Hear(cs) }

type delta struct {
	Issuer  string `json:"iss"`
	Since   string `json:"since"`
	Cursor  string `json:"cursor"`
	Entries []struct {
		Session string `json:"sid"`
	} `json:"entries"`
}

func (d delta) sessions() string {
	var out []string
	for _, e := range d.Entries {
		out = append(out, e.Session)
	}
	return strings.Join(out, " ")
}

func opened(t *testing.T, k *aKey, doc tokens.RevocationDocument) delta {
	t.Helper()
	jws, err := jose.ParseSignedCompact(string(doc.Body), []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	public, _ := k.public("kid-1")
	payload, err := jws.Verify(public)
	if err != nil {
		t.Fatal(err)
	}
	want := map[bool]string{true: tokens.RevocationDeltaType, false: tokens.RevocationFeedType}[doc.Delta]
	if typ := jws.Signatures[0].Protected.ExtraHeaders[jose.HeaderType]; typ != want {
		t.Errorf("typ %v, want %s", typ, want)
	}
	var d delta
	if err := json.Unmarshal(payload, &d); err != nil {
		t.Fatal(err)
	}
	if d.Cursor != doc.Cursor || d.Issuer != accessIssuer {
		t.Errorf("%+v", d)
	}
	return d
}

func ended(sid string, at time.Time) changes.Change {
	return changes.Change{Kind: changes.SessionRevoked, Key: sid, At: at, Until: at.Add(25 * time.Hour)}
}

// A cursor of one replica holds at another and after a restart: nothing is left
// out, and nothing is repeated once both know the same.
func TestACursorHoldsAtEveryReplica(t *testing.T) {
	k, now := newAKey(t), accessNow
	clock := func() time.Time { return now }
	a, b := newReplica(k, clock), newReplica(k, clock)
	since := func(r *replica, cursor string) delta {
		t.Helper()
		d, empty, err := r.Since(t.Context(), cursor)
		if err != nil {
			t.Fatal(err)
		}
		out := opened(t, k, d)
		if empty != (d.Delta && len(out.Entries) == 0) || d.Delta && out.Since != cursor {
			t.Errorf("empty %v, %+v", empty, out)
		}
		return out
	}
	one := ended("sess_1", now)
	a.hear(one)
	b.hear(one)
	whole := since(a, "")
	if whole.sessions() != "sess_1" {
		t.Fatalf("%+v", whole)
	}
	for _, r := range []*replica{a, b} {
		if d := since(r, whole.Cursor); d.sessions() != "" {
			t.Errorf("repeated %q", d.sessions())
		}
	}
	now = now.Add(time.Second)
	two, three := ended("sess_2", now), ended("sess_3", now.Add(-500*time.Millisecond)) // the third committed late
	a.hear(two)
	now = now.Add(time.Second)
	first := since(a, whole.Cursor)
	if first.sessions() != "sess_2" {
		t.Errorf("told %q", first.sessions())
	}
	a.hear(three)
	b.hear(two, three)
	for _, r := range []*replica{a, b, newReplicaWith(k, clock, one, two, three)} {
		d := since(r, first.Cursor)
		if !strings.Contains(d.sessions(), "sess_3") {
			t.Errorf("left out: %q", d.sessions())
		}
		if d := since(r, d.Cursor); d.sessions() != "" {
			t.Errorf("repeated %q", d.sessions())
		}
	}
	for _, unknown := range []string{"", "x", "1.zz", "2." + first.Cursor[2:], strings.Repeat("1.", 500), "1.-5.x"} {
		if d, _, err := a.Since(t.Context(), unknown); err != nil || d.Delta {
			t.Errorf("%q: %v, a delta: %v", unknown, err, d.Delta)
		}
	}
	now = now.Add(tokens.MaxCursorAge + time.Second)
	if d, _, err := a.Since(t.Context(), first.Cursor); err != nil || d.Delta {
		t.Errorf("an old cursor: %v, a delta: %v", err, d.Delta)
	}
}

func newReplicaWith(k *aKey, now func() time.Time, cs ...changes.Change) *replica {
	r := newReplica(k, now)
	r.hear(cs...)
	return r
}

func TestReadersWaitForRevocations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newAKey(t)
		r := newReplica(k, time.Now)
		list, err := r.Document(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		d, err := r.Await(t.Context(), list.Cursor, 10*time.Second)
		if err != nil || opened(t, k, d).sessions() != "" || time.Since(began) != 10*time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		go func() { <-time.After(3 * time.Second); r.hear(ended("sess_1", time.Now())) }()
		began = time.Now()
		d, err = r.Await(t.Context(), d.Cursor, 10*time.Second)
		if err != nil || opened(t, k, d).sessions() != "sess_1" || time.Since(began) != 3*time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := r.Await(ctx, d.Cursor, time.Hour); !errors.Is(err, context.Canceled) {
			t.Errorf("the client went: %v", err)
		}
		s, err := r.Stream(d.Cursor)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if d, ok, err := s.Next(t.Context(), time.Minute); !ok || err != nil || opened(t, k, d).sessions() != "" {
			t.Errorf("the first: %v %v", ok, err)
		}
		go func() { <-time.After(time.Second); r.End(); r.End() }()
		began = time.Now()
		if _, ok, err := s.Next(t.Context(), time.Minute); ok || err != nil || time.Since(began) != time.Second {
			t.Errorf("the end: %v %v after %s", ok, err, time.Since(began))
		}
		if _, err := r.Stream(""); !errors.Is(err, fault.Unavailable) {
			t.Errorf("a stream after the end: %v", err)
		}
	})
}

func TestStreamsAreBounded(t *testing.T) {
	r := newReplica(newAKey(t), func() time.Time { return accessNow })
	var last *tokens.FeedStream
	for range tokens.MaxFeedStreams {
		s, err := r.Stream("")
		if err != nil {
			t.Fatal(err)
		}
		last = s
	}
	if _, err := r.Stream(""); !errors.Is(err, fault.Unavailable) {
		t.Errorf("one too many: %v", err)
	}
	last.Close()
	if _, err := r.Stream(""); err != nil {
		t.Errorf("a place that was given back: %v", err)
	}
}

package tokens_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/tokens"
)

// O17: the feed lists what is revoked until its last token has expired.
func TestO17TheFeedListsRevocations(t *testing.T) {
	k := newAKey(t)
	now := accessNow
	day := accessNow.Add(24 * time.Hour)
	list := []changes.Change{
		{Kind: changes.SessionRevoked, Key: "sess_1", At: now, Until: day},
		{Kind: changes.SubjectCutoff, Key: "user_1", At: now, Until: day},
		{Kind: changes.TokenRevoked, Key: "tok_1", At: now, Until: now.Add(time.Hour)},
		{Kind: changes.APIKey, Key: "secretid", At: now},
	}
	f := &tokens.RevocationFeed{Signer: k, Issuer: accessIssuer, Now: func() time.Time { return now }, Entries: func(time.Time) []changes.Change { return list }}
	want := `[{"sid":"sess_1","exp":1781344800},{"sub":"user_1","issued_before":1781258401,"exp":1781344800},{"jti":"tok_1","exp":1781262000}]`
	head, entries := feedOf(t, f, k)
	if entries != want {
		t.Errorf("entries %s", entries)
	}
	if head.Issuer != accessIssuer || head.IssuedAt != 1781258400 || head.ExpiresAt != 1781258430 || head.MaxStaleness != 30 || head.Cursor == "" {
		t.Errorf("feed %+v", head)
	}
	cursor := head.Cursor
	now = now.Add(time.Hour)
	head, entries = feedOf(t, f, k)
	if strings.Contains(entries, "tok_1") || !strings.Contains(entries, "sess_1") || head.Cursor == cursor {
		t.Errorf("an hour later: %s", entries)
	}
	now = day
	if _, entries = feedOf(t, f, k); entries != "[]" {
		t.Errorf("a day later: %s", entries)
	}
}

type feedHead struct {
	Issuer       string          `json:"iss"`
	IssuedAt     int64           `json:"iat"`
	ExpiresAt    int64           `json:"exp"`
	MaxStaleness int64           `json:"max_staleness"`
	Cursor       string          `json:"cursor"`
	Entries      json.RawMessage `json:"entries"`
}

func feedOf(t *testing.T, f *tokens.RevocationFeed, k *aKey) (feedHead, string) {
	t.Helper()
	d, err := f.Document(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	jws, err := jose.ParseSignedCompact(string(d.Body), []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	public, _ := k.public("kid-1")
	payload, err := jws.Verify(public)
	if err != nil {
		t.Fatal(err)
	}
	if typ := jws.Signatures[0].Protected.ExtraHeaders[jose.HeaderType]; typ != tokens.RevocationFeedType {
		t.Errorf("typ %v", typ)
	}
	var h feedHead
	if err := json.Unmarshal(payload, &h); err != nil {
		t.Fatal(err)
	}
	return h, string(h.Entries)
}

// However many readers ask, a feed is signed once for each change and once in a
// while.
func TestTheFeedIsSignedOncePerChange(t *testing.T) {
	k := newAKey(t)
	now := accessNow
	var list []changes.Change
	f := &tokens.RevocationFeed{Signer: k, Issuer: accessIssuer, Now: func() time.Time { return now }, Entries: func(time.Time) []changes.Change { return list }}
	tags := map[string]bool{}
	ask := func(signed int) {
		t.Helper()
		for range 10 {
			d, err := f.Document(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			tags[d.ETag] = true
		}
		if k.signed != signed || len(tags) != signed {
			t.Errorf("%d signatures and %d tags, want %d", k.signed, len(tags), signed)
		}
	}
	ask(1)
	list = []changes.Change{{Kind: changes.SessionRevoked, Key: "sess_1", At: now, Until: now.Add(time.Hour)}}
	f.Hear([]changes.Change{{Kind: changes.User, Key: "user_1"}}) // nothing of ours
	ask(1)
	f.Hear(list)
	ask(2)
	f.Forget()
	ask(3)
	now = now.Add(tokens.DefaultFeedRenewal - 1)
	ask(3)
	now = now.Add(1)
	ask(4)
	now = now.Add(-time.Hour) // the clock was set back
	ask(5)
}

func TestTheFeedIsSilentWhileItIsNotBelieved(t *testing.T) {
	k := newAKey(t)
	fresh := true
	f := &tokens.RevocationFeed{
		Signer: k, Issuer: accessIssuer, Now: func() time.Time { return accessNow }, Fresh: func() bool { return fresh },
		Entries: func(time.Time) []changes.Change { return nil },
	}
	if _, err := f.Document(t.Context()); err != nil {
		t.Fatal(err)
	}
	fresh = false
	if _, err := f.Document(t.Context()); !errors.Is(err, fault.Unavailable) {
		t.Errorf("got %v", err)
	}
	fresh, k.fail = true, errors.New("the key is gone")
	f.Forget()
	if _, err := f.Document(t.Context()); err == nil {
		t.Error("an old document was served in place of a new one")
	}
}

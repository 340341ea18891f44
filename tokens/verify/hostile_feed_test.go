package verify_test

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/tokens/verify"
)

// after lets virtual time pass, and what it wakes come to rest.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// Each mode tells of a revocation within its bound, and leaves nothing running.
func TestEachModeTellsOfARevocation(t *testing.T) {
	for mode, bound := range map[verify.FeedMode]time.Duration{verify.FeedPoll: time.Second, verify.FeedLongPoll: 200 * time.Millisecond, verify.FeedStream: 200 * time.Millisecond} {
		t.Run(fmt.Sprint("mode ", mode), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newFeedSite(t, mode)
				defer s.stop()
				after(2 * time.Second)
				for i := range 5 {
					sid := fmt.Sprint("sess_", i)
					s.expect("before", sid, "ok")
					s.revoke(sid)
					after(bound)
					s.expect("after", sid, "revoked")
					after(time.Duration(7*i) * time.Second)
				}
				after(10 * time.Minute)
				s.expect("later", "sess_4", "revoked")
				s.expect("later", "sess_9", "ok")
				if errs := s.reported(); len(errs) > 0 {
					t.Errorf("reported %v", errs)
				}
				if s.stream.hits.Load() > 1 || s.wait.hits.Load() > 80 {
					t.Errorf("%d streams, %d long polls", s.stream.hits.Load(), s.wait.hits.Load())
				}
			})
		})
	}
}

// hostile is what may come instead of the stream. said is part of what is
// reported of it; sent bounds what it got rid of.
type hostile struct {
	said string
	sent int64
	at   func(s *feedSite) http.HandlerFunc
}

// pour sends first, and then text for ever.
func pour(first, text string) func(*feedSite) http.HandlerFunc {
	return func(s *feedSite) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, first)
			for r.Context().Err() == nil {
				n, err := io.WriteString(w, text)
				if s.elsewhere.Add(int64(n)); err != nil {
					return
				}
			}
		}
	}
}

func one(text func(s *feedSite) string) func(*feedSite) http.HandlerFunc {
	return func(s *feedSite) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			tell(w, text(s))
			<-r.Context().Done()
		}
	}
}

func hostileStreams() map[string]hostile {
	line := strings.Repeat("x", 32<<10)
	return map[string]hostile{
		"an endless line of data": {"too long", 2 << 20, pour("data: ", line)},
		"an endless comment":      {"too long", 200 << 10, pour("", ":"+line)},
		"endless line ends":       {"too long", 200 << 10, pour("", strings.Repeat("\n", 32<<10))},
		"endless names":           {"too long", 200 << 10, pour("", "event: x\nid: 7\nretry: 1\n\n")},
		"endless empty data":      {"too long", 200 << 10, pour("", "data\n")},
		"endless garbage":         {"three parts", 200 << 10, pour("", "data: x\n\n")},
		"nothing at all": {"", 0, func(*feedSite) http.HandlerFunc {
			return func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
		}},
		"heartbeats and nothing": {"the stream of revocations ended", 0, drip(":\n\n")},
		"one byte a second":      {"the stream of revocations ended", 0, drip("d")},
		"compressed though not asked": {`coded "gzip"`, 0, func(s *feedSite) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				w.Header().Set("Content-Encoding", "gzip")
				z := gzip.NewWriter(w)
				_, _ = io.WriteString(z, "data: "+strings.Repeat("x", 1<<10))
				_ = z.Close()
			}
		}},
		"not a stream": {`with "text/html"`, 0, func(*feedSite) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }
		}},
		"another status": {"answered 204", 0, func(*feedSite) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }
		}},
		"a redirect": {"answered 307", 0, func(*feedSite) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
			}
		}},
		"a stranger's": {"the signature does not hold", 0, one(func(s *feedSite) string {
			stranger := newIssuer(s.t)
			stranger.kid = s.kid
			return (&feedSite{issuer: stranger}).document(verify.RevocationsType)
		})},
		"another issuer's": {"another issuer's feed", 0, one(func(s *feedSite) string { return s.document(verify.RevocationsType, claim{"iss", issuerURL + "/"}) })},
		"an access token":  {"typ is not", 0, one(func(s *feedSite) string { return s.token() })},
		"a gap": {"does not follow", 0, one(func(s *feedSite) string {
			return s.document(verify.RevocationsDeltaType, claim{"since", "1.elsewhere.x"})
		})},
		"an expired one": {"token expired", 0, one(func(s *feedSite) string {
			return s.document(verify.RevocationsType, claim{"exp", time.Now().Add(-time.Minute).Unix()})
		})},
		"the same delta twice": {"does not follow", 0, func(s *feedSite) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				delta := s.document(verify.RevocationsDeltaType, claim{"since", "1.a.b"}, claim{"cursor", "1.b.c"})
				_ = tell(w, s.document(verify.RevocationsType)) && tell(w, delta) && tell(w, delta)
				<-r.Context().Done()
			}
		}},
		"the whole list again and again": {"repeats itself", 64 << 10, func(s *feedSite) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				for list := s.document(verify.RevocationsType); tell(w, list); s.elsewhere.Add(int64(len(list))) {
				}
			}
		}},
	}
}

func drip(text string) func(*feedSite) http.HandlerFunc {
	return func(*feedSite) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			for r.Context().Err() == nil {
				_, _ = io.WriteString(w, text)
				_ = http.NewResponseController(w).Flush()
				time.Sleep(time.Second)
			}
		}
	}
}

// SEC-INJ-14: whatever comes instead of the stream, it is given up within bounds
// of memory and time, long polls take its place, the stream is tried again ever
// more seldom, and used again once it is honest.
func TestHostileStreams(t *testing.T) {
	for name, c := range hostileStreams() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newFeedSite(t, verify.FeedStream)
				defer s.stop()
				var first atomic.Bool
				hostile := c.at(s)
				s.stream.serve(func(w http.ResponseWriter, r *http.Request) {
					if c.sent > 1<<20 && first.Swap(true) { // once is enough of that much
						w.WriteHeader(http.StatusBadGateway)
						return
					}
					hostile(w, r)
				})
				after(11 * time.Second) // 10 until a stream is given up that says nothing
				for i := range 20 {
					sid := fmt.Sprint("sess_", i)
					s.expect("before", sid, "ok")
					s.revoke(sid)
					after(12 * time.Second)
					s.expect("after", sid, "revoked")
				}
				if n := s.stream.hits.Load(); n < 5 || n > 20 {
					t.Errorf("%d streams in four minutes", n)
				}
				if errs := s.reported(); len(errs) == 0 || !strings.Contains(errs[0].Error(), c.said) {
					t.Errorf("reported %v, want %q", errs, c.said)
				}
				if sent := s.elsewhere.Load(); sent > c.sent*s.stream.hits.Load() {
					t.Errorf("%d bytes were taken over %d streams", sent, s.stream.hits.Load())
				}
				s.honest()
				after(45 * time.Second) // the longest pause, and an attempt
				waits := s.wait.hits.Load()
				s.revoke("sess_honest")
				after(100 * time.Millisecond)
				s.expect("the stream is back", "sess_honest", "revoked")
				if s.wait.hits.Load() != waits {
					t.Error("long polls go on beside the stream")
				}
			})
		})
	}
}

// While a mode fails the next humbler one takes its place; where none is left
// the feed grows stale and the choice that was declared holds.
func TestModesGiveWayToHumblerOnes(t *testing.T) {
	for _, open := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := newFeedSite(t, verify.FeedStream)
			s.follow.FailOpen = open
			defer s.stop()
			after(time.Second)
			s.revoke("sess_0")
			after(100 * time.Millisecond)
			s.expect("stream", "sess_0", "revoked")

			s.fails(s.stream)
			s.restart()
			after(30 * time.Second)
			s.revoke("sess_1")
			after(1100 * time.Millisecond) // an attempt at the stream may lie between
			s.expect("long poll", "sess_1", "revoked")
			if s.wait.hits.Load() == 0 {
				t.Error("no long poll was tried")
			}

			s.fails(s.stream, s.wait)
			after(30 * time.Second)
			polls := s.poll.hits.Load()
			s.revoke("sess_2")
			after(1100 * time.Millisecond)
			s.expect("poll", "sess_2", "revoked")
			if s.poll.hits.Load() == polls {
				t.Error("nothing was polled")
			}

			s.fails(s.stream, s.wait, s.poll)
			after(20 * time.Second)
			s.expect("not yet stale", "sess_9", "ok")
			before := s.stream.hits.Load() + s.wait.hits.Load() + s.poll.hits.Load()
			after(10 * time.Minute)
			s.expect("nothing", "sess_9", map[bool]string{false: "unavailable", true: "ok"}[open])
			s.expect("what was heard still counts", "sess_2", "revoked")
			if asked := s.stream.hits.Load() + s.wait.hits.Load() + s.poll.hits.Load() - before; asked > 1000 {
				t.Errorf("asked %d times in ten minutes of outage", asked)
			}

			s.honest()
			after(2 * time.Second) // by poll at first
			s.expect("recovered", "sess_9", "ok")
			s.revoke("sess_3")
			after(40 * time.Second)
			s.expect("recovered", "sess_3", "revoked")
		})
	}
}

// A document that is replayed takes nothing back, and makes nothing fresher in
// any mode.
func TestReplaysAreNoNews(t *testing.T) {
	for mode := verify.FeedPoll; mode <= verify.FeedStream; mode++ {
		synctest.Test(t, func(t *testing.T) {
			s := newFeedSite(t, mode)
			defer s.stop()
			old := s.document(verify.RevocationsType, claim{"exp", time.Now().Add(time.Hour).Unix()})
			after(time.Second)
			s.revoke("sess_0")
			after(time.Second)
			s.expect("heard", "sess_0", "revoked")
			replay := func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, old) }
			s.poll.serve(replay)
			s.wait.serve(replay)
			s.stream.serve(func(w http.ResponseWriter, _ *http.Request) { tell(w, old) })
			s.restart()
			after(31 * time.Second)
			s.expect("replayed", "sess_9", "unavailable")
			s.expect("replayed", "sess_0", "revoked")
			if asked := s.stream.hits.Load() + s.wait.hits.Load() + s.poll.hits.Load(); asked > 80 {
				t.Errorf("asked %d times in half a minute", asked)
			}
		})
	}
}

// A stream of which a part was kept back is noticed, and what was missed is
// fetched.
func TestAGapIsNoticedAndFilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFeedSite(t, verify.FeedStream)
		defer s.stop()
		s.stream.serve(func(w http.ResponseWriter, r *http.Request) {
			list, err := s.feed.Load().Document(r.Context())
			if err != nil || !tell(w, string(list.Body)) {
				return
			}
			kept, _ := s.feed.Load().Await(r.Context(), list.Cursor, time.Hour) // and not told
			time.Sleep(time.Second)
			if next, _, err := s.feed.Load().Since(r.Context(), kept.Cursor); err == nil {
				tell(w, string(next.Body))
			}
			<-r.Context().Done()
		})
		after(time.Second)
		s.revoke("sess_0")
		after(500 * time.Millisecond)
		s.expect("kept back", "sess_0", "ok")
		after(time.Second)
		s.expect("noticed", "sess_0", "revoked")
	})
}

// O17: tokens of an API key and of a signing key that were revoked are refused;
// and what the revoked key signs is no feed any more.
func TestO17KeysThatWereRevokedEndTheirTokens(t *testing.T) {
	h := newHouse(t)
	day := noon.Add(24 * time.Hour)
	if err := h.poll(); err != nil {
		t.Fatal(err)
	}
	exchanged := h.token(claim{"key_id", "key_1"}, claim{"sid", nil})
	accepted(t, h.offline(), exchanged)
	h.revoke(changes.Change{Kind: changes.APIKeyRevoked, Key: "key_1", At: noon, Until: day})
	if err := h.poll(); err != nil {
		t.Fatal(err)
	}
	refused(t, h.offline(), exchanged, verify.ErrRevoked)
	accepted(t, h.offline(), h.token(claim{"key_id", "key_2"}))
	accepted(t, h.offline(), h.token())

	next := newIssuer(t) // the next key of the same issuer
	h.follow.Keys = verify.Finder(func(_ context.Context, kid string) (jose.JSONWebKey, bool, error) {
		if k, ok := next.lookup(kid); ok {
			return k, true, nil
		}
		k, ok := h.lookup(kid)
		return k, ok, nil
	})
	v := h.offline()
	v.Keys = h.follow.Keys
	leaked := *h.issuer
	h.feed.Signer = next
	h.revoke(changes.Change{Kind: changes.SigningKeyRevoked, Key: leaked.kid, At: noon, Until: day})
	if err := h.poll(); err != nil {
		t.Fatal(err)
	}
	refused(t, v, leaked.token(), verify.ErrRevoked)
	accepted(t, v, next.token())

	h.site.serveBody([]byte(leaked.sign(leaked.header(claim{"typ", verify.RevocationsType}), object(t, []claim{
		{"iss", issuerURL}, {"iat", noon.Unix()}, {"exp", day.Unix()}, {"max_staleness", 86400}, {"entries", []any{}},
	}))))
	if err := h.poll(); err == nil || !strings.Contains(err.Error(), "revoked key") {
		t.Errorf("a feed by the revoked key: %v", err)
	}
}

// However much an issuer revokes, what is kept is bounded; who tells more is
// not believed, and what was heard before stays.
func TestWhatIsKeptIsBounded(t *testing.T) {
	h := newHouse(t)
	h.revoke(changes.Change{Kind: changes.SessionRevoked, Key: "sess_1", At: noon, Until: noon.Add(time.Hour)})
	if err := h.poll(); err != nil {
		t.Fatal(err)
	}
	list := func(from, n int, until time.Time) []byte {
		entries := make([]map[string]any, n)
		for i := range entries {
			entries[i] = map[string]any{"jti": fmt.Sprint("t", from+i), "exp": until.Unix()}
		}
		return []byte(h.sign(h.header(claim{"typ", verify.RevocationsType}), object(t, []claim{
			{"iss", issuerURL}, {"iat", h.now.Unix()}, {"exp", h.now.Add(time.Minute).Unix()}, {"max_staleness", 30}, {"entries", entries},
		})))
	}
	const most, part = 1000, 500
	verify.KeepAtMost(h.follow, most)
	for n, c := range []struct {
		from int
		want bool
	}{{0, true}, {0, true}, {part - 2, true}, {part, false}} { // what is told again takes no room
		h.site.serveBody(list(c.from, part, noon.Add(time.Hour)))
		if err := h.poll(); (err == nil) != c.want {
			t.Fatalf("list %d: %v", n, err)
		}
	}
	refused(t, h.offline(), h.token(), verify.ErrRevoked)
	refused(t, h.offline(), h.token(claim{"sid", "sess_9"}, claim{"jti", "t7"}), verify.ErrRevoked)
	h.now = noon.Add(2 * time.Hour) // there is room again
	if err := h.poll(); err == nil {
		t.Error("an expired list was taken")
	}
	h.site.serveBody(list(0, 1, h.now.Add(time.Hour)))
	if err := h.poll(); err != nil {
		t.Error(err)
	}
	long := h.sign(h.header(claim{"typ", verify.RevocationsType}), object(t, []claim{
		{"iss", issuerURL}, {"iat", h.now.Unix()}, {"exp", h.now.Add(time.Minute).Unix()}, {"max_staleness", 30},
		{"entries", []any{map[string]any{"sid": strings.Repeat("x", 1<<10+1), "exp": h.now.Unix()}}},
	}))
	h.site.serveBody([]byte(long))
	if err := h.poll(); err == nil {
		t.Error("a name of no bound was taken")
	}
}

// hostilePolls are answers to polls and long polls; said is part of what is
// reported of one.
func hostilePolls() map[string]struct {
	said string
	at   func(s *feedSite) http.HandlerFunc
} {
	text := func(make func(s *feedSite) string) func(s *feedSite) http.HandlerFunc {
		return func(s *feedSite) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, make(s)) }
		}
	}
	return map[string]struct {
		said string
		at   func(s *feedSite) http.HandlerFunc
	}{
		"an answer without an end": {"longer than", func(*feedSite) http.HandlerFunc { return endless }},
		"a bomb": {"longer than", func(*feedSite) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Encoding", "gzip")
				z, zeros := gzip.NewWriter(w), make([]byte, 1<<20)
				for range 2 {
					_, _ = z.Write(zeros)
				}
				_ = z.Close()
			}
		}},
		"a byte each second": {"deadline exceeded", drip("x")},
		"nothing at all": {"deadline exceeded", func(*feedSite) http.HandlerFunc {
			return func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
		}},
		"a page": {"three parts", text(func(*feedSite) string { return "<html>" })},
		"an error": {"answered 500", func(*feedSite) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }
		}},
		"unchanged, unasked": {"answered 304", func(*feedSite) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotModified) }
		}},
		"a redirect": {"answered 302", func(*feedSite) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }
		}},
		"another issuer's": {"another issuer", text(func(s *feedSite) string {
			return s.document(verify.RevocationsType, claim{"iss", "https://other.example.com"})
		})},
		"a status list":        {"typ is not", text(func(s *feedSite) string { return s.document("statuslist+jwt") })},
		"a delta of elsewhere": {"does not follow", text(func(s *feedSite) string { return s.document(verify.RevocationsDeltaType, claim{"since", "1.x.y"}) })},
	}
}

// SEC-INJ-14: whatever polls and long polls are answered, every token is refused
// until the issuer is honest again, and it is asked at a bounded rate.
func TestHostilePolls(t *testing.T) {
	for name, c := range hostilePolls() {
		for mode := verify.FeedPoll; mode <= verify.FeedLongPoll; mode++ {
			t.Run(fmt.Sprint(name, ", mode ", mode), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s := newFeedSite(t, mode)
					defer s.stop()
					var served atomic.Int64
					hostile := c.at(s)
					at := func(w http.ResponseWriter, r *http.Request) {
						if served.Add(1) > 2 && c.said == "longer than" { // twice is enough of that much
							w.WriteHeader(http.StatusBadGateway)
							return
						}
						hostile(w, r)
					}
					s.poll.serve(at)
					s.wait.serve(at)

					after(70 * time.Second)
					s.expect("never heard", "sess_0", "unavailable")
					if errs := s.reported(); len(errs) == 0 || !strings.Contains(errs[0].Error(), c.said) {
						t.Errorf("reported %v, want %q", errs, c.said)
					}
					if n := s.poll.hits.Load() + s.wait.hits.Load(); n < 4 || n > 90 || s.elsewhere.Load() > 0 {
						t.Errorf("asked %d times, and %d times elsewhere", n, s.elsewhere.Load())
					}
					s.honest()
					after(45 * time.Second)
					s.expect("honest again", "sess_0", "ok")
					s.revoke("sess_0")
					after(11 * time.Second)
					s.expect("honest again", "sess_0", "revoked")
				})
			})
		}
	}
}

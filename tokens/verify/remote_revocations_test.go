package verify_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/tokens"
	"github.com/tokenhouse/tokenhouse/tokens/verify"
)

// Sign makes the issuer a tokens.Signer.
func (i *issuer) Sign(_ context.Context, payload []byte, typ string) (string, error) {
	return i.sign(i.header(claim{"typ", typ}), string(payload)), nil
}

// house is an issuer with a feed, and a follower of it, on one clock.
type house struct {
	*issuer
	now     time.Time
	revoked []changes.Change
	feed    *tokens.RevocationFeed
	site    *site
	follow  *verify.RemoteRevocations
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{issuer: newIssuer(t), now: noon, site: &site{}}
	clock := func() time.Time { return h.now }
	h.feed = &tokens.RevocationFeed{Signer: h.issuer, Issuer: issuerURL, Now: clock, Entries: func(time.Time) []changes.Change { return h.revoked }}
	h.site.serve(func(w http.ResponseWriter, r *http.Request) {
		d, err := h.feed.Document(r.Context())
		if err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("ETag", d.ETag)
		if r.Header.Get("If-None-Match") == d.ETag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = w.Write(d.Body)
	})
	server := httptest.NewServer(h.site)
	t.Cleanup(server.Close)
	h.follow = &verify.RemoteRevocations{URL: server.URL, Issuer: issuerURL, Keys: verify.Lookup(h.lookup), Now: clock}
	return h
}

func (h *house) revoke(cs ...changes.Change) {
	h.revoked = append(h.revoked, cs...)
	h.feed.Hear(cs)
}

func (h *house) poll() error { return h.follow.Poll(h.t.Context()) }

func (h *house) offline() *verify.Verifier {
	v := h.verifier()
	v.Now, v.Revoked = h.follow.Now, h.follow
	return v
}

// O17: what the server revokes, an offline verifier refuses after one poll.
func TestO17RevocationsReachOfflineVerifiers(t *testing.T) {
	h := newHouse(t)
	v := h.offline()
	day := noon.Add(24 * time.Hour)
	for name, c := range map[string]struct {
		change changes.Change
		token  string
	}{
		"token":   {changes.Change{Kind: changes.TokenRevoked, Key: "tok_9", At: noon, Until: day}, h.token(claim{"jti", "tok_9"})},
		"session": {changes.Change{Kind: changes.SessionRevoked, Key: "sess_9", At: noon, Until: day}, h.token(claim{"sid", "sess_9"})},
		"subject": {changes.Change{Kind: changes.SubjectCutoff, Key: "user_9", At: noon, Until: day}, h.token(claim{"sub", "user_9"})},
	} {
		if err := h.poll(); err != nil {
			t.Fatal(err)
		}
		accepted(t, v, c.token)
		h.revoke(c.change)
		accepted(t, v, c.token) // not heard yet
		if err := h.poll(); err != nil {
			t.Fatal(name, err)
		}
		refused(t, v, c.token, verify.ErrRevoked)
	}
	accepted(t, v, h.token())
	accepted(t, v, h.token(claim{"sid", nil}))
}

func TestACutoffSparesWhatCameAfterIt(t *testing.T) {
	h := newHouse(t)
	at := noon.Add(1500 * time.Millisecond)
	h.now = noon.Add(10 * time.Second)
	h.revoke(changes.Change{Kind: changes.SubjectCutoff, Key: "user_1", At: at, Until: noon.Add(time.Hour)})
	if err := h.poll(); err != nil {
		t.Fatal(err)
	}
	refused(t, h.offline(), h.token(claim{"iat", noon.Unix()}), verify.ErrRevoked)
	refused(t, h.offline(), h.token(claim{"iat", noon.Unix() + 1}), verify.ErrRevoked)
	accepted(t, h.offline(), h.token(claim{"iat", noon.Unix() + 2}))
}

// The signed time proves freshness: neither silence nor a 304 does.
func TestAStaleFeedFailsClosed(t *testing.T) {
	h := newHouse(t)
	v := h.offline()
	refused(t, v, h.token(), verify.ErrUnavailable) // nothing heard yet
	h.revoke(changes.Change{Kind: changes.SessionRevoked, Key: "sess_9", At: noon, Until: noon.Add(time.Hour)})
	if err := h.poll(); err != nil {
		t.Fatal(err)
	}
	accepted(t, v, h.token())
	h.site.serve(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotModified) })
	h.now = noon.Add(tokens.DefaultFeedStaleness)
	if err := h.poll(); err != nil {
		t.Fatal(err)
	}
	accepted(t, v, h.token())
	h.now = h.now.Add(time.Second)
	refused(t, v, h.token(), verify.ErrUnavailable)
	refused(t, v, h.token(claim{"sid", "sess_9"}), verify.ErrRevoked)

	h.follow.FailOpen = true
	accepted(t, v, h.token())
	refused(t, v, h.token(claim{"sid", "sess_9"}), verify.ErrRevoked) // what was heard still counts

	h.follow.FailOpen, h.follow.MaxStaleness, h.now = false, 5*time.Second, noon.Add(6*time.Second)
	refused(t, v, h.token(), verify.ErrUnavailable) // our own bound is shorter
	h.follow.MaxStaleness = time.Hour
	accepted(t, v, h.token())
	h.now = noon.Add(31 * time.Second)
	refused(t, v, h.token(), verify.ErrUnavailable) // and never longer than the feed's
}

func TestAFollowerThatNeverHeardMayFailOpen(t *testing.T) {
	h := newHouse(t)
	h.follow.FailOpen = true
	accepted(t, h.offline(), h.token())
}

func TestFeedsThatAreNotBelieved(t *testing.T) {
	h, stranger := newHouse(t), newIssuer(t)
	stranger.kid = h.kid
	body := func(changes ...claim) string {
		return object(t, append([]claim{
			{"iss", issuerURL}, {"iat", noon.Unix()}, {"exp", noon.Add(30 * time.Second).Unix()}, {"max_staleness", 30}, {"entries", []any{}},
		}, changes...))
	}
	header := h.header(claim{"typ", verify.RevocationsType})
	for name, document := range map[string]string{
		"an access token":         h.token(),
		"typ of an access token":  h.sign(h.header(), body()),
		"signed by a stranger":    stranger.sign(header, body()),
		"another issuer's":        h.sign(header, body(claim{"iss", issuerURL + "/"})),
		"expired":                 h.sign(header, body(claim{"exp", noon.Add(-31 * time.Second).Unix()})),
		"exp absent":              h.sign(header, body(claim{"exp", nil})),
		"of the future":           h.sign(header, body(claim{"iat", noon.Add(time.Hour).Unix()})),
		"iat absent":              h.sign(header, body(claim{"iat", nil})),
		"no staleness":            h.sign(header, body(claim{"max_staleness", nil})),
		"entries of another type": h.sign(header, body(claim{"entries", "none"})),
		"entries twice":           h.sign(header, strings.Replace(body(), `{`, `{"entries":[],`, 1)),
		"empty":                   "",
		"not a JWS":               `{"entries":[]}`,
	} {
		t.Run(name, func(t *testing.T) {
			h.site.serveBody([]byte(document))
			if err := h.poll(); err == nil {
				t.Error("it was believed")
			}
			refused(t, h.offline(), h.token(), verify.ErrUnavailable)
		})
	}
	h.site.serveBody([]byte(h.sign(header, body())))
	if err := h.poll(); err != nil {
		t.Errorf("the document the others are made from: %v", err)
	}
}

func TestAReplayedFeedDoesNotBringATokenBack(t *testing.T) {
	h := newHouse(t)
	before, err := h.feed.Document(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	h.now = noon.Add(10 * time.Second)
	h.revoke(changes.Change{Kind: changes.SessionRevoked, Key: "sess_1", At: h.now, Until: noon.Add(time.Hour)})
	if err := h.poll(); err != nil {
		t.Fatal(err)
	}
	h.site.serveBody(before.Body)
	if err := h.poll(); err != nil {
		t.Fatal(err)
	}
	refused(t, h.offline(), h.token(), verify.ErrRevoked)
}

// Run polls at its interval, reports failures and goes on, and ends with its
// context.
func TestTheFollowerRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(t)
		start := time.Now()
		polls, failures := 0, 0
		transport := roundTrip(func(r *http.Request) (*http.Response, error) {
			if polls++; polls == 2 {
				return nil, errors.New("the network is down")
			}
			body := i.sign(i.header(claim{"typ", verify.RevocationsType}), object(t, []claim{
				{"iss", issuerURL}, {"iat", time.Now().Unix()}, {"exp", time.Now().Add(time.Minute).Unix()}, {"max_staleness", 30}, {"entries", []any{}},
			}))
			w := httptest.NewRecorder()
			_, _ = w.WriteString(body)
			res := w.Result()
			res.Request = r
			return res, nil
		})
		follow := &verify.RemoteRevocations{
			URL: issuerURL, Issuer: issuerURL, Keys: verify.Lookup(i.lookup), Now: time.Now, Client: &http.Client{Transport: transport},
			Report: func(error) { failures++ },
		}
		ctx, cancel := context.WithTimeout(t.Context(), 9500*time.Millisecond)
		defer cancel()
		follow.Run(ctx)
		if polls != 10 || failures != 1 {
			t.Errorf("%d polls and %d failures in %v", polls, failures, time.Since(start))
		}
		if _, err := follow.Revoked(t.Context(), verify.Claims{}); err != nil {
			t.Error(err)
		}
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestAnIncompleteFollowerSaysSo(t *testing.T) {
	if err := (&verify.RemoteRevocations{}).Poll(t.Context()); err == nil {
		t.Error("it polled nothing")
	}
}

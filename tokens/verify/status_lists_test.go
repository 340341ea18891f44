package verify_test

import (
	"bytes"
	"compress/zlib"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/tokens/verify"
)

// listSite is an issuer whose status lists lie on a real server, and a reader
// of them, on one clock.
type listSite struct {
	*issuer
	*site
	url  string
	mu   sync.Mutex
	now  time.Time
	read *verify.StatusLists
}

func newListSite(t *testing.T) *listSite {
	t.Helper()
	l := &listSite{issuer: newIssuer(t), site: &site{}, now: noon}
	server := httptest.NewServer(l.site)
	t.Cleanup(server.Close)
	l.url = server.URL + verify.StatusListPath
	l.read = &verify.StatusLists{Issuer: issuerURL, Keys: verify.Lookup(l.lookup), Now: l.clock, Prefixes: []string{l.url}}
	l.serveList(l.list())
	return l
}

func (l *listSite) clock() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now
}

func (l *listSite) at(sinceNoon time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now = noon.Add(sinceNoon)
}

// list is a good list of 16 entries as the draft has it (§4.1), with the
// changes applied.
func (l *listSite) list(changes ...claim) string {
	return l.sign(l.header(claim{"typ", verify.StatusListType}), l.claims(changes...))
}

func (l *listSite) claims(changes ...claim) string {
	now := l.clock()
	return object(l.t, append([]claim{
		{"iss", issuerURL}, {"sub", l.url + "one"}, {"iat", now.Unix()}, {"exp", now.Add(5 * time.Minute).Unix()}, {"ttl", 60},
		{"status_list", map[string]any{"bits": 1, "lst": "eNrbuRgAAhcBXQ"}},
	}, changes...))
}

// revoking is status_list with these indexes of one bit set.
func (l *listSite) revoking(indexes ...int) claim {
	data := make([]byte, 2)
	for _, i := range indexes {
		data[i/8] |= 1 << (i % 8)
	}
	return claim{"status_list", map[string]any{"bits": 1, "lst": packed(l.t, data)}}
}

func packed(t testing.TB, data []byte) string {
	t.Helper()
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b64(b.Bytes())
}

func (l *listSite) serveList(compact string) {
	l.serveBody([]byte(compact), "Content-Type", "application/statuslist+jwt")
}

func (l *listSite) says(index uint32) (bool, error) {
	return l.read.Revoked(l.t.Context(), verify.Claims{Bound: verify.Bound{Status: verify.Status{URI: l.url + "one", Index: index}}})
}

// wants demands that the entry is judged so: nil for valid.
func (l *listSite) wants(index uint32, want error) {
	l.t.Helper()
	revoked, err := l.says(index)
	if revoked {
		err = verify.ErrRevoked
	}
	if !errors.Is(err, want) || want == nil && err != nil {
		l.t.Errorf("entry %d: %v, want %v", index, err, want)
	}
}

func (l *listSite) fetches(want int64) {
	l.t.Helper()
	l.read.Settle()
	if n := l.hits.Load(); n != want {
		l.t.Errorf("%d fetches, want %d", n, want)
	}
}

// The lists of the draft's own examples are read as it says (§4.1, §10.1).
func TestStatusListsOfTheDraft(t *testing.T) {
	for name, c := range map[string]struct {
		bits int
		lst  string
		want []byte
	}{
		"one bit":  {1, "eNrbuRgAAhcBXQ", []byte{1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1, 0, 1}},
		"two bits": {2, "eNo76fITAAPfAgc", []byte{1, 2, 0, 3, 0, 1, 0, 1, 1, 2, 3, 3}},
		"a byte":   {8, packed(t, []byte{0, 200}), []byte{0, 200}},
		"a nibble": {4, packed(t, []byte{0x2f}), []byte{15, 2}},
	} {
		l := newListSite(t)
		payload := []byte(l.claims(claim{"status_list", map[string]any{"bits": c.bits, "lst": c.lst, "aggregation_uri": "https://x.example"}}))
		for i, want := range c.want {
			if got, ok, err := verify.ReadStatusList(payload, uint32(i)); got != want || !ok || err != nil {
				t.Errorf("%s: entry %d is %d, %v, %v; want %d", name, i, got, ok, err, want)
			}
		}
		for _, beyond := range []uint32{uint32(len(c.want)), 1 << 20, 1<<32 - 1} {
			if _, ok, err := verify.ReadStatusList(payload, beyond); ok || err != nil {
				t.Errorf("%s: there is an entry %d (%v)", name, beyond, err)
			}
		}
	}
}

func TestATokenIsJudgedByItsStatusList(t *testing.T) {
	l := newListSite(t)
	v := l.verifier()
	v.Now, v.Revoked = l.clock, l.read
	status := func(index any, name string) claim {
		return claim{"status", map[string]any{"status_list": map[string]any{"idx": index, "uri": l.url + name}}}
	}
	accepted(t, v, l.token(status(1, "one")))
	refused(t, v, l.token(status(0, "one")), verify.ErrRevoked)
	refused(t, v, l.token(status(15, "one")), verify.ErrRevoked)
	refused(t, v, l.token(status(16, "one")), verify.ErrInvalid) // not in the list
	refused(t, v, l.token(status(-1, "one")), verify.ErrInvalid)
	refused(t, v, l.token(), verify.ErrInvalid) // names no list
	l.read.AllowMissing = true
	accepted(t, v, l.token())
	refused(t, v, l.token(claim{"status", map[string]any{"status_list": map[string]any{"idx": 1}}}), verify.ErrInvalid)
	l.fetches(1)
}

// A token cannot make us ask anybody but the issuer.
func TestAListElsewhereIsNeverFetched(t *testing.T) {
	l, other := newListSite(t), newListSite(t)
	at := strings.TrimSuffix(l.url, verify.StatusListPath)
	for _, uri := range []string{
		other.url + "one", l.url, l.url + "../x", l.url + "..", l.url + "one/two", l.url + "one?x=1", l.url + "one#x", l.url + "%2e%2e", l.url + `a\b`,
		l.url + "one\n", l.url + strings.Repeat("a", 65), at + "/oauth2/status-listsone", at + "@evil.example/oauth2/status-lists/one",
		strings.ToUpper(l.url) + "one", "file:///etc/passwd", "one", issuerURL + verify.StatusListPath + "one",
	} {
		_, err := l.read.Revoked(t.Context(), verify.Claims{Bound: verify.Bound{Status: verify.Status{URI: uri}}})
		if !errors.Is(err, verify.ErrInvalid) {
			t.Errorf("%q: %v", uri, err)
		}
	}
	l.fetches(0)
	other.fetches(0)
	ours := &verify.StatusLists{Issuer: issuerURL, Keys: l.read.Keys, Now: l.clock, Client: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		if r.URL.String() != issuerURL+verify.StatusListPath+"one" || r.Header.Get("Accept") != "application/statuslist+jwt" {
			t.Errorf("asked for %s", r.URL)
		}
		return nil, errors.New("out of reach")
	})}}
	_, err := ours.Revoked(t.Context(), verify.Claims{Bound: verify.Bound{Status: verify.Status{URI: issuerURL + verify.StatusListPath + "one"}}})
	if !errors.Is(err, verify.ErrUnavailable) {
		t.Errorf("the issuer's own: %v", err)
	}
}

// The first token waits for its list, however many come at once; then the list
// is asked for again before its ttl is over, and in time for nobody to wait.
func TestAListIsFetchedOnceAndBeforeItsTimeIsOver(t *testing.T) {
	l := newListSite(t)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { l.wants(1, nil) })
	}
	all.Wait()
	l.fetches(1)
	l.at(44 * time.Second)
	l.wants(1, nil)
	l.fetches(1)
	l.at(45 * time.Second)
	l.serveList(l.list(l.revoking(1)))
	l.wants(1, nil) // the answer does not wait
	l.fetches(2)
	l.wants(1, verify.ErrRevoked)

	l.at(45*time.Second + 60*time.Second)
	l.serveList(l.list(l.revoking(1, 2)))
	l.wants(2, verify.ErrRevoked) // the ttl is over: nothing is said by the old one
	l.fetches(3)
}

// A revocation is seen within the ttl after it, however the list was cached on
// its way: what counts is when it was signed.
func TestTheTTLCountsFromTheSignature(t *testing.T) {
	l := newListSite(t)
	before := l.list(l.revoking())
	l.at(40 * time.Second) // it lay in a cache for so long
	l.serveList(before)
	l.wants(3, nil)
	l.at(60 * time.Second)
	l.serveList(l.list(l.revoking(3)))
	l.wants(3, verify.ErrRevoked)
	l.fetches(2)
}

func TestAnUnchangedListIsNotSentAgain(t *testing.T) {
	l := newListSite(t)
	body, asked := l.list(), 0
	l.serve(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"a"`)
		w.Header().Set("Content-Type", "application/statuslist+jwt")
		if r.Header.Get("If-None-Match") == `"a"` {
			asked++
			w.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = w.Write([]byte(body))
	})
	l.wants(0, verify.ErrRevoked)
	l.at(time.Minute)
	l.wants(0, verify.ErrRevoked)
	l.fetches(2)
	if asked != 1 {
		t.Errorf("asked %d times whether it had changed", asked)
	}
	// SEC: 304 makes nothing younger.
	l.at(5*time.Minute + time.Second)
	l.wants(1, verify.ErrUnavailable)
	l.wants(0, verify.ErrRevoked)
}

// An outage is borne until the list expires, then by the declared choice.
func TestAnIssuerThatIsDown(t *testing.T) {
	l := newListSite(t)
	var heard []error
	l.read.Report = func(err error) { heard = append(heard, err) }
	l.wants(1, nil)
	l.serve(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	l.at(61 * time.Second)
	l.wants(1, nil)
	l.fetches(2)
	for range 50 {
		l.wants(1, nil) // one fetch in an interval, and nobody waits
	}
	l.fetches(2)
	l.at(66 * time.Second)
	l.wants(1, nil)
	l.fetches(3)
	if len(heard) != 2 {
		t.Errorf("reported %v", heard)
	}
	l.at(5 * time.Minute)
	l.wants(1, nil)
	l.at(5*time.Minute + time.Second)
	l.wants(1, verify.ErrUnavailable)
	l.wants(0, verify.ErrRevoked)
	l.read.FailOpen = true
	l.wants(1, nil)
	l.wants(0, verify.ErrRevoked) // what was seen still counts
	l.wants(16, verify.ErrInvalid)
	l.read.FailOpen, l.read.MaxStaleness = false, time.Minute
	l.read.Settle()
	l.at(6 * time.Minute)
	l.serveList(l.list())
	l.wants(1, verify.ErrUnavailable) // it is asked for, and nobody waits while the last try failed
	l.read.Settle()
	l.wants(1, nil) // it recovers by itself
	l.at(7 * time.Minute)
	l.wants(1, nil)
	l.read.Settle()
	l.serve(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	l.at(8*time.Minute + time.Second)
	l.wants(1, verify.ErrUnavailable) // our own bound is shorter
	l.read.Settle()
	l.read.MaxStaleness = time.Hour
	l.wants(1, nil)
	l.at(13 * time.Minute)
	l.wants(1, verify.ErrUnavailable) // and never longer than the list's
}

func TestAListThatWasNeverSeen(t *testing.T) {
	l := newListSite(t)
	l.serve(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
	l.wants(1, verify.ErrUnavailable)
	l.wants(1, verify.ErrUnavailable)
	l.read.FailOpen = true
	l.wants(1, nil)
	l.fetches(1)
	if _, err := (&verify.StatusLists{}).Revoked(t.Context(), verify.Claims{}); !errors.Is(err, verify.ErrUnavailable) {
		t.Errorf("an incomplete one: %v", err)
	}
}

// A list that is older than the one at hand brings no token back, and one of
// the same second does neither.
func TestAReplayedListDoesNotBringATokenBack(t *testing.T) {
	l := newListSite(t)
	older := l.list(l.revoking(5))
	l.at(10 * time.Second)
	twin := l.list(l.revoking(7))
	l.serveList(l.list(l.revoking(3)))
	l.wants(3, verify.ErrRevoked)
	l.wants(5, nil)
	for n, body := range []string{older, twin} {
		l.at(time.Duration(60+10*n) * time.Second)
		l.serveList(body)
		l.wants(1, nil)
		l.read.Settle()
	}
	l.wants(3, verify.ErrRevoked)
	l.wants(5, verify.ErrRevoked) // what an older one says is revoked is
	l.wants(7, verify.ErrRevoked)
	l.at(5*time.Minute + 11*time.Second)
	l.wants(1, verify.ErrUnavailable) // and none of them made it younger
	l.read.Settle()
	l.serveList(l.list(l.revoking(3)))
	l.at(6 * time.Minute)
	_, _ = l.says(1)
	l.read.Settle()
	l.wants(1, nil)
}

// However many lists tokens name, a bounded number is kept.
func TestListsAreBounded(t *testing.T) {
	l := newListSite(t)
	l.read.MaxLists = 3
	l.serve(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/statuslist+jwt")
		_, _ = w.Write([]byte(l.list(claim{"sub", "http://" + r.Host + r.URL.Path})))
	})
	ask := func(name string) {
		t.Helper()
		revoked, err := l.read.Revoked(t.Context(), verify.Claims{Bound: verify.Bound{Status: verify.Status{URI: l.url + name}}})
		if err != nil || !revoked {
			t.Errorf("%s: %v %v", name, revoked, err)
		}
	}
	for _, name := range []string{"one", "two", "three", "one", "four", "one", "five", "one"} {
		ask(name)
	}
	if n := l.read.Settle(); n != 3 {
		t.Errorf("%d lists are kept", n)
	}
	l.fetches(5) // the one in use stayed
}

// A signature of a key nobody knows costs the issuer at most one fetch of keys
// in an interval, as for tokens (TestUnknownKeyIDsAreRateLimited).
func TestListsOfUnknownKeysFetchKeysOnce(t *testing.T) {
	l, stranger := newListSite(t), newIssuer(t)
	s, keys, _ := keySite(t, l.issuer)
	keys.Now, l.read.Keys = l.clock, keys
	forged := stranger.sign(stranger.header(claim{"typ", verify.StatusListType}), l.claims(claim{"sub", nil}))
	l.serveList(forged)
	for n := range 40 {
		uri := l.url + strings.Repeat("a", n+1)
		_, err := l.read.Revoked(t.Context(), verify.Claims{Bound: verify.Bound{Status: verify.Status{URI: uri}}})
		if !errors.Is(err, verify.ErrUnavailable) {
			t.Fatal(err)
		}
	}
	if n := s.hits.Load(); n != 1 {
		t.Errorf("%d fetches of keys", n)
	}
}

func TestAnyOfAsksEverySource(t *testing.T) {
	says := func(revoked bool, err error) verify.RevocationSource {
		return verify.RevokedFunc(func(context.Context, verify.Claims) (bool, error) { return revoked, err })
	}
	valid, revoked, silent, invalid := says(false, nil), says(true, nil), says(false, errors.New("out of reach")), says(false, verify.ErrInvalid)
	i := newIssuer(t)
	for name, c := range map[string]struct {
		of   verify.AnyOf
		want error
	}{
		"valid":                         {verify.AnyOf{valid, valid}, nil},
		"the second knows":              {verify.AnyOf{valid, revoked}, verify.ErrRevoked},
		"the first is silent":           {verify.AnyOf{silent, valid}, nil},
		"the second is silent":          {verify.AnyOf{valid, silent}, nil},
		"silent, and the other knows":   {verify.AnyOf{silent, revoked}, verify.ErrRevoked},
		"both are silent":               {verify.AnyOf{silent, silent}, verify.ErrUnavailable},
		"the second calls it invalid":   {verify.AnyOf{valid, invalid}, verify.ErrInvalid},
		"there is none, so nobody says": {verify.AnyOf{}, verify.ErrUnavailable},
	} {
		v := i.verifier()
		v.Revoked = c.of
		if c.want == nil {
			accepted(t, v, i.token())
			continue
		}
		t.Run(name, func(t *testing.T) { refused(t, v, i.token(), c.want) })
	}
}

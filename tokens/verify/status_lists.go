package verify

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// StatusListType is the typ header of a status list, and after "application/"
	// its media type (draft-ietf-oauth-status-list §5.1, §8.2).
	StatusListType = "statuslist+jwt"
	// StatusListPath is where under its issuer tokenhouse serves status lists.
	StatusListPath = "/oauth2/status-lists/"
	// DefaultStatusInterval is the least time between two fetches of one list.
	DefaultStatusInterval = 5 * time.Second
	// DefaultMaxStatusLists is how many lists are kept.
	DefaultMaxStatusLists = 64

	maxListName = 64 // bytes of a URI after its prefix
)

// StatusLists is a RevocationSource that reads the status list which a token
// names (draft-ietf-oauth-status-list): a revoked token is refused within the
// ttl of its list, a minute where the issuer does not choose another, and nothing
// has to run in the background. Issuer, Keys and Now are required. It is safe for
// concurrent use and must not be copied.
//
// A list is fetched when the first token names it, again in the background when
// three quarters of its ttl are over, and before anything else is said when all
// of it is; its ttl begins with the time that is signed in it. Where that fails
// the list serves on until it expires or is older than MaxStaleness; after that
// every token in it is refused with ErrUnavailable, or accepted with FailOpen
// unless it was seen revoked. Each list is asked for at most once in
// Interval, by one request however many tokens wait for it.
//
// A token cannot make us fetch what it likes: its uri must lie under Prefixes,
// and no redirect is followed. What is fetched must be a list of Issuer about
// itself (sub), signed by Keys, not of the future, not expired, and of
// bounded size before and after it is inflated. An older list than the one at
// hand, another replica's or a replay, takes nothing away.
type StatusLists struct {
	Issuer string           // iss of a list, where it has one, must be exactly this
	Keys   KeySource        // the issuer's keys
	Client *http.Client     // http.DefaultClient where nil
	Now    func() time.Time // time.Now in production

	// Prefixes are what the address of a list may begin with; what follows must be
	// one plain path segment. Issuer + StatusListPath where empty.
	Prefixes     []string
	Interval     time.Duration // DefaultStatusInterval where zero
	MaxStaleness time.Duration // what the list declares (exp) where zero; never more than that
	FailOpen     bool
	// AllowMissing accepts tokens that name no status list. Where it is not set
	// they are refused with ErrInvalid.
	AllowMissing bool
	MaxLists     int             // DefaultMaxStatusLists where zero; the list unused for longest makes room
	Report       func(err error) // where set, hears of each fetch that failed

	mu    sync.RWMutex
	lists map[string]*remoteList // by URI
	uses  atomic.Int64           // counts checks
}

// Revoked reports whether the token's entry in its list is anything but valid. It
// answers ErrInvalid for a token whose entry no list of the issuer can have.
func (s *StatusLists) Revoked(ctx context.Context, c Claims) (bool, error) {
	if s.Now == nil || s.Issuer == "" || s.Keys == nil {
		return false, ErrUnavailable.because("status lists: Issuer, Keys and Now are required")
	}
	at := c.Bound.Status
	switch {
	case at.URI == "" && s.AllowMissing:
		return false, nil
	case at.URI == "":
		return false, ErrInvalid.because("the token names no status list")
	}
	list, err := s.list(at.URI)
	if err != nil {
		return false, err
	}
	list.used.Store(s.uses.Add(1))
	now := s.Now()
	known := list.known.Load()
	if known.age(now) >= known.refreshAfter() {
		known, err = s.refresh(ctx, list, now)
	}
	return s.judge(known, at.Index, now, err)
}

// judge says what the list known says of an index. err is why there is none, or
// no newer one.
func (s *StatusLists) judge(known *statusList, index uint32, now time.Time, err error) (bool, error) {
	if known == nil {
		if s.FailOpen {
			return false, nil
		}
		return false, ErrUnavailable.because("status list: %v", err)
	}
	value, ok := known.value(index)
	switch age := known.age(now); {
	case !ok:
		return false, ErrInvalid.because("the token's index is not in its status list")
	case value != 0:
		return true, nil
	case age > known.usable(s.MaxStaleness) && !s.FailOpen:
		return false, ErrUnavailable.because("status list: it is %v old", age.Truncate(time.Second))
	}
	return false, nil
}

// list returns the place where the list of that address is kept.
func (s *StatusLists) list(uri string) (*remoteList, error) {
	s.mu.RLock()
	l := s.lists[uri]
	s.mu.RUnlock()
	if l != nil {
		return l, nil
	}
	if !s.allowed(uri) {
		return nil, ErrInvalid.because("the token's status list is not one of its issuer's")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if l = s.lists[uri]; l != nil {
		return l, nil
	}
	if s.lists == nil {
		s.lists = map[string]*remoteList{}
	}
	most := s.MaxLists
	if most <= 0 {
		most = DefaultMaxStatusLists
	}
	for len(s.lists) >= most {
		s.dropOne()
	}
	l = &remoteList{uri: uri}
	s.lists[uri] = l
	return l, nil
}

// dropOne makes room.
func (s *StatusLists) dropOne() {
	var oldest *remoteList
	for _, l := range s.lists {
		if oldest == nil || l.used.Load() < oldest.used.Load() {
			oldest = l
		}
	}
	delete(s.lists, oldest.uri)
}

// allowed reports whether an address is a prefix and one plain path segment: no
// query, no escape, no way up.
func (s *StatusLists) allowed(uri string) bool {
	prefixes := s.Prefixes
	if len(prefixes) == 0 {
		prefixes = []string{s.Issuer + StatusListPath}
	}
	for _, p := range prefixes {
		if name, ok := strings.CutPrefix(uri, p); ok && p != "" && plain(name) {
			return true
		}
	}
	return false
}

func plain(name string) bool {
	for _, c := range []byte(name) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return name != "" && len(name) <= maxListName
}

// remoteList is one list and how it is fetched.
type remoteList struct {
	uri   string
	known atomic.Pointer[statusList] // nil before the first good one
	used  atomic.Int64               // StatusLists.uses, when it was asked last

	mu      sync.Mutex
	running chan struct{} // closed when the fetch that runs has ended; nil where none runs
	tried   time.Time     // when the last fetch began
	failed  error         // how it ended
}

// refresh fetches the list unless that was tried a moment ago, and returns the
// newest there is. It waits where there is none, and where the one at hand is
// older than its ttl, unless the last fetch failed: an outage slows nobody down.
func (s *StatusLists) refresh(ctx context.Context, l *remoteList, now time.Time) (*statusList, error) {
	l.mu.Lock()
	running, known := l.running, l.known.Load()
	if running == nil {
		since := now.Sub(l.tried)
		if !l.tried.IsZero() && since >= 0 && since < orDefault(s.Interval, DefaultStatusInterval) {
			defer l.mu.Unlock()
			return known, l.failed
		}
		running = make(chan struct{})
		l.running, l.tried = running, now
		// The fetch serves everybody who waits, so it does not end with the
		// request that began it.
		go s.fetch(context.WithoutCancel(ctx), l, now, running)
	}
	failed := l.failed
	l.mu.Unlock()
	if known != nil && (failed != nil || known.age(now) < known.lives()) {
		return known, failed
	}
	select {
	case <-running:
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.known.Load(), l.failed
	case <-ctx.Done():
		return known, ctx.Err()
	}
}

func (s *StatusLists) fetch(ctx context.Context, l *remoteList, now time.Time, done chan struct{}) {
	err := s.load(ctx, l, now)
	if err != nil && s.Report != nil {
		s.Report(err)
	}
	l.mu.Lock()
	l.running, l.failed = nil, err
	l.mu.Unlock()
	close(done)
}

// load fetches and believes the list, or says why not.
func (s *StatusLists) load(ctx context.Context, l *remoteList, now time.Time) error {
	old := l.known.Load()
	q := request{client: s.Client, url: l.uri, limit: maxStatusBody, accept: "application/" + StatusListType}
	if old != nil {
		q.etag = old.etag
	}
	d, err := fetchWithin(ctx, fetchTimeout, q)
	if err != nil || d.unchanged {
		return err
	}
	if kind, _, _ := strings.Cut(d.kind, ";"); !strings.EqualFold(strings.TrimSpace(kind), "application/"+StatusListType) {
		return ErrInvalid.because("the status list is not of its media type")
	}
	list, err := s.read(ctx, l.uri, string(d.body), now)
	if err != nil {
		return err
	}
	list.etag, list.fetched = d.etag, now
	l.known.Store(list.after(old))
	return nil
}

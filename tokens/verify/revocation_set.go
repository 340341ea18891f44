package verify

import (
	"sync"
	"time"
)

// maxRevocations is how many revocations are kept at most.
const maxRevocations = 1 << 20

// revocations is what a feed has told so far. A revocation leaves when its last
// token has expired and not before, whatever a later document says.
type revocations struct {
	mu        sync.RWMutex
	known     bool // something was heard
	etag      string
	cursor    string
	issued    time.Time
	staleness time.Duration
	tokens    map[string]time.Time // until when
	sessions  map[string]time.Time
	subjects  map[string]cutoff
	size      int
	sweep     time.Time
}

// cutoff refuses what was issued before a moment.
type cutoff struct{ before, until time.Time }

func (s *revocations) names(c Claims) bool {
	if _, ok := s.tokens[c.ID]; ok {
		return true
	}
	if _, ok := s.sessions[c.SessionID]; ok && c.SessionID != "" {
		return true
	}
	cut, ok := s.subjects[c.Subject]
	return ok && c.IssuedAt.Before(cut.before)
}

// place is where a reader of the feed has come.
func (s *revocations) place() (etag, cursor string) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.etag, s.cursor
}

// add takes in a document whose signature held, and refuses a delta that does
// not follow what is known. A list that is older, another replica's or a replay,
// takes nothing away and makes nothing fresher.
func (s *revocations) add(f feed, delta bool, etag string, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if delta && (!s.known || s.cursor == "" || f.Since != s.cursor) {
		return ErrInvalid.because("the delta does not follow what was heard")
	}
	s.prune(now)
	if s.size+len(f.Entries) > maxRevocations {
		s.sweep = time.Time{}
		if s.prune(now); len(f.Entries) > maxRevocations || delta && s.size+len(f.Entries) > maxRevocations {
			return ErrUnavailable.because("more than %d revocations", maxRevocations)
		}
	}
	if s.tokens == nil {
		s.tokens, s.sessions, s.subjects = map[string]time.Time{}, map[string]time.Time{}, map[string]cutoff{}
	}
	for _, e := range f.Entries {
		s.put(e)
	}
	s.size = len(s.tokens) + len(s.sessions) + len(s.subjects)
	s.known, s.issued, s.cursor = true, later(s.issued, time.Unix(f.IssuedAt, 0)), f.Cursor
	s.staleness = time.Duration(min(f.MaxStaleness, int64(24*time.Hour/time.Second))) * time.Second
	if !delta {
		s.etag = etag
	}
	return nil
}

func (s *revocations) put(e feedEntry) {
	until := time.Unix(e.ExpiresAt, 0)
	switch {
	case e.Token != "":
		s.tokens[e.Token] = later(s.tokens[e.Token], until)
	case e.Session != "":
		s.sessions[e.Session] = later(s.sessions[e.Session], until)
	case e.Subject != "":
		old := s.subjects[e.Subject]
		s.subjects[e.Subject] = cutoff{later(old.before, time.Unix(e.IssuedBefore, 0)), later(old.until, until)}
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// prune drops once in a while what no unexpired token can be refused by.
func (s *revocations) prune(now time.Time) {
	if now.Before(s.sweep) {
		return
	}
	s.sweep = now.Add(time.Minute)
	over := func(until time.Time) bool { return now.After(until.Add(2 * DefaultLeeway)) }
	for k, until := range s.tokens {
		if over(until) {
			delete(s.tokens, k)
		}
	}
	for k, until := range s.sessions {
		if over(until) {
			delete(s.sessions, k)
		}
	}
	for k, c := range s.subjects {
		if over(c.until) {
			delete(s.subjects, k)
		}
	}
	s.size = len(s.tokens) + len(s.sessions) + len(s.subjects)
}

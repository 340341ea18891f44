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
	named     [kinds]map[string]time.Time // until when
	subjects  map[string]cutoff
	sweep     time.Time
	most      int // maxRevocations where zero
}

// kind is what a revocation names.
type kind int

const (
	byToken kind = iota
	bySession
	byAPIKey
	bySigningKey
	kinds
)

// cutoff refuses what was issued before a moment.
type cutoff struct{ before, until time.Time }

func (s *revocations) names(c Claims) bool {
	for k, name := range [kinds]string{byToken: c.ID, bySession: c.SessionID, byAPIKey: c.Bound.KeyID, bySigningKey: c.Bound.SignedBy} {
		if _, ok := s.named[k][name]; ok && name != "" {
			return true
		}
	}
	cut, ok := s.subjects[c.Subject]
	return ok && c.IssuedAt.Before(cut.before)
}

// signedNothing reports whether the signing key was revoked.
func (s *revocations) signedNothing(kid string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, ok := s.named[bySigningKey][kid]
	return ok
}

// place is where a reader of the feed has come.
func (s *revocations) place() (etag, cursor string) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.etag, s.cursor
}

// add takes in a document whose signature held, and refuses a delta that does
// not follow what is known. A list that is older, another replica's or a replay,
// takes nothing away and makes nothing fresher; newer says whether it did.
func (s *revocations) add(f feed, delta bool, etag string, now time.Time) (newer bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if delta && (!s.known || s.cursor == "" || f.Since != s.cursor) {
		return false, ErrInvalid.because("the delta does not follow what was heard")
	}
	s.prune(now, false)
	most := s.most
	if most == 0 {
		most = maxRevocations
	}
	if s.size()+len(f.Entries) > most { // or less: many may be known
		s.prune(now, true)
		if s.size()+s.unknown(f.Entries) > most {
			return false, ErrUnavailable.because("more than %d revocations", most)
		}
	}
	for _, e := range f.Entries {
		s.put(e)
	}
	issued := time.Unix(f.IssuedAt, 0)
	newer = issued.After(s.issued)
	s.known, s.issued, s.cursor = true, later(s.issued, issued), f.Cursor
	s.staleness = time.Duration(min(f.MaxStaleness, int64(24*time.Hour/time.Second))) * time.Second
	if !delta {
		s.etag = etag
	}
	return newer, nil
}

func (s *revocations) size() int {
	n := len(s.subjects)
	for _, names := range s.named {
		n += len(names)
	}
	return n
}

// unknown counts the names among entries that are not kept yet.
func (s *revocations) unknown(entries []feedEntry) int {
	n, seen := 0, map[string]bool{}
	for _, e := range entries {
		k, name := e.kind(), e.name()
		known := seen[name]
		if k < kinds {
			_, kept := s.named[k][name]
			known = known || kept
		} else {
			_, kept := s.subjects[name]
			known = known || kept
		}
		if seen[name] = true; !known {
			n++
		}
	}
	return n
}

// kind is what the entry names; kinds where that is a subject, or nothing known.
func (e feedEntry) kind() kind {
	for k, name := range e.names() {
		if name != "" {
			return kind(k)
		}
	}
	return kinds
}

func (e feedEntry) names() [kinds]string {
	return [kinds]string{byToken: e.Token, bySession: e.Session, byAPIKey: e.APIKey, bySigningKey: e.SigningKey}
}

// name is what the entry names; empty where that is nothing known.
func (e feedEntry) name() string {
	if k := e.kind(); k < kinds {
		return e.names()[k]
	}
	return e.Subject
}

func (s *revocations) put(e feedEntry) {
	until := time.Unix(e.ExpiresAt, 0)
	switch k, name := e.kind(), e.name(); {
	case name == "":
	case k < kinds:
		if s.named[k] == nil {
			s.named[k] = map[string]time.Time{}
		}
		s.named[k][name] = later(s.named[k][name], until)
	default:
		if s.subjects == nil {
			s.subjects = map[string]cutoff{}
		}
		old := s.subjects[name]
		s.subjects[name] = cutoff{later(old.before, time.Unix(e.IssuedBefore, 0)), later(old.until, until)}
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// prune drops once a minute, or where it must, what no unexpired token can be refused by.
func (s *revocations) prune(now time.Time, must bool) {
	if !must && now.Before(s.sweep) {
		return
	}
	s.sweep = now.Add(time.Minute)
	over := func(until time.Time) bool { return now.After(until.Add(2 * DefaultLeeway)) }
	for _, names := range s.named {
		for name, until := range names {
			if over(until) {
				delete(names, name)
			}
		}
	}
	for name, c := range s.subjects {
		if over(c.until) {
			delete(s.subjects, name)
		}
	}
}

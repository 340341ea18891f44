package audit

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// strand is what the verifier keeps of one chain.
type strand struct {
	head     Head
	first    int64 // line
	start    int64 // position there
	anchored bool  // it begins at its beginning, or at a signed base
	signed   int64 // position of the last checkpoint; -1 where it is not known
	last     *Hash // of the last checkpoint; nil where it is not known
	holes    map[Class]*hole
}

// hole is what retention removed of one class and no event has told of yet.
type hole struct {
	open   int64
	newest time.Time
	line   int64     // of the newest
	before time.Time // what the events say of how far retention went
}

// follow checks that the link comes next.
func (s *strand) follow(r *reading) error {
	switch l := &r.link; {
	case l.Position > s.head.Position+1:
		return fmt.Errorf("%s goes on at position %d; %s missing before this line", named(l.Shard), l.Position, missing(s.head.Position+1, l.Position-1))
	case l.Position <= s.head.Position:
		return fmt.Errorf("%s is at position %d already; this line of position %d is in the wrong place", named(l.Shard), s.head.Position, l.Position)
	case r.prev != s.head.Hash:
		return errors.New("its prev_hash is not the hash of the line before in its chain: one of the two was changed")
	case !r.holds:
		return errors.New("its hash is not that of what it says: the line was changed")
	case s.signed >= 0 && l.Position > s.signed+CheckpointEvery:
		return fmt.Errorf("%s has no checkpoint at position %d: it was removed", named(l.Shard), s.signed+CheckpointEvery)
	}
	s.head.Position, s.head.Hash = r.link.Position, r.link.Hash
	return nil
}

func missing(from, to int64) string {
	if from == to {
		return fmt.Sprintf("position %d is", from)
	}
	return fmt.Sprintf("positions %d to %d are", from, to)
}

func (s *strand) of(c Class) *hole {
	if s.holes == nil {
		s.holes = map[Class]*hole{}
	}
	if s.holes[c] == nil {
		s.holes[Class(strings.Clone(string(c)))] = &hole{}
	}
	return s.holes[c]
}

func (s *strand) hole(l Link, line int64) {
	h := s.of(l.Class)
	if h.open++; !l.Time.Before(h.newest) {
		h.newest, h.line = l.Time, line
	}
}

// account takes an event that tells what retention removed before it.
func (s *strand) account(told *told) error {
	at, err := time.Parse(time.RFC3339Nano, told.before)
	n, wrong := strconv.ParseInt(told.count, 10, 64)
	if err != nil || wrong != nil || n < 1 {
		return errors.New("it does not say what retention removed")
	}
	h := s.of(Class(told.class))
	if h.open = max(h.open-n, 0); at.After(h.before) { // some may have been exported before they were removed
		h.before = at
	}
	return nil
}

// settled checks at the end of an export that what is missing was removed by
// retention, and that nothing is missing before it.
func (s *strand) settled(whole bool) error {
	if whole && !s.anchored {
		return &LineError{s.first, fmt.Sprintf("%s begins at position %d; what came before is missing", named(s.head.Shard), s.start)}
	}
	for class, h := range s.holes {
		switch {
		case h.line == 0:
		case h.open > 0:
			return &LineError{h.line, fmt.Sprintf("%s lacks %d events of class %q that retention did not remove, this one or others before it", named(s.head.Shard), h.open, class)}
		case !h.newest.Before(h.before):
			return &LineError{h.line, "its event is missing, and retention did not remove events of this age"}
		}
	}
	return nil
}

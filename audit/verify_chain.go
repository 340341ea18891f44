package audit

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/ident"
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
func (s *strand) follow(l Link, prev Hash) error {
	switch {
	case l.Position > s.head.Position+1:
		return fmt.Errorf("%s goes on at position %d; %s missing before this line", named(l.Shard), l.Position, missing(s.head.Position+1, l.Position-1))
	case l.Position <= s.head.Position:
		return fmt.Errorf("%s is at position %d already; this line of position %d is in the wrong place", named(l.Shard), s.head.Position, l.Position)
	case prev != s.head.Hash:
		return errors.New("its prev_hash is not the hash of the line before in its chain: one of the two was changed")
	case l.hashAfter(prev) != l.Hash:
		return errors.New("its hash is not that of what it says: the line was changed")
	case s.signed >= 0 && l.Position > s.signed+CheckpointEvery:
		return fmt.Errorf("%s has no checkpoint at position %d: it was removed", named(l.Shard), s.signed+CheckpointEvery)
	}
	s.head = l.Head()
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
		s.holes[c] = &hole{}
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
func (s *strand) account(event map[string]any) error {
	meta, _ := event["meta"].(map[string]any)
	class, _ := meta["class"].(string)
	before, _ := meta["before"].(string)
	count, _ := meta["count"].(string)
	at, err := time.Parse(time.RFC3339Nano, before)
	n, wrong := strconv.ParseInt(count, 10, 64)
	if err != nil || wrong != nil || n < 1 {
		return errors.New("it does not say what retention removed")
	}
	h := s.of(Class(class))
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

func (c checkpointClaims) issuer() string { return c.Issuer }
func (c baseClaims) issuer() string       { return c.Issuer }
func (c closingClaims) issuer() string    { return c.Issuer }

// checkpoint checks a signed statement in its place: after the link it is for.
func (v *Verifier) checkpoint(jws string, _ map[string]any) error {
	var c checkpointClaims
	known, err := v.statement(jws, CheckpointType, &c)
	if err != nil {
		return fmt.Errorf("the checkpoint %w", err)
	}
	s := v.shards[c.Org]
	switch {
	case s == nil || c.Position != s.head.Position:
		return fmt.Errorf("the checkpoint for position %d of %s is in another place", c.Position, named(c.Org))
	case c.Hash != s.head.Hash.String():
		return fmt.Errorf("the checkpoint is for another history: what %s has up to here was changed after it was signed", named(c.Org))
	case s.signed == c.Position:
		return errors.New("the checkpoint stands there twice")
	case s.last != nil && c.Previous != s.last.String():
		return errors.New("the checkpoint does not follow the one before: that was exchanged, or one in between removed")
	}
	h := hashOf(jws)
	s.signed, s.last = c.Position, &h
	v.order.Write(h[:])
	if known {
		v.report.Checkpoints++
	} else {
		v.report.Unknown++
	}
	return nil
}

// baseClaims are what a base says: what was up to the position is removed, and
// of each class so many events that were removed before the last event that
// tells of it.
type baseClaims struct {
	Issuer   string          `json:"iss"`
	IssuedAt int64           `json:"iat"`
	Org      ident.OrgID     `json:"org_id"`
	Position int64           `json:"position"`
	Hash     string          `json:"hash"`
	Open     map[Class]int64 `json:"open,omitempty"` // removed up to the position, and told of after it
}

// base takes the beginning of a chain whose oldest links are removed.
func (v *Verifier) base(jws string, _ map[string]any) error {
	var c baseClaims
	known, err := v.statement(jws, BaseType, &c)
	if err != nil {
		return fmt.Errorf("the base %w", err)
	}
	head := Head{Shard: c.Org, Position: c.Position}
	var ok bool
	if head.Hash, ok = parseHash(c.Hash); !ok || c.Position < 1 {
		return errors.New("the base says nothing that is understood")
	}
	s := v.shards[c.Org]
	switch {
	case !known:
		return errors.New("the base is signed by a key that is not among the known ones; give the JWK Set of that time too")
	case s != nil && s.head.Position >= c.Position:
		return fmt.Errorf("%s is past the position of this base already", named(c.Org))
	}
	h := hashOf(jws)
	v.order.Write(h[:])
	s = &strand{head: head, first: v.report.Lines, anchored: true, signed: c.Position}
	for class, n := range c.Open {
		*s.of(class) = hole{open: n, line: v.report.Lines}
	}
	v.shards[c.Org] = s
	return nil
}

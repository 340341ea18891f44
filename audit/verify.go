package audit

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// Verifier proves exports. It needs no database and no network, and memory for
// each organisation, not for each line. Set the exported fields; use it once.
type Verifier struct {
	Keys     jose.JSONWebKeySet // that the deployment publishes, and those it published
	Issuer   string             // of the deployment; whoever signs the first statement where empty
	Progress func(lines int64)  // hears from time to time how many lines were read; may be nil

	shards map[ident.OrgID]*strand
	order  hash.Hash
	seen   Exported // since the last closing line
	open   bool     // something came after the last closing line
	report Report
}

// Trust adds the keys of a JWK Set (RFC 7517 §5) to the known ones.
func (v *Verifier) Trust(jwks []byte) error {
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(jwks, &set); err != nil || len(set.Keys) == 0 {
		return errors.New("it is no JWK Set with keys")
	}
	v.Keys.Keys = append(v.Keys.Keys, set.Keys...)
	return nil
}

// Report is what an export that holds proves.
type Report struct {
	Lines       int64
	Events      int64
	Pruned      int64        // places whose events retention removed, as the log itself says
	Shards      int          // organisations, and the deployment itself
	Checkpoints int64        // that hold
	Unknown     int64        // checkpoints of keys that are not among the known ones
	Org         *ident.OrgID // nil: the whole deployment
	After       int64        // what comes before is not in the export
	Through     int64
	Closed      time.Time // when the export was made: what was recorded later is not in it
	Issuer      string
}

// LineError is the first line that does not hold.
type LineError struct {
	Line   int64 // from 1
	Reason string
}

func (e *LineError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Reason) }

// Verify reads an export, or several one after another, to its end. What does
// not hold is a *LineError; any other error is of the reader. Lines are read by
// themselves on all processors, and checked in their order.
func (v *Verifier) Verify(r io.Reader) (Report, error) {
	v.shards, v.order = map[ident.OrgID]*strand{}, newOrder()
	from := partReader{in: bufio.NewReaderSize(r, 64<<10), keys: &v.Keys}
	defer from.wait()
	for part := from.next(); part != nil; part = from.next() {
		if err := v.check(part); err != nil {
			return v.report, err
		}
	}
	v.report.Shards = len(v.shards)
	switch {
	case v.report.Lines == 0:
		return v.report, &LineError{1, "the file is empty; an export has at least its closing line"}
	case v.open:
		return v.report, &LineError{v.report.Lines, "the file ends after this line, without the closing line of its export: it was cut off"}
	}
	return v.report, nil
}

// check checks the lines of a part, and says what kept it from having more.
func (v *Verifier) check(p *part) error {
	for i := range p.read {
		v.report.Lines++
		if err := v.line(&p.read[i]); err != nil {
			return v.at(err)
		}
		if v.Progress != nil && v.report.Lines%10_000 == 0 {
			v.Progress(v.report.Lines)
		}
	}
	if errors.Is(p.err, errLong) {
		v.report.Lines++
		return v.at(p.err)
	}
	return p.err
}

// at makes err a LineError of the present line, unless it already is one of
// another.
func (v *Verifier) at(err error) error {
	var l *LineError
	if errors.As(err, &l) {
		return err
	}
	return &LineError{v.report.Lines, err.Error()}
}

func (v *Verifier) line(r *reading) error {
	if r.err != nil {
		return r.err
	}
	v.open = true
	switch r.kind {
	case isCheckpoint:
		return v.checkpoint(&r.signed)
	case isBase:
		return v.base(&r.signed)
	case isClosing:
		return v.closing(&r.signed, r.through)
	default:
		return v.link(r)
	}
}

// link checks one event, or the place of one that is gone.
func (v *Verifier) link(r *reading) error {
	l := r.link
	s := v.shards[l.Shard]
	if s == nil {
		l.Shard = ident.OrgID(strings.Clone(string(l.Shard))) // what is kept keeps no line
		s = &strand{head: Head{l.Shard, l.Position - 1, r.prev}, first: v.report.Lines, start: l.Position, signed: -1}
		if v.shards[l.Shard] = s; l.Position == 1 {
			s.anchored, s.signed = true, 0
			if r.prev != (Hash{}) {
				return fmt.Errorf("%s has something before its first event", named(l.Shard))
			}
		}
	}
	if err := s.follow(r); err != nil {
		return err
	}
	v.order.Write(l.Hash[:])
	if l.Pruned {
		v.seen.Pruned++
		v.report.Pruned++
		s.hole(l, v.report.Lines)
		return nil
	}
	v.seen.Events++
	v.report.Events++
	if r.tells != nil {
		return s.account(r.tells)
	}
	return nil
}

// named words an organisation.
func named(org ident.OrgID) string {
	if org == "" {
		return "the chain of the deployment"
	}
	return "the chain of " + string(org)
}

// closing checks that everything the export had was read, in its order.
func (v *Verifier) closing(said *statement, through int64) error {
	var c closingClaims
	if err := v.understand(said, &c); err != nil {
		return fmt.Errorf("the closing line %w", err)
	}
	if !said.known {
		return errors.New("the closing line is signed by a key that is not among the known ones; give the JWK Set of that time too")
	}
	first := v.report.Closed.IsZero()
	switch {
	case through != c.Through:
		return errors.New("the closing line says beside its signed text what that does not say")
	case !first && (c.After != v.report.Through || !sameOrg(c.Org, v.report.Org)):
		return fmt.Errorf("this export goes on after place %d, the one before it ends at %d", c.After, v.report.Through)
	case c.Events != v.seen.Events || c.Pruned != v.seen.Pruned:
		return fmt.Errorf("the export had %d events and %d places of pruned ones; %d and %d were read", c.Events, c.Pruned, v.seen.Events, v.seen.Pruned)
	case Hash(v.order.Sum(nil)).String() != c.Order:
		return errors.New("the lines of the export do not stand as they were written: one is in another place or was exchanged")
	}
	if first {
		v.report.Org, v.report.After = c.Org, c.After
	}
	for org, s := range v.shards {
		if c.Org != nil && org != *c.Org {
			return &LineError{s.first, fmt.Sprintf("%s is in an export of another organisation", named(org))}
		}
		if err := s.settled(v.report.After == 0); err != nil {
			return err
		}
	}
	v.report.Through, v.report.Closed = c.Through, time.Unix(c.IssuedAt, 0).UTC()
	v.order, v.seen, v.open = newOrder(), Exported{}, false
	return nil
}

func sameOrg(a, b *ident.OrgID) bool { return a == b || a != nil && b != nil && *a == *b }

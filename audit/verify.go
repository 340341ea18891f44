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

// maxLine is the longest line that is read, in bytes.
const maxLine = 4 << 20

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
// not hold is a *LineError; any other error is of the reader.
func (v *Verifier) Verify(r io.Reader) (Report, error) {
	v.shards, v.order = map[ident.OrgID]*strand{}, newOrder()
	in := bufio.NewReaderSize(r, 256<<10)
	for {
		line, err := readLine(in)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil && !errors.Is(err, errLong) {
			return v.report, err
		}
		v.report.Lines++
		if err == nil {
			err = v.line(line)
		}
		if err != nil {
			return v.report, v.at(err)
		}
		if v.Progress != nil && v.report.Lines%10_000 == 0 {
			v.Progress(v.report.Lines)
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

// at makes err a LineError of the present line, unless it already is one of
// another.
func (v *Verifier) at(err error) error {
	var l *LineError
	if errors.As(err, &l) {
		return err
	}
	return &LineError{v.report.Lines, err.Error()}
}

var errLong = fmt.Errorf("the line is longer than %d bytes", maxLine)

// readLine returns a line without its end; io.EOF after the last.
func readLine(in *bufio.Reader) ([]byte, error) {
	var long []byte
	for {
		part, err := in.ReadSlice('\n')
		switch {
		case len(long)+len(part) > maxLine:
			return nil, errLong
		case errors.Is(err, bufio.ErrBufferFull):
			long = append(long, part...)
			continue
		case errors.Is(err, io.EOF) && len(long)+len(part) == 0:
			return nil, io.EOF
		case err != nil && !errors.Is(err, io.EOF):
			return nil, err
		case len(long) > 0:
			part = append(long, part...)
		}
		if n := len(part); n > 0 && part[n-1] == '\n' {
			part = part[:n-1]
		}
		return part, nil
	}
}

func (v *Verifier) line(text []byte) error {
	members, err := parseObject(text)
	if err != nil {
		return err
	}
	v.open = true
	for kind, read := range map[string]func(jws string, members map[string]any) error{
		"checkpoint": v.checkpoint, "base": v.base, "closing": v.closing,
	} {
		value, there := members[kind]
		if !there {
			continue
		}
		jws, ok := value.(string)
		if !ok || len(members) > 2 || len(members) == 2 && kind != "closing" {
			return fmt.Errorf("a %s is one signed text and nothing else", kind)
		}
		return read(jws, members)
	}
	if pruned, ok := members["pruned"].(map[string]any); ok && len(members) == 1 {
		return v.link(pruned, true)
	}
	return v.link(members, false)
}

// link checks one event, or the place of one that is gone.
func (v *Verifier) link(members map[string]any, pruned bool) error {
	l, prev, err := linkOf(members, pruned)
	if err != nil {
		return err
	}
	s := v.shards[l.Shard]
	if s == nil {
		s = &strand{head: Head{l.Shard, l.Position - 1, prev}, first: v.report.Lines, start: l.Position, signed: -1}
		if v.shards[l.Shard] = s; l.Position == 1 {
			s.anchored, s.signed = true, 0
			if prev != (Hash{}) {
				return fmt.Errorf("%s has something before its first event", named(l.Shard))
			}
		}
	}
	if err := s.follow(l, prev); err != nil {
		return err
	}
	v.order.Write(l.Hash[:])
	if pruned {
		v.seen.Pruned++
		v.report.Pruned++
		s.hole(l, v.report.Lines)
		return nil
	}
	v.seen.Events++
	v.report.Events++
	if members["event"] == string(AuditPruned) {
		return s.account(members)
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

// linkOf reads a link. What remains of the members of an event is its line.
func linkOf(m map[string]any, pruned bool) (l Link, prev Hash, err error) {
	text := func(name string) (s string) {
		value, there := m[name]
		s, ok := value.(string)
		if (!there || !ok) && err == nil {
			err = fmt.Errorf("it has no text %q", name)
		}
		return s
	}
	digest := func(name string) Hash {
		h, ok := parseHash(text(name))
		if !ok && err == nil {
			err = fmt.Errorf("its %q is no digest", name)
		}
		return h
	}
	var ok bool
	if l.Position, ok = m["position"].(int64); !ok || l.Position < 1 {
		return l, prev, errors.New("it has no position: an export whose events have their places in the chain is needed")
	}
	l.Shard, l.Class = ident.OrgID(text("org_id")), Class(text("class"))
	prev, l.Hash = digest("prev_hash"), digest("hash")
	when, wrong := time.Parse(time.RFC3339Nano, text("time"))
	if wrong != nil && err == nil {
		err = errors.New("its time is not one of RFC 3339")
	}
	l.Time = when
	if pruned {
		l.Body = digest("body")
		return l, prev, err
	}
	for _, name := range []string{"class", "position", "prev_hash", "hash"} {
		delete(m, name)
	}
	l.Body = bodyHash(appendCanonical(nil, any(m)))
	return l, prev, err
}

// closing checks that everything the export had was read, in its order.
func (v *Verifier) closing(jws string, members map[string]any) error {
	var c closingClaims
	known, err := v.statement(jws, ClosingType, &c)
	if err != nil {
		return fmt.Errorf("the closing line %w", err)
	}
	if !known {
		return errors.New("the closing line is signed by a key that is not among the known ones; give the JWK Set of that time too")
	}
	through, _ := members["through"].(int64)
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

// algorithms is every one that a deployment signs with. None takes a shared key
// (RFC 8725 §3.1, §3.2).
var algorithms = []jose.SignatureAlgorithm{jose.ES256, jose.ES384, jose.EdDSA, jose.RS256, jose.PS256}

func parseStatement(jws string) (*jose.JSONWebSignature, error) {
	s, err := jose.ParseSignedCompact(jws, algorithms)
	if err != nil || len(s.Signatures) != 1 {
		return nil, errors.New("is not a signed text")
	}
	return s, nil
}

// statement reads what is signed, and reports whether by a key that is known. Of
// an unknown key nothing is proved.
func (v *Verifier) statement(jws, typ string, claims interface{ issuer() string }) (known bool, err error) {
	s, err := parseStatement(jws)
	if err != nil {
		return false, err
	}
	h := s.Signatures[0].Protected
	if got, _ := h.ExtraHeaders[jose.HeaderType].(string); !strings.EqualFold(got, typ) {
		return false, fmt.Errorf("is signed as %q, not as %q", got, typ)
	}
	payload := s.UnsafePayloadWithoutVerification()
	for _, k := range v.Keys.Key(h.KeyID) {
		if k.Algorithm != h.Algorithm {
			continue
		}
		if payload, err = s.Verify(k); err != nil {
			return false, errors.New("is forged: its signature does not hold")
		}
		known = true
		break
	}
	if json.Unmarshal(payload, claims) != nil {
		return known, errors.New("says nothing that is understood")
	}
	want := v.Issuer
	if want == "" {
		want = v.report.Issuer
	}
	if want != "" && claims.issuer() != want {
		return known, fmt.Errorf("is of %q, not of %q", claims.issuer(), want)
	}
	if known {
		v.report.Issuer = claims.issuer()
	}
	return known, nil
}

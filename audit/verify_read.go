package audit

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenhouse/tokenhouse/internal/ident"
)

const (
	// maxLine is the longest line that is read, in bytes.
	maxLine = 4 << 20
	// partSize is after how many bytes a part ends: it has a line more at most.
	partSize = 128 << 10
)

// part is some lines of an export that stand together. They are read at once
// with others, each by itself.
type part struct {
	lines []string
	err   error // why there are no more: io.EOF, errLong or the reader's
	read  []reading
	done  chan struct{}
}

// partReader gives an export part by part, some of them read ahead.
type partReader struct {
	in    *bufio.Reader
	keys  *jose.JSONWebKeySet
	ahead []*part // oldest first
	last  bool    // the last is among them, or was given
}

// next returns the next part with its lines read; nil after the last.
func (r *partReader) next() *part {
	for most := runtime.GOMAXPROCS(0) + 1; !r.last && len(r.ahead) < most; {
		p := takePart(r.in)
		r.last = p.err != nil
		r.ahead = append(r.ahead, p)
		go p.readLines(r.keys)
	}
	if len(r.ahead) == 0 {
		return nil
	}
	p := r.ahead[0]
	r.ahead = r.ahead[1:]
	<-p.done
	if errors.Is(p.err, io.EOF) {
		p.err = nil
	}
	return p
}

// wait returns when nothing is read ahead any more.
func (r *partReader) wait() {
	for _, p := range r.ahead {
		<-p.done
	}
}

func takePart(in *bufio.Reader) *part {
	p := &part{done: make(chan struct{})}
	for size := 0; size < partSize && p.err == nil; {
		var line string
		if line, p.err = readLine(in); p.err == nil {
			p.lines = append(p.lines, line)
			size += len(line) + 1
		}
	}
	return p
}

var errLong = fmt.Errorf("the line is longer than %d bytes", maxLine)

// readLine returns a line without its end; io.EOF after the last.
func readLine(in *bufio.Reader) (string, error) {
	var long []byte
	for {
		part, err := in.ReadSlice('\n')
		switch {
		case len(long)+len(part) > maxLine:
			return "", errLong
		case errors.Is(err, bufio.ErrBufferFull):
			long = append(long, part...)
			continue
		case errors.Is(err, io.EOF) && len(long)+len(part) == 0:
			return "", io.EOF
		case err != nil && !errors.Is(err, io.EOF):
			return "", err
		case len(long) > 0:
			part = append(long, part...)
		}
		if n := len(part); n > 0 && part[n-1] == '\n' {
			part = part[:n-1]
		}
		return string(part), nil
	}
}

// lineKind is what a line of an export is.
type lineKind byte

const (
	isLink lineKind = iota
	isCheckpoint
	isBase
	isClosing
)

// reading is a line read by itself.
type reading struct {
	err     error
	kind    lineKind
	link    Link
	prev    Hash
	holds   bool      // the hash of the link is that of what it says
	tells   *told     // of an event about retention
	signed  statement // of lines that are one
	through int64     // of a closing line
}

// told is what an event says that retention removed.
type told struct{ class, before, count string }

func (p *part) readLines(keys *jose.JSONWebKeySet) {
	defer close(p.done)
	p.read = make([]reading, len(p.lines))
	var room []byte
	for i, text := range p.lines {
		r := &p.read[i]
		if room, r.err = r.readLine(text, keys, room); r.err != nil {
			return // nothing after it is looked at
		}
	}
}

// readLine reads the line; room is where it may write, and is given back.
func (r *reading) readLine(text string, keys *jose.JSONWebKeySet, room []byte) ([]byte, error) {
	m, err := parseObject(text)
	if err != nil {
		return room, err
	}
	for _, s := range []struct {
		name, typ string
		kind      lineKind
	}{{"checkpoint", CheckpointType, isCheckpoint}, {"base", BaseType, isBase}, {"closing", ClosingType, isClosing}} {
		v, there := m.get(s.name)
		if !there {
			continue
		}
		if v.kind != isText || len(m) > 2 || len(m) == 2 && s.kind != isClosing {
			return room, fmt.Errorf("a %s is one signed text and nothing else", s.name)
		}
		r.kind, r.signed = s.kind, statementOf(v.text, s.typ, keys)
		r.through, _ = m.numberOf("through")
		return room, nil
	}
	if pruned, ok := m.get("pruned"); ok && pruned.kind == isObject && len(m) == 1 {
		m, r.link.Pruned = pruned.inside, true
	}
	return r.readLink(m, room)
}

// readLink reads a link. What is beside it among the members of an event is the
// event.
func (r *reading) readLink(m members, room []byte) ([]byte, error) {
	var err error
	text := func(name string) string {
		s, ok := m.textOf(name)
		if !ok && err == nil {
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
	l := &r.link
	var ok bool
	if l.Position, ok = m.numberOf("position"); !ok || l.Position < 1 {
		return room, errors.New("it has no position: an export whose events have their places in the chain is needed")
	}
	l.Shard, l.Class = ident.OrgID(text("org_id")), Class(text("class"))
	r.prev, l.Hash = digest("prev_hash"), digest("hash")
	when, wrong := time.Parse(time.RFC3339Nano, text("time"))
	if wrong != nil && err == nil {
		err = errors.New("its time is not one of RFC 3339")
	}
	l.Time = when
	if l.Pruned {
		l.Body = digest("body")
	} else {
		room = appendObject(append(room[:0], bodyDomain...), m, "class", "position", "prev_hash", "hash")
		l.Body = sha256.Sum256(room)
		r.tells = toldBy(m)
	}
	r.holds = l.hashAfter(r.prev) == l.Hash
	return room, err
}

// toldBy returns what the event says that retention removed; nil where it is
// another.
func toldBy(m members) *told {
	if name, _ := m.textOf("event"); name != string(AuditPruned) {
		return nil
	}
	meta, _ := m.get("meta")
	var t told
	t.class, _ = meta.inside.textOf("class")
	t.before, _ = meta.inside.textOf("before")
	t.count, _ = meta.inside.textOf("count")
	return &t
}

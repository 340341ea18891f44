package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"
)

// What parse refuses beside bad syntax; the texts are for the caller.
var (
	errNotUTF8   = errors.New("it is not UTF-8")
	errSurrogate = errors.New("it has half a surrogate pair")
	errTrailing  = errors.New("something follows the value")
	errDepth     = fmt.Errorf("it is nested deeper than %d", maxDepth)
	errMembers   = fmt.Errorf("it has more than %d values", maxMembers)
	errSyntax    = errors.New("the syntax is wrong")
	errDuplicate = errors.New("a member is given twice")
)

// parse reads one JSON value into a tree of map[string]any, []any, string,
// json.Number, bool and nil.
func parse(body []byte) (any, error) {
	if !utf8.Valid(body) {
		return nil, errNotUTF8
	}
	if loneSurrogate(body) {
		return nil, errSurrogate
	}
	p := parser{d: json.NewDecoder(bytes.NewReader(body))}
	p.d.UseNumber()
	v, err := p.value(0)
	if err != nil {
		return nil, err
	}
	if _, err := p.d.Token(); !errors.Is(err, io.EOF) {
		return nil, errTrailing
	}
	return v, nil
}

type parser struct {
	d       *json.Decoder
	members int
}

func (p *parser) value(depth int) (any, error) {
	if p.members++; p.members > maxMembers {
		return nil, errMembers
	}
	t, err := p.d.Token()
	if err != nil {
		return nil, errSyntax
	}
	delim, ok := t.(json.Delim)
	if !ok {
		return t, nil
	}
	if depth == maxDepth {
		return nil, errDepth
	}
	if delim == '[' {
		return p.list(depth)
	}
	return p.object(depth)
}

func (p *parser) list(depth int) (any, error) {
	out := []any{}
	for p.d.More() {
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, p.end()
}

func (p *parser) object(depth int) (any, error) {
	out := map[string]any{}
	for p.d.More() {
		t, err := p.d.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return nil, errSyntax
		}
		if _, twice := out[name]; twice {
			return nil, errDuplicate // RFC 8259 §4 leaves the meaning open: we do not guess
		}
		if out[name], err = p.value(depth + 1); err != nil {
			return nil, err
		}
	}
	return out, p.end()
}

func (p *parser) end() error {
	if _, err := p.d.Token(); err != nil {
		return errSyntax
	}
	return nil
}

// loneSurrogate reports an escaped UTF-16 half without its other half, which
// encoding/json would quietly replace (a password would lose characters).
func loneSurrogate(body []byte) bool {
	for i := 0; i+1 < len(body); i++ {
		if body[i] != '\\' {
			continue
		}
		switch u := escaped(body[i:]); {
		case u >= 0xdc00 && u <= 0xdfff:
			return true
		case u >= 0xd800 && u <= 0xdbff:
			if low := escaped(body[i+6:]); low < 0xdc00 || low > 0xdfff {
				return true
			}
			i += 11
		default:
			i++ // the escaped character is not the start of another escape
		}
	}
	return false
}

// escaped reads \uXXXX at the start of b; -1 where there is none.
func escaped(b []byte) int64 {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return -1
	}
	u, err := strconv.ParseUint(string(b[2:6]), 16, 16)
	if err != nil {
		return -1
	}
	return int64(u)
}

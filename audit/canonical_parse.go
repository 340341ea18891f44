package audit

import (
	"errors"
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth is how deep lines nest at most; ours have three levels.
const maxDepth = 8

// What is wrong with text that is no line of ours.
var (
	errSyntax = errors.New("the line is not JSON")
	errValue  = errors.New("the line has a value that is neither text, whole number, list, object nor null")
)

// parseObject reads one JSON object (RFC 8259), more strictly than others: no
// name twice, no number but whole ones below 2^53 without sign, no lone
// surrogate, nothing after it. Values are string, int64, nil, []any and
// map[string]any.
func parseObject(text []byte) (map[string]any, error) {
	if !utf8.Valid(text) {
		return nil, errors.New("the line is not UTF-8")
	}
	p := parser{text: text}
	p.space()
	if p.next() != '{' {
		return nil, errSyntax
	}
	object, err := p.members(0)
	if err != nil {
		return nil, err
	}
	if p.space(); p.at < len(p.text) {
		return nil, errors.New("something stands after the object")
	}
	return object, nil
}

type parser struct {
	text []byte
	at   int
}

// next returns the byte that comes next; 0 at the end.
func (p *parser) next() byte {
	if p.at < len(p.text) {
		return p.text[p.at]
	}
	return 0
}

func (p *parser) space() {
	for p.at < len(p.text) && (p.text[p.at] == ' ' || p.text[p.at] == '\t' || p.text[p.at] == '\r' || p.text[p.at] == '\n') {
		p.at++
	}
}

func (p *parser) take(c byte) bool {
	p.space()
	if p.next() != c {
		return false
	}
	p.at++
	return true
}

func (p *parser) value(depth int) (any, error) {
	p.space()
	switch c := p.next(); {
	case depth > maxDepth:
		return nil, errValue
	case c == '"':
		return p.string()
	case c == '{':
		return p.members(depth)
	case c == '[':
		return p.items(depth)
	case c >= '0' && c <= '9':
		return p.number()
	case string(p.text[p.at:min(p.at+4, len(p.text))]) == "null":
		p.at += 4
		return nil, nil
	}
	return nil, errValue
}

func (p *parser) number() (any, error) {
	from := p.at
	for c := p.next(); c >= '0' && c <= '9' || c == '.' || c == 'e' || c == 'E'; c = p.next() {
		p.at++
	}
	text := string(p.text[from:p.at])
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n >= 1<<53 || len(text) > 1 && text[0] == '0' {
		return nil, errValue
	}
	return n, nil
}

func (p *parser) members(depth int) (map[string]any, error) {
	p.at++
	out := make(map[string]any, 20)
	if p.take('}') {
		return out, nil
	}
	for {
		if p.space(); p.next() != '"' {
			return nil, errSyntax
		}
		name, err := p.string()
		if err != nil {
			return nil, err
		}
		if _, twice := out[name]; twice {
			return nil, fmt.Errorf("%q stands there twice", name)
		}
		if !p.take(':') {
			return nil, errSyntax
		}
		if out[name], err = p.value(depth + 1); err != nil {
			return nil, err
		}
		switch {
		case p.take('}'):
			return out, nil
		case !p.take(','):
			return nil, errSyntax
		}
	}
}

func (p *parser) items(depth int) ([]any, error) {
	p.at++
	out := []any{}
	if p.take(']') {
		return out, nil
	}
	for {
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
		switch {
		case p.take(']'):
			return out, nil
		case !p.take(','):
			return nil, errSyntax
		}
	}
}

// string reads a string at its quotation mark.
func (p *parser) string() (string, error) {
	p.at++
	from := p.at
	var out []byte // nil while there was no escape
	for p.at < len(p.text) {
		switch c := p.text[p.at]; {
		case c == '"':
			s := p.text[from:p.at]
			p.at++
			if out == nil {
				return string(s), nil
			}
			return string(append(out, s...)), nil
		case c < ' ':
			return "", errSyntax
		case c == '\\':
			out = append(out, p.text[from:p.at]...)
			r, ok := p.escape()
			if !ok {
				return "", errSyntax
			}
			out = utf8.AppendRune(out, r)
			from = p.at
		default:
			p.at++
		}
	}
	return "", errSyntax
}

var escapes = map[byte]rune{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// escape reads an escape at its backslash.
func (p *parser) escape() (rune, bool) {
	p.at++
	c := p.next()
	if c != 'u' {
		r, ok := escapes[c]
		p.at++
		return r, ok
	}
	r, ok := p.unit()
	if !ok || !utf16.IsSurrogate(r) {
		return r, ok
	}
	if p.next() != '\\' || p.at+1 >= len(p.text) || p.text[p.at+1] != 'u' {
		return 0, false
	}
	p.at++
	low, ok := p.unit()
	r = utf16.DecodeRune(r, low)
	return r, ok && r != utf8.RuneError
}

// unit reads a UTF-16 code unit at the letter u.
func (p *parser) unit() (rune, bool) {
	if p.at+5 > len(p.text) {
		return 0, false
	}
	n, err := strconv.ParseUint(string(p.text[p.at+1:p.at+5]), 16, 16)
	p.at += 5
	return rune(n), err == nil
}

package audit

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
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
// surrogate, nothing after it.
func parseObject(text string) (members, error) {
	if !utf8.ValidString(text) {
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
	text string
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

func (p *parser) value(depth int) (v value, err error) {
	p.space()
	switch c := p.next(); {
	case depth > maxDepth:
		return v, errValue
	case c == '"':
		v.kind = isText
		v.text, err = p.string()
	case c == '{':
		v.kind = isObject
		v.inside, err = p.members(depth)
	case c == '[':
		v.kind = isList
		v.inside, err = p.items(depth)
	case c >= '0' && c <= '9':
		v.kind = isNumber
		v.text, err = p.number()
	case strings.HasPrefix(p.text[p.at:], "null"):
		p.at += 4
	default:
		return v, errValue
	}
	return v, err
}

func (p *parser) number() (string, error) {
	from := p.at
	for c := p.next(); c >= '0' && c <= '9' || c == '.' || c == 'e' || c == 'E'; c = p.next() {
		p.at++
	}
	text := p.text[from:p.at]
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n >= 1<<53 || len(text) > 1 && text[0] == '0' {
		return "", errValue
	}
	return text, nil
}

// roomFor is how many members an object has at the outside, and inside it.
func roomFor(depth int) int {
	if depth == 0 {
		return 24
	}
	return 4
}

func (p *parser) members(depth int) (members, error) {
	p.at++
	if p.take('}') {
		return members{}, nil
	}
	out := make(members, 0, roomFor(depth))
	for {
		if p.space(); p.next() != '"' {
			return nil, errSyntax
		}
		name, err := p.string()
		if err != nil {
			return nil, err
		}
		if !p.take(':') {
			return nil, errSyntax
		}
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		out = append(out, member{name, v})
		switch {
		case p.take('}'):
			return out, inOrder(out)
		case !p.take(','):
			return nil, errSyntax
		}
	}
}

func inOrder(m members) error {
	slices.SortFunc(m, func(a, b member) int { return compareUTF16(a.name, b.name) })
	for i := range len(m) - 1 {
		if m[i].name == m[i+1].name {
			return fmt.Errorf("%q stands there twice", m[i].name)
		}
	}
	return nil
}

func (p *parser) items(depth int) (members, error) {
	p.at++
	if p.take(']') {
		return members{}, nil
	}
	out := make(members, 0, 1)
	for {
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		out = append(out, member{value: v})
		switch {
		case p.take(']'):
			return out, nil
		case !p.take(','):
			return nil, errSyntax
		}
	}
}

// string reads a string at its quotation mark. What has no escape is a part of
// the line, not a copy.
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
				return s, nil
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
	n, err := strconv.ParseUint(p.text[p.at+1:p.at+5], 16, 16)
	p.at += 5
	return rune(n), err == nil
}

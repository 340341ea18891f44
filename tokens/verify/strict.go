package verify

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	maxDepth   = 16  // of objects and lists within one another
	maxMembers = 256 // of one object
)

var (
	errNotJSON    = errors.New("not one JSON object in UTF-8")
	errDuplicate  = errors.New("a JSON member occurs twice")
	errTooComplex = errors.New("the JSON is too deep or too wide")
)

// member is one member of a JSON object; raw is its value as written.
type member struct {
	name string
	raw  json.RawMessage
}

// members returns the members of the one JSON object in data. It is stricter
// than encoding/json, which lets the last of two equal names win, takes EXP for
// exp and repairs broken text: two readers must never understand one token
// differently (RFC 8725 §2.4, RFC 7515 §4).
func members(data []byte) ([]member, error) {
	if !utf8.Valid(data) || !json.Valid(data) {
		return nil, errNotJSON
	}
	r := reader{data: data}
	r.space()
	if r.data[r.at] != '{' {
		return nil, errNotJSON
	}
	return r.object(1)
}

// reader walks over JSON that is known to be valid.
type reader struct {
	data []byte
	at   int
}

func (r *reader) space() {
	for r.at < len(r.data) && strings.IndexByte(" \t\r\n", r.data[r.at]) >= 0 {
		r.at++
	}
}

// skip passes over white space and one character of punctuation, which it returns.
func (r *reader) skip() byte {
	r.space()
	c := r.data[r.at]
	r.at++
	r.space()
	return c
}

func (r *reader) object(depth int) ([]member, error) {
	if depth > maxDepth {
		return nil, errTooComplex
	}
	r.skip() // {
	if r.data[r.at] == '}' {
		r.at++
		return nil, nil
	}
	out := make([]member, 0, 16)
	for {
		name, err := r.string()
		if err != nil {
			return nil, err
		}
		for _, m := range out {
			if m.name == name {
				return nil, errDuplicate
			}
		}
		if len(out) == maxMembers {
			return nil, errTooComplex
		}
		r.skip() // :
		start := r.at
		if err := r.value(depth); err != nil {
			return nil, err
		}
		out = append(out, member{name, json.RawMessage(r.data[start:r.at])})
		if r.skipAfterValue() == '}' {
			return out, nil
		}
	}
}

// skipAfterValue passes over a comma or a closing bracket and returns it.
func (r *reader) skipAfterValue() byte {
	r.space()
	c := r.data[r.at]
	r.at++
	if c == ',' {
		r.space()
	}
	return c
}

func (r *reader) value(depth int) error {
	switch r.data[r.at] {
	case '{':
		_, err := r.object(depth + 1)
		return err
	case '[':
		return r.list(depth + 1)
	case '"':
		_, err := r.string()
		return err
	default: // a number, true, false or null
		for r.at < len(r.data) && strings.IndexByte(",]} \t\r\n", r.data[r.at]) < 0 {
			r.at++
		}
		return nil
	}
}

func (r *reader) list(depth int) error {
	if depth > maxDepth {
		return errTooComplex
	}
	r.skip() // [
	if r.data[r.at] == ']' {
		r.at++
		return nil
	}
	for {
		if err := r.value(depth); err != nil {
			return err
		}
		if r.skipAfterValue() == ']' {
			return nil
		}
	}
}

// string passes over one string and returns what it means.
func (r *reader) string() (string, error) {
	start, escaped := r.at, false
	for r.at++; r.data[r.at] != '"'; r.at++ {
		if r.data[r.at] == '\\' {
			escaped = true
			r.at++
		}
	}
	r.at++
	return text(r.data[start:r.at], escaped)
}

// text decodes a JSON string literal.
func text(literal []byte, escaped bool) (string, error) {
	if !escaped {
		return string(literal[1 : len(literal)-1]), nil
	}
	if loneSurrogate(string(literal)) {
		return "", errNotJSON
	}
	var s string
	err := json.Unmarshal(literal, &s)
	return s, err
}

// loneSurrogate reports whether a literal has a \uD800..\uDFFF escape without
// its other half. encoding/json would replace it in silence.
func loneSurrogate(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			continue
		}
		i++
		if s[i] != 'u' {
			continue
		}
		switch c := hex4(s[i+1:]); {
		case c >= 0xDC00 && c < 0xE000:
			return true
		case c >= 0xD800 && c < 0xDC00:
			rest := s[i+5:]
			if !strings.HasPrefix(rest, `\u`) {
				return true
			}
			if low := hex4(rest[2:]); low < 0xDC00 || low >= 0xE000 {
				return true
			}
			i += 6
		}
		i += 4
	}
	return false
}

func hex4(s string) uint64 {
	n, _ := strconv.ParseUint(s[:4], 16, 32)
	return n
}

// asString reads a JSON string; false where raw is anything else.
func asString(raw json.RawMessage) (string, bool) {
	if raw[0] != '"' {
		return "", false
	}
	s, err := text(raw, strings.IndexByte(string(raw), '\\') >= 0)
	return s, err == nil
}

// asStrings reads a list of strings; false where raw is anything else.
func asStrings(raw json.RawMessage) ([]string, bool) {
	if raw[0] != '[' {
		return nil, false
	}
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		return nil, false
	}
	out := make([]string, len(list))
	for i, e := range list {
		s, ok := asString(e)
		if !ok {
			return nil, false
		}
		out[i] = s
	}
	return out, true
}

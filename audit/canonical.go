package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// canonicalLine returns the line in the canonical form of RFC 8785.
func canonicalLine(l Line) ([]byte, error) {
	text, err := json.Marshal(l)
	if err != nil {
		return nil, err
	}
	members, err := parseObject(text)
	if err != nil {
		return nil, err
	}
	return appendCanonical(nil, members), nil
}

// errValue is the answer to JSON that no line of ours has.
var errValue = errors.New("a number is not whole, or a value is neither text, number, list nor object")

// maxDepth is how deep lines nest at most; ours have three levels.
const maxDepth = 8

// parseObject reads one JSON object: no name twice, no number but whole ones,
// nothing after it. Values are string, int64, []any and map[string]any.
func parseObject(text []byte) (map[string]any, error) {
	if !utf8.Valid(text) {
		return nil, errors.New("the line is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	v, err := parseValue(d, 0)
	if err != nil {
		return nil, err
	}
	object, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("the line is no JSON object")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something stands after the object")
	}
	return object, nil
}

func parseValue(d *json.Decoder, depth int) (any, error) {
	if depth > maxDepth {
		return nil, errValue
	}
	token, err := d.Token()
	if err != nil {
		return nil, errors.New("the line is not JSON")
	}
	switch v := token.(type) {
	case string:
		return v, nil
	case json.Number:
		n, err := strconv.ParseInt(v.String(), 10, 64)
		if err != nil || n < 0 || n >= 1<<53 || strconv.FormatInt(n, 10) != v.String() {
			return nil, errValue
		}
		return n, nil
	case json.Delim:
		if v == '{' {
			return parseMembers(d, depth)
		}
		return parseItems(d, depth)
	default:
		return nil, errValue
	}
}

func parseMembers(d *json.Decoder, depth int) (any, error) {
	out := map[string]any{}
	for d.More() {
		token, err := d.Token()
		name, ok := token.(string)
		if err != nil || !ok {
			return nil, errors.New("the line is not JSON")
		}
		if _, twice := out[name]; twice {
			return nil, fmt.Errorf("%q stands there twice", name)
		}
		if out[name], err = parseValue(d, depth+1); err != nil {
			return nil, err
		}
	}
	return out, closed(d)
}

func parseItems(d *json.Decoder, depth int) (any, error) {
	out := []any{}
	for d.More() {
		v, err := parseValue(d, depth+1)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, closed(d)
}

func closed(d *json.Decoder) error {
	if _, err := d.Token(); err != nil {
		return errors.New("the line is not JSON")
	}
	return nil
}

// appendCanonical writes v in the canonical form of RFC 8785 §3.2.
func appendCanonical(b []byte, v any) []byte {
	switch v := v.(type) {
	case string:
		return appendString(b, v)
	case int64:
		return strconv.AppendInt(b, v, 10)
	case []any:
		b = append(b, '[')
		for i, item := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendCanonical(b, item)
		}
		return append(b, ']')
	case map[string]any:
		b = append(b, '{')
		for i, name := range slices.SortedFunc(maps.Keys(v), compareUTF16) {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendString(b, name), ':')
			b = appendCanonical(b, v[name])
		}
		return append(b, '}')
	default: // parseObject makes nothing else
		panic(fmt.Sprintf("canonical form of %T", v))
	}
}

// compareUTF16 orders names as RFC 8785 §3.2.3 wants it.
func compareUTF16(a, b string) int {
	return slices.Compare(utf16.Encode([]rune(a)), utf16.Encode([]rune(b)))
}

// appendString writes a string as RFC 8785 §3.2.2.2 wants it.
func appendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\b':
			b = append(b, '\\', 'b')
		case c == '\f':
			b = append(b, '\\', 'f')
		case c == '\n':
			b = append(b, '\\', 'n')
		case c == '\r':
			b = append(b, '\\', 'r')
		case c == '\t':
			b = append(b, '\\', 't')
		case c < 0x20:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}

package audit

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"unicode/utf8"
)

// kind is what a JSON value is.
type kind byte

const (
	isNull kind = iota
	isText
	isNumber
	isList
	isObject
)

// value is a JSON value. A number is kept as it was written, of which there is
// one way.
type value struct {
	kind   kind
	text   string
	inside members // the items of a list have no names
}

type member struct {
	name  string
	value value
}

// members are those of an object, in the order of RFC 8785 §3.2.3, each once.
type members []member

// get returns the member of the name; null where there is none.
func (m members) get(name string) (value, bool) {
	i, found := slices.BinarySearchFunc(m, name, func(m member, name string) int { return compareUTF16(m.name, name) })
	if !found {
		return value{}, false
	}
	return m[i].value, true
}

// textOf returns the text of the name, and whether it is one.
func (m members) textOf(name string) (string, bool) {
	v, _ := m.get(name)
	return v.text, v.kind == isText
}

// numberOf returns the number of the name, and whether it is one.
func (m members) numberOf(name string) (int64, bool) {
	v, _ := m.get(name)
	n, err := strconv.ParseInt(v.text, 10, 64)
	return n, v.kind == isNumber && err == nil
}

// appendObject writes an object in the canonical form of RFC 8785 §3.2, without
// the members that are left out.
func appendObject(b []byte, m members, without ...string) []byte {
	b = append(b, '{')
	first := true
	for _, each := range m {
		if slices.Contains(without, each.name) {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(appendString(b, each.name), ':')
		b = appendValue(b, each.value)
	}
	return append(b, '}')
}

func appendValue(b []byte, v value) []byte {
	switch v.kind {
	case isText:
		return appendString(b, v.text)
	case isNumber:
		return append(b, v.text...)
	case isList:
		b = append(b, '[')
		for i, item := range v.inside {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendValue(b, item.value)
		}
		return append(b, ']')
	case isObject:
		return appendObject(b, v.inside)
	default:
		return append(b, "null"...)
	}
}

// compareUTF16 orders names as RFC 8785 §3.2.3 wants it. The bytes of UTF-8
// stand in the order of UTF-16 but for one thing: what takes two units there
// begins with one between U+D800 and U+DFFF.
func compareUTF16(a, b string) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return cmp.Compare(rankUTF16(a[i]), rankUTF16(b[i]))
		}
	}
	return cmp.Compare(len(a), len(b))
}

// rankUTF16 puts the bytes that begin U+E000 to U+FFFF after those that begin
// U+10000 and above.
func rankUTF16(c byte) byte {
	if c == 0xee || c == 0xef {
		return c | 0x10
	}
	return c
}

// appendString writes a string as RFC 8785 §3.2.2.2 wants it.
func appendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	from := 0
	for i := range len(s) {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		b = append(b, s[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\b':
			b = append(b, '\\', 'b')
		case '\f':
			b = append(b, '\\', 'f')
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	return append(append(b, s[from:]...), '"')
}

// appendLine writes the line in its canonical form: what an export has of it,
// read and written again, is the same.
func appendLine(b []byte, l Line) []byte {
	b = append(b, `{"actor":{`...)
	b = appendMaybe(b, `"id":`, l.Actor.ID)
	b = appendMaybe(b, `"name":`, l.Actor.Name)
	b = appendMaybe(b, `"org_id":`, string(l.Actor.Org))
	b = appendClean(append(b, `"type":`...), l.Actor.Type)
	if l.Actor.Via != "" {
		b = appendClean(append(b, `,"via":`...), l.Actor.Via)
	}
	b = appendClean(append(b, `},"code":`...), l.Code)
	b = appendClean(append(b, `,"event":`...), string(l.Event))
	b = appendClean(append(b, `,"id":`...), string(l.ID))
	b = appendClean(append(b, `,"ip":`...), l.IP)
	b = appendClean(append(b, `,"key_id":`...), string(l.Key))
	b = appendMeta(append(b, `,"meta":{`...), l.Meta)
	b = appendClean(append(b, `},"org_id":`...), string(l.Org))
	b = appendClean(append(b, `,"outcome":`...), string(l.Outcome))
	b = appendClean(append(b, `,"reason":`...), l.Reason)
	b = appendClean(append(b, `,"request_id":`...), string(l.Request))
	b = strconv.AppendInt(append(b, `,"seq":`...), l.Seq, 10)
	b = appendClean(append(b, `,"session_id":`...), string(l.Session))
	b = appendTargets(append(b, `,"targets":[`...), l.Targets)
	b = appendClean(append(b, `],"time":`...), l.Time)
	b = appendClean(append(b, `,"user_agent":`...), l.UserAgent)
	return append(b, '}')
}

// appendMaybe writes a member that is left out where it is empty, and never the
// last.
func appendMaybe(b []byte, name, s string) []byte {
	if s == "" {
		return b
	}
	return append(appendClean(append(b, name...), s), ',')
}

func appendMeta(b []byte, meta map[string]string) []byte {
	for i, name := range slices.SortedFunc(maps.Keys(meta), func(a, b string) int { return compareUTF16(clean(a), clean(b)) }) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendClean(b, name), ':')
		b = appendClean(b, meta[name])
	}
	return b
}

func appendTargets(b []byte, targets []Target) []byte {
	for i, t := range targets {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendClean(append(b, `{"id":`...), t.ID)
		b = append(b, ',')
		b = appendMaybe(b, `"name":`, t.Name)
		b = append(appendClean(append(b, `"type":`...), t.Type), '}')
	}
	return b
}

func appendClean(b []byte, s string) []byte { return appendString(b, clean(s)) }

// clean returns what encoding/json writes into an export for what is no UTF-8:
// U+FFFD for each byte that belongs to nothing.
func clean(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return string([]rune(s))
}

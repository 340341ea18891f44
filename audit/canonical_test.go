package audit

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"pgregory.net/rapid"

	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// RFC 8785 §3.2.3 has these names and their order.
func TestCanonicalFormIsThatOfRFC8785(t *testing.T) {
	members, err := parseObject("{\"\\u20ac\":\"Euro Sign\",\"\\r\":\"Carriage Return\",\"\\ufb33\":\"Hebrew Letter Dalet With Dagesh\",\"1\":\"One\"," +
		"\"\\ud83d\\ude00\":\"Emoji: Grinning Face\",\"\\u0080\":\"Control\",\"\\u00f6\":\"Latin Small Letter O With Diaeresis\"}")
	if err != nil {
		t.Fatal(err)
	}
	want := "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u0080\":\"Control\",\"ö\":\"Latin Small Letter O With Diaeresis\",\"€\":\"Euro Sign\"," +
		"\"😀\":\"Emoji: Grinning Face\",\"\ufb33\":\"Hebrew Letter Dalet With Dagesh\"}"
	if got := string(appendObject(nil, members)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestTheParserRefusesWhatHasTwoMeanings(t *testing.T) {
	for _, text := range []string{
		"", "[]", `{"a":1,"a":2}`, `{"a":1.5}`, `{"a":-1}`, `{"a":01}`, `{"a":1e3}`, `{"a":9007199254740992}`, `{"a":true}`, `{"a":"\ud800"}`, `{"a":"\ud800\u0041"}`,
		`{"a":"\x"}`, `{"a":"` + "\n" + `"}`, `{"a":"` + "\xff" + `"}`, `{"a":1}{}`, `{"a":1,}`, `{"a"}`, `{a:1}`, `{"a":[1,]}`, `{"a":"`, `{"a":"\u12"}`,
		strings.Repeat(`{"a":`, 20) + "1" + strings.Repeat("}", 20),
	} {
		if v, err := parseObject(text); err == nil {
			t.Errorf("%q is read as %v", text, v)
		}
	}
}

// meaning returns the value as encoding/json reads it, but for numbers, which
// are whole here.
func meaning(v value) any {
	switch v.kind {
	case isText:
		return v.text
	case isNumber:
		n, _ := members{{"n", v}}.numberOf("n")
		return n
	case isList:
		out := []any{}
		for _, m := range v.inside {
			out = append(out, meaning(m.value))
		}
		return out
	case isObject:
		out := map[string]any{}
		for _, m := range v.inside {
			out[m.name] = meaning(m.value)
		}
		return out
	default:
		return nil
	}
}

// What encoding/json writes, the parser reads; and its canonical form means the
// same and is its own canonical form.
func TestCanonicalFormKeepsTheMeaning(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		in := map[string]any{
			"text": rapid.String().Draw(r, "text"), "list": []any{rapid.String().Draw(r, "item"), nil},
			"map": map[string]any{rapid.String().Draw(r, "name"): rapid.String().Draw(r, "value")}, "n": rapid.Int64Range(0, 1<<53-1).Draw(r, "n"),
		}
		text, err := json.Marshal(in)
		if err != nil {
			r.Fatal(err)
		}
		out, err := parseObject(string(text))
		if err != nil || !reflect.DeepEqual(meaning(value{kind: isObject, inside: out}), any(in)) {
			r.Fatalf("%s is read as %v, %v", text, out, err)
		}
		canonical := string(appendObject(nil, out))
		again, err := parseObject(canonical)
		if err != nil || !reflect.DeepEqual(again, out) || string(appendObject(nil, again)) != canonical {
			r.Fatalf("%s has the canonical form %s, %v", text, canonical, err)
		}
	})
}

// Names stand in the order of their UTF-16 code units, whatever they are.
func TestNamesStandInTheOrderOfUTF16(t *testing.T) {
	units := rapid.StringOfN(rapid.SampledFrom([]rune("az\u0080\u07ff\u0800\ud7ff\ue000\ufb33\uffff\U00010000\U0001f600\U0010ffff")), 0, 4, -1)
	rapid.Check(t, func(r *rapid.T) {
		a, b := units.Draw(r, "a"), units.Draw(r, "b")
		want := slices.Compare(utf16.Encode([]rune(a)), utf16.Encode([]rune(b)))
		if got := compareUTF16(a, b); got != want {
			r.Fatalf("%+q and %+q: %d, want %d", a, b, got, want)
		}
	})
}

// The digest of an event is that of its line in an export, whatever it holds.
func TestLinesAreWrittenInCanonicalForm(t *testing.T) {
	text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "\xff\xfe<&>\u2028", "\xed\xa0\x80", "a\x00\x7f\"\\\n"}))
	rapid.Check(t, func(r *rapid.T) {
		draw := func(what string) string { return text.Draw(r, what) }
		l := Line{
			Seq: rapid.Int64Range(0, 1<<53-1).Draw(r, "seq"), ID: ident.EventID(draw("id")), Time: draw("time"), Event: Name(draw("event")), Code: draw("code"),
			Outcome: Outcome(draw("outcome")), Reason: draw("reason"), Session: ident.SessionID(draw("session")), Key: ident.APIKeyID(draw("key")), Org: ident.OrgID(draw("org")),
			LineOrigin: LineOrigin{IP: draw("ip"), UserAgent: draw("agent"), Request: ident.RequestID(draw("request"))},
			Actor:      Actor{Type: draw("type"), ID: draw("actor"), Name: draw("name"), Org: ident.OrgID(draw("actor's")), Via: draw("via")},
			Targets:    []Target{}, Meta: map[string]string{draw("a"): draw("1"), draw("b"): draw("2"), draw("c"): draw("3")},
		}
		for range rapid.IntRange(0, 2).Draw(r, "targets") {
			l.Targets = append(l.Targets, Target{Type: draw("kind"), ID: draw("which"), Name: draw("called")})
		}
		text, err := json.Marshal(l)
		if err != nil {
			r.Fatal(err)
		}
		m, err := parseObject(string(text))
		if err != nil {
			r.Skip("two names are one when they are written") // the parser refuses them
		}
		if got, want := string(appendLine(nil, l)), string(appendObject(nil, m)); got != want {
			r.Fatalf("got  %s\nwant %s", got, want)
		}
	})
}

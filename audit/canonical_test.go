package audit

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// RFC 8785 §3.2.3 has these names and their order.
func TestCanonicalFormIsThatOfRFC8785(t *testing.T) {
	members, err := parseObject([]byte("{\"\\u20ac\":\"Euro Sign\",\"\\r\":\"Carriage Return\",\"\\ufb33\":\"Hebrew Letter Dalet With Dagesh\",\"1\":\"One\"," +
		"\"\\ud83d\\ude00\":\"Emoji: Grinning Face\",\"\\u0080\":\"Control\",\"\\u00f6\":\"Latin Small Letter O With Diaeresis\"}"))
	if err != nil {
		t.Fatal(err)
	}
	want := "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u0080\":\"Control\",\"ö\":\"Latin Small Letter O With Diaeresis\",\"€\":\"Euro Sign\"," +
		"\"😀\":\"Emoji: Grinning Face\",\"\ufb33\":\"Hebrew Letter Dalet With Dagesh\"}"
	if got := string(appendCanonical(nil, any(members))); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestTheParserRefusesWhatHasTwoMeanings(t *testing.T) {
	for _, text := range []string{
		"", "[]", `{"a":1,"a":2}`, `{"a":1.5}`, `{"a":-1}`, `{"a":01}`, `{"a":1e3}`, `{"a":9007199254740992}`, `{"a":true}`, `{"a":"\ud800"}`, `{"a":"\ud800\u0041"}`,
		`{"a":"\x"}`, `{"a":"` + "\n" + `"}`, `{"a":"` + "\xff" + `"}`, `{"a":1}{}`, `{"a":1,}`, `{"a"}`, `{a:1}`, `{"a":[1,]}`, `{"a":"`, `{"a":"\u12"}`,
		strings.Repeat(`{"a":`, 20) + "1" + strings.Repeat("}", 20),
	} {
		if v, err := parseObject([]byte(text)); err == nil {
			t.Errorf("%q is read as %v", text, v)
		}
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
		out, err := parseObject(text)
		if err != nil || !reflect.DeepEqual(out, in) {
			r.Fatalf("%s is read as %v, %v", text, out, err)
		}
		canonical := appendCanonical(nil, any(out))
		again, err := parseObject(canonical)
		if err != nil || !reflect.DeepEqual(again, in) || string(appendCanonical(nil, any(again))) != string(canonical) {
			r.Fatalf("%s has the canonical form %s, %v", text, canonical, err)
		}
	})
}

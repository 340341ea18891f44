package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// everyKind has a field of each sort that our requests have.
type everyKind struct {
	Name        string    `json:"name"`
	Permissions []string  `json:"permissions"`
	On          bool      `json:"on"`
	At          timestamp `json:"at"`
	Grace       span      `json:"grace"`
	Maybe       *string   `json:"maybe"`
	Inner       struct {
		Deep string `json:"deep"`
	} `json:"inner"`
}

func TestBodies(t *testing.T) {
	h := echo[everyKind](t)
	for _, c := range []struct {
		name, body string
		status     int
		field      string // of a 422
	}{
		{"everything", `{"name":"n","permissions":["a:b"],"on":true,"at":"2030-01-01T00:00:00Z","grace":"24h","maybe":"m","inner":{"deep":"d"}}`, 200, ""},
		{"nothing", `{}`, 200, ""},
		{"a null is an absent value", `{"name":null,"permissions":null,"at":null,"maybe":null,"inner":null,"on":null,"grace":null}`, 200, ""},
		{"white space around", " \n{}\t ", 200, ""},
		{"no body", ``, 400, ""},
		{"no JSON", `name=n`, 400, ""},
		{"half", `{"name":"n"`, 400, ""},
		{"something behind it", `{} {}`, 400, ""},
		{"a bracket behind it", `{}]`, 400, ""},
		{"duplicate member", `{"name":"a","name":"b"}`, 400, ""},
		{"duplicate by escape", `{"name":"a","na\u006de":"b"}`, 400, ""},
		{"duplicate inside", `{"inner":{"deep":"a","deep":"b"}}`, 400, ""},
		{"not UTF-8", "{\"name\":\"\xff\"}", 400, ""},
		{"half a surrogate pair", `{"name":"\ud800"}`, 400, ""},
		{"the other half", `{"name":"\udc00\ud800"}`, 400, ""},
		{"a whole pair", `{"name":"\ud83d\ude00"}`, 200, ""},
		{"an escaped backslash before a u", `{"name":"\\ud800"}`, 200, ""},
		{"byte order mark", "\ufeff{}", 400, ""},
		{"comment", `{/* */}`, 400, ""},
		{"trailing comma", `{"name":"n",}`, 400, ""},
		{"NaN", `{"name":NaN}`, 400, ""},
		{"SEC-DOS-04: deep lists", strings.Repeat("[", 10000), 400, ""},
		{"SEC-DOS-04: deep objects", strings.Repeat(`{"a":`, 5000), 400, ""},
		{"SEC-DOS-04: deep and closed", strings.Repeat("[", 9) + strings.Repeat("]", 9), 400, ""},
		{"SEC-DOS-04: many members", manyMembers(5000), 400, ""},
		{"SEC-DOS-04: a long list", `{"permissions":[` + strings.Repeat(`"a",`, 5000) + `"a"]}`, 400, ""},
		{"not an object", `[]`, 422, "body"},
		{"null", `null`, 422, "body"},
		{"a string", `"x"`, 422, "body"},
		{"unknown field", `{"role":"owner"}`, 422, "role"},
		{"unknown inside", `{"inner":{"x":1}}`, 422, "inner.x"},
		{"another spelling of a field", `{"Name":"n"}`, 422, "Name"},
		{"number for string", `{"name":1}`, 422, "name"},
		{"object for string", `{"name":{}}`, 422, "name"},
		{"string for list", `{"permissions":"a:b"}`, 422, "permissions"},
		{"number in list", `{"permissions":["a:b",1]}`, 422, "permissions[1]"},
		{"null in list", `{"permissions":[null]}`, 422, "permissions[0]"},
		{"string for boolean", `{"on":"true"}`, 422, "on"},
		{"number for boolean", `{"on":1}`, 422, "on"},
		{"no time", `{"at":"tomorrow"}`, 422, "at"},
		{"a number for a time", `{"at":1893456000}`, 422, "at"},
		{"no duration", `{"grace":"a day"}`, 422, "grace"},
		{"a negative duration", `{"grace":"-1h"}`, 422, "grace"},
		{"list for object", `{"inner":[]}`, 422, "inner"},
		{"NUL", `{"name":"a\u0000b"}`, 422, "name"},
		{"number for pointer", `{"maybe":1}`, 422, "maybe"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := ask(h, http.MethodPost, "/x", c.body, "Content-Type", "application/json")
			var got problem
			_ = json.Unmarshal(w.Body.Bytes(), &got)
			field := ""
			if len(got.Fields) > 0 {
				field = got.Fields[0].Name
			}
			if w.Code != c.status || field != c.field {
				t.Errorf("status %d field %q, want %d %q\n%s", w.Code, field, c.status, c.field, w.Body)
			}
		})
	}
}

func manyMembers(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"m%d":1`, i)
	}
	return "{" + b.String()[1:] + "}"
}

func TestAllRefusedFieldsAreNamedAtOnce(t *testing.T) {
	w := ask(echo[everyKind](t), http.MethodPost, "/x", `{"name":1,"permissions":2,"zzz":3,"`+strings.Repeat("y", 500)+`":4}`, "Content-Type", "application/json")
	var got problem
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Fields) != 4 {
		t.Fatalf("%d fields: %s", len(got.Fields), w.Body)
	}
	if len(got.Fields[2].Name) != maxEcho {
		t.Errorf("an unknown name of %d bytes is echoed", len(got.Fields[2].Name))
	}
}

// SEC-DOS-02: what is no JSON or too much of it is refused early.
func TestContentTypesAndSizes(t *testing.T) {
	h := echo[everyKind](t)
	json64 := `{"name":"` + strings.Repeat("x", maxBody-11) + `"}`
	for _, c := range []struct {
		name    string
		body    string
		headers []string
		status  int
	}{
		{"JSON", `{}`, []string{"Content-Type", "application/json"}, 200},
		{"JSON in UTF-8", `{}`, []string{"Content-Type", `Application/JSON; charset="UTF-8"`}, 200},
		{"JSON in another charset", `{}`, []string{"Content-Type", "application/json; charset=utf-16"}, 415},
		{"SEC-WEB-05: text/plain", `{}`, []string{"Content-Type", "text/plain"}, 415},
		{"a form", `name=n`, []string{"Content-Type", "application/x-www-form-urlencoded"}, 415},
		{"multipart", "--x\r\n\r\n--x--", []string{"Content-Type", "multipart/form-data; boundary=x"}, 415},
		{"no type", `{}`, nil, 415},
		{"two types", `{}`, []string{"Content-Type", "application/json", "Content-Type", "text/plain"}, 415},
		{"broken type", `{}`, []string{"Content-Type", "application/json;;"}, 415},
		{"gzip", "\x1f\x8b", []string{"Content-Type", "application/json", "Content-Encoding", "gzip"}, 415},
		{"exactly 64 KiB", json64, []string{"Content-Type", "application/json"}, 200},
		{"one byte more", json64 + " ", []string{"Content-Type", "application/json"}, 413},
		{"100 MB announced", strings.Repeat(" ", 1<<20), []string{"Content-Type", "application/json"}, 413},
	} {
		t.Run(c.name, func(t *testing.T) {
			if w := ask(h, http.MethodPost, "/x", c.body, c.headers...); w.Code != c.status {
				t.Errorf("status %d, want %d: %s", w.Code, c.status, w.Body)
			}
		})
	}
}

// SEC-DOS-02: a body without an announced length is read up to the limit only.
func TestAnEndlessBodyIsCutOff(t *testing.T) {
	h := echo[everyKind](t)
	src := &endless{}
	r := httptest.NewRequest(http.MethodPost, "/x", src)
	r.ContentLength = -1
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("status %d", w.Code)
	}
	if src.read > 2*maxBody {
		t.Errorf("%d bytes were read", src.read)
	}
}

type endless struct{ read int }

func (e *endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = ' '
	}
	e.read += len(b)
	return len(b), nil
}

// FuzzBody: whatever is accepted means the same to encoding/json, and nothing panics.
func FuzzBody(f *testing.F) {
	for _, seed := range []string{`{}`, `{"name":"n","permissions":["a"],"at":"2030-01-01T00:00:00Z"}`, `{"name":"\ud83d\ude00"}`, `[[[[`, `{"a":1,"a":2}`, "\xff", `{"inner":{"deep":""}}`, `nul`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var got everyKind
		if err := decode(body, &got); err != nil {
			return
		}
		var again everyKind
		d := json.NewDecoder(bytes.NewReader(body))
		d.DisallowUnknownFields()
		if err := d.Decode(&again); err != nil {
			t.Fatalf("accepted %q, which encoding/json refuses: %v", body, err)
		}
		if strings.ContainsRune(got.Name, 0) || got.Name != again.Name {
			t.Fatalf("%q gave %q and %q", body, got.Name, again.Name)
		}
	})
}

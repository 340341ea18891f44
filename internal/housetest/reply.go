package housetest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// Reply is an answer, read to its end.
type Reply struct {
	t      testing.TB
	asked  string // method and path, for messages
	Status int
	Header http.Header
	Body   []byte
}

// Expect fails the test unless the status is one of those.
func (r Reply) Expect(statuses ...int) Reply {
	r.t.Helper()
	for _, s := range statuses {
		if r.Status == s {
			return r
		}
	}
	r.t.Fatalf("%s: status %d, want %v\n%s", r.asked, r.Status, statuses, r.Body)
	return r
}

// Problem fails the test unless the answer is problem+json with this status
// and code.
func (r Reply) Problem(status int, code string) Reply {
	r.t.Helper()
	r.Expect(status)
	if ct := r.Header.Get("Content-Type"); !strings.HasPrefix(ct, "application/problem+json") {
		r.t.Fatalf("%s: content type %q, want application/problem+json", r.asked, ct)
	}
	if got := r.Text("code"); got != code {
		r.t.Fatalf("%s: code %q, want %q\n%s", r.asked, got, code, r.Body)
	}
	if got := r.Text("status_code"); got != strconv.Itoa(status) {
		r.t.Fatalf("%s: status_code %s, want %d", r.asked, got, status)
	}
	return r
}

// Decode reads the JSON body into v.
func (r Reply) Decode(v any) Reply {
	r.t.Helper()
	if err := json.Unmarshal(r.Body, v); err != nil {
		r.t.Fatalf("%s: %v\n%s", r.asked, err, r.Body)
	}
	return r
}

// JSON is the body as decoded JSON, with numbers as json.Number.
func (r Reply) JSON() any {
	r.t.Helper()
	d := json.NewDecoder(strings.NewReader(string(r.Body)))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		r.t.Fatalf("%s: %v\n%s", r.asked, err, r.Body)
	}
	return v
}

// Has reports whether the body has a value, null included, at a path such as
// "user.id" or "data.0.id".
func (r Reply) Has(path string) bool {
	r.t.Helper()
	_, ok := at(r.JSON(), path)
	return ok
}

// Text is the value at path as text: a string as it is, null and what is not
// there as "", anything else as JSON.
func (r Reply) Text(path string) string {
	r.t.Helper()
	v, _ := at(r.JSON(), path)
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	default:
		b, err := json.Marshal(v)
		if err != nil {
			r.t.Fatal(err)
		}
		return string(b)
	}
}

// List is the array at path ("" for the body itself).
func (r Reply) List(path string) []any {
	r.t.Helper()
	v, _ := at(r.JSON(), path)
	l, ok := v.([]any)
	if !ok {
		r.t.Fatalf("%s: %q is not an array\n%s", r.asked, path, r.Body)
	}
	return l
}

// Cookie is the Set-Cookie whose name ends in name ("access" finds th_access
// and __Host-th_access), or nil.
func (r Reply) Cookie(name string) *http.Cookie {
	for _, c := range (&http.Response{Header: r.Header}).Cookies() {
		if strings.HasSuffix(c.Name, name) {
			return c
		}
	}
	return nil
}

// String shows the answer in a message.
func (r Reply) String() string { return fmt.Sprintf("%s: %d %s", r.asked, r.Status, r.Body) }

func at(v any, path string) (any, bool) {
	if path == "" {
		return v, true
	}
	for part := range strings.SplitSeq(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			next, ok := x[part]
			if !ok {
				return nil, false
			}
			v = next
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil || i < 0 || i >= len(x) {
				return nil, false
			}
			v = x[i]
		default:
			return nil, false
		}
	}
	return v, true
}

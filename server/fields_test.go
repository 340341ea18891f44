package server

import (
	"net/http"
	"net/http/httptest"
	"reflect"
	"testing"
)

func TestFieldsSetTogetherAreApart(t *testing.T) {
	h := http.Header{"Etag": {"old"}}
	setAll(h, field{"Etag", `"new"`}, field{"Vary", "Origin"}, field{"X-Request-Id", "req_1"})
	h.Add("Etag", "second")
	h.Add("Vary", "Cookie")
	want := http.Header{"Etag": {`"new"`, "second"}, "Vary": {"Origin", "Cookie"}, "X-Request-Id": {"req_1"}}
	if !reflect.DeepEqual(h, want) {
		t.Errorf("got %v, want %v", h, want)
	}
}

// What every reply shares is not changed by a reply that says otherwise.
func TestRepliesDoNotChangeWhatTheyShare(t *testing.T) {
	before := everyReply.Clone()
	for name := range everyReply {
		if http.CanonicalHeaderKey(name) != name {
			t.Errorf("%s is not in canonical form: Get would not find it", name)
		}
	}
	s := &Server{Config: Config{Issuer: "http://localhost:8080"}}
	h := s.protect(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for name := range everyReply {
			w.Header().Add(name, "added")
		}
		w.Header().Set("Cache-Control", "public")
		w.WriteHeader(http.StatusNoContent)
	}))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	if got := w.Header().Get("Cache-Control"); got != "public" || len(w.Header().Values("X-Frame-Options")) != 2 {
		t.Errorf("the handler did not have its way: %v", w.Header())
	}
	if !reflect.DeepEqual(everyReply, before) {
		t.Errorf("got %v, want %v", everyReply, before)
	}
}

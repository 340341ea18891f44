package ident

import (
	"crypto/rand"
	"testing"
	"time"
)

func TestARequestTellsWhenItCameAndWhichEventsAreLater(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC)
	id, err := ParseRequestID(string(NewRequestID(at, rand.Reader)))
	if got, ok := id.Time(); err != nil || !ok || !got.Equal(at) {
		t.Errorf("%s came at %s, %v, %v", id, got, ok, err)
	}
	if _, ok := RequestID("req_short").Time(); ok {
		t.Error("what is no identifier has a time")
	}
	first := FirstEventID(at)
	if e := NewEventID(at, rand.Reader); e < first {
		t.Errorf("%s is below %s", e, first)
	}
	if e := NewEventID(at.Add(-time.Millisecond), rand.Reader); e >= first {
		t.Errorf("%s is not below %s", e, first)
	}
}

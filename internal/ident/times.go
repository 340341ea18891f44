package ident

import (
	"encoding/binary"
	"time"
)

// Time returns when the request came in, to the millisecond, and whether r is a
// request identifier at all.
func (r RequestID) Time() (time.Time, bool) {
	b, err := decode("req_", string(r))
	if err != nil {
		return time.Time{}, false
	}
	return time.UnixMilli(int64(binary.BigEndian.Uint64(b[:8]) >> 16)).UTC(), true
}

// FirstEventID is not above any identifier of an event at that time or later.
func FirstEventID(at time.Time) EventID {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], uint64(max(at.UnixMilli(), 0))<<16)
	return EventID("evt_" + encode(b))
}

// ParseEventID accepts "evt_…".
func ParseEventID(s string) (EventID, error) {
	_, err := decode("evt_", s)
	return EventID(s), err
}

// ParseRequestID accepts "req_…".
func ParseRequestID(s string) (RequestID, error) {
	_, err := decode("req_", s)
	return RequestID(s), err
}

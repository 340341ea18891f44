package server

import (
	"errors"
	"net/netip"
	"strconv"
	"time"
)

// timestamp is a moment as the API writes it: RFC 3339 in UTC, whole seconds,
// null for the zero time.
type timestamp struct{ time.Time }

// MarshalJSON implements json.Marshaler.
func (t timestamp) MarshalJSON() ([]byte, error) {
	if t.IsZero() {
		return []byte("null"), nil
	}
	return []byte(t.UTC().Format(`"2006-01-02T15:04:05Z"`)), nil
}

// UnmarshalJSON reads a string; a null is the zero time.
func (t *timestamp) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	s, err := strconv.Unquote(string(b))
	if err != nil {
		return err
	}
	return t.UnmarshalText([]byte(s))
}

var errTimestamp = errors.New("must be a time such as 2030-01-31T23:59:59Z")

// UnmarshalText implements encoding.TextUnmarshaler.
func (t *timestamp) UnmarshalText(b []byte) error {
	at, err := time.Parse(time.RFC3339, string(b))
	if err != nil {
		return errTimestamp
	}
	t.Time = at.UTC()
	return nil
}

// span is a duration in Go's notation: "24h", "90m", "0s".
type span struct{ time.Duration }

var errSpan = errors.New(`must be a duration such as "24h", "30m" or "0s"`)

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *span) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil || v < 0 {
		return errSpan
	}
	d.Duration = v
	return nil
}

// addressText is an address as the API writes it; empty where there is none.
func addressText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// headerText keeps what a header value may hold (RFC 9110 §5.5), and percent
// for what it may not.
func headerText(s string) string {
	const hex = "0123456789ABCDEF"
	out := make([]byte, 0, len(s))
	for _, c := range []byte(s) {
		if c > 0x20 && c < 0x7f && c != '%' {
			out = append(out, c)
		} else {
			out = append(out, '%', hex[c>>4], hex[c&15])
		}
	}
	return string(out)
}

package verify

import (
	"bytes"
	"compress/zlib"
	"context"
	"encoding/json"
	"io"
	"time"
)

const (
	// maxStatusList is the largest list, inflated: eight million tokens of one bit.
	maxStatusList = 1 << 20
	// maxStatusBody bounds what is sent of it: base64url within base64url of what
	// cannot be compressed.
	maxStatusBody = maxStatusList*16/9 + 16<<10
	// unstatedTTL is the ttl of a list that does not say.
	unstatedTTL = time.Minute
	// maxStatusTTL bounds what a list may say.
	maxStatusTTL = 24 * time.Hour
)

// statusList is a list that was believed. It never changes.
type statusList struct {
	bits    uint // of one entry: 1, 2, 4 or 8
	data    []byte
	issued  time.Time
	fetched time.Time
	etag    string
	ttl     time.Duration
	valid   time.Duration // from issued on: until exp
}

// value is the entry of an index (§4.1): the first one is in the least
// significant bits of the first byte. false where there is no such entry.
func (l *statusList) value(index uint32) (byte, bool) {
	bit := uint64(index) * uint64(l.bits)
	if bit/8 >= uint64(len(l.data)) {
		return 0, false
	}
	return l.data[bit/8] >> (bit % 8) & (1<<l.bits - 1), true
}

// age is for how long the list may not have known of a revocation. No answer
// without a newer signature makes it younger.
func (l *statusList) age(now time.Time) time.Duration {
	if l == nil {
		return 0
	}
	return max(now.Sub(l.issued), now.Sub(l.fetched), 0)
}

// lives is the age at which it must be asked for again before it is used.
func (l *statusList) lives() time.Duration {
	if l == nil {
		return 0
	}
	return min(l.ttl, l.valid)
}

// refreshAfter is the age at which it is asked for again in the background.
func (l *statusList) refreshAfter() time.Duration { return l.lives() * 3 / 4 }

// usable is the age at which nothing more can be said by it.
func (l *statusList) usable(most time.Duration) time.Duration {
	if most > 0 {
		return min(l.valid, most)
	}
	return l.valid
}

// after returns the list to use where old was used so far. Of two lists of the
// same second, or in the wrong order, either may know more: what one of them
// says is revoked stays so.
func (l *statusList) after(old *statusList) *statusList {
	if old == nil || l.issued.After(old.issued) {
		return l
	}
	if l.bits != old.bits {
		return old
	}
	both := *old
	both.data = make([]byte, max(len(l.data), len(old.data)))
	copy(both.data, old.data)
	for i, b := range l.data {
		both.data[i] |= b
	}
	return &both
}

// statusPayload is the claims set of a list (§5.1).
type statusPayload struct {
	issuer, subject string
	named           bool // it has an issuer
	issued, expires time.Time
	ttl             time.Duration
	bits            uint
	lst             string
}

// read checks form, type, signature, names and times of a list, and inflates it.
func (s *StatusLists) read(ctx context.Context, uri, compact string, now time.Time) (*statusList, error) {
	e, err := open(compact, maxStatusBody)
	if err != nil {
		return nil, err
	}
	if !e.isType(StatusListType) {
		return nil, ErrInvalid.because("the status list's typ is not %s", StatusListType)
	}
	payload, err := e.stated(ctx, s.Keys)
	if err != nil {
		return nil, err
	}
	p, err := readStatusPayload(payload)
	if err != nil {
		return nil, err
	}
	switch {
	case p.named && p.issuer != s.Issuer:
		return nil, ErrInvalid.because("another issuer's status list")
	case p.subject != uri:
		return nil, ErrInvalid.because("the status list is about another one")
	case p.issued.After(now.Add(DefaultLeeway)):
		return nil, ErrInvalid.because("the status list is of the future")
	case !p.expires.IsZero() && !now.Before(p.expires.Add(DefaultLeeway)):
		return nil, ErrExpired.because("the status list has expired")
	}
	list := &statusList{bits: p.bits, issued: p.issued, ttl: p.ttl, valid: p.ttl}
	if !p.expires.IsZero() {
		list.valid = min(p.expires.Sub(p.issued), maxStatusTTL)
	}
	list.data, err = inflate(p.lst)
	return list, err
}

// readStatusPayload reads the claims of a list whose signature held. One of the
// wrong type makes it invalid.
func readStatusPayload(payload json.RawMessage) (p statusPayload, err error) {
	ms, err := members(payload)
	if err != nil {
		return p, ErrInvalid.because("status list: %v", err)
	}
	p.ttl = unstatedTTL
	for _, m := range ms {
		ok := true
		switch m.name {
		case "iss":
			p.issuer, ok = asString(m.raw)
			p.named = true
		case "sub":
			p.subject, ok = asString(m.raw)
		case "iat":
			p.issued, ok = asTime(m.raw)
		case "exp":
			p.expires, ok = asTime(m.raw)
		case "ttl":
			p.ttl, ok = asSpan(m.raw)
		case "status_list":
			p.bits, p.lst, ok = asStatusBits(m.raw)
		}
		if !ok {
			return p, ErrInvalid.because("the status list's %s is not of its type", m.name)
		}
	}
	if p.subject == "" || p.issued.IsZero() || p.lst == "" || !p.expires.IsZero() && !p.expires.After(p.issued) {
		return p, ErrInvalid.because("the status list has no sub, iat or status_list, or expires before its time")
	}
	return p, nil
}

// asSpan reads a positive number of seconds, of which no more than maxStatusTTL count.
func asSpan(raw json.RawMessage) (time.Duration, bool) {
	var seconds float64
	if raw[0] < '0' || raw[0] > '9' || json.Unmarshal(raw, &seconds) != nil || seconds <= 0 {
		return 0, false
	}
	return time.Duration(min(seconds, maxStatusTTL.Seconds()) * float64(time.Second)), true
}

// asStatusBits reads a status_list (§4.2). Members that we do not know, such as
// aggregation_uri, say nothing about an entry.
func asStatusBits(raw json.RawMessage) (bits uint, lst string, ok bool) {
	if raw[0] != '{' {
		return 0, "", false
	}
	ms, err := members(raw)
	if err != nil {
		return 0, "", false
	}
	for _, m := range ms {
		switch m.name {
		case "bits":
			switch string(m.raw) {
			case "1", "2", "4", "8":
				bits = uint(m.raw[0] - '0')
			}
		case "lst":
			if lst, ok = asString(m.raw); !ok {
				return 0, "", false
			}
		}
	}
	return bits, lst, bits != 0 && lst != ""
}

// inflate decodes a lst: one whole ZLIB stream (RFC 1950) in base64url, whose
// checksum holds, with nothing after it. It stops at maxStatusList.
func inflate(lst string) ([]byte, error) {
	packed, err := strictBase64.DecodeString(lst)
	if err != nil {
		return nil, ErrInvalid.because("lst is not canonical base64url")
	}
	in := bytes.NewReader(packed)
	z, err := zlib.NewReader(in)
	if err != nil {
		return nil, ErrInvalid.because("lst is no ZLIB stream")
	}
	var out bytes.Buffer
	n, err := io.Copy(&out, io.LimitReader(z, maxStatusList+1))
	switch {
	case err != nil:
		return nil, ErrInvalid.because("lst: %v", err)
	case n > maxStatusList:
		return nil, ErrInvalid.because("lst is larger than %d bytes", maxStatusList)
	case n == 0 || in.Len() != 0:
		return nil, ErrInvalid.because("lst is empty, or has something after its end")
	}
	return bytes.Clone(out.Bytes()), nil
}

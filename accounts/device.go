package accounts

import (
	"encoding/base64"
	"encoding/binary"
	"strings"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// A device cookie shows that a browser has logged in before, so that strangers
// who guess passwords cannot lock it out. It names the device, under a MAC, and
// carries one mark for each of the last few identifiers that logged in from
// it, newest first. A mark names nobody: whom it is for shows only when its MAC
// is checked against an identifier. Nothing about it is stored.
const (
	deviceLife     = 365 * 24 * time.Hour
	deviceSkew     = 5 * time.Minute // between the clocks of replicas
	maxDeviceMarks = 5
	maxDeviceValue = 512 // bytes; what parses is shorter
)

// The parts of the cookie, joined by dots, each in base64url: first the device
// (key id, random id, MAC), then the marks (key id, seconds of issue, MAC).
const (
	macSize    = 32
	deviceID   = 16
	deviceSize = 1 + deviceID + macSize
	markSize   = 1 + 8 + macSize
)

var cookieEncoding = base64.RawURLEncoding.Strict()

// deviceKeys are the keys that authenticate device cookies.
type deviceKeys struct {
	current func() (id uint8, key []byte)
	byID    func(id uint8) (key []byte, ok bool)
}

// sign puts the id of the present key in front of text, and behind it the MAC
// of that and of what it is about.
func (k deviceKeys) sign(text []byte, about ...string) []byte {
	id, key := k.current()
	body := append([]byte{id}, text...)
	return append(body, secret.MAC(key, append(about, string(body))...)...)
}

// authentic reports whether sign made b, about the same.
func (k deviceKeys) authentic(b []byte, about ...string) bool {
	body, mac := b[:len(b)-macSize], b[len(b)-macSize:]
	key, ok := k.byID(b[0])
	return ok && secret.Equal(secret.MAC(key, append(about, string(body))...), mac)
}

// deviceMark says when an identifier logged in.
type deviceMark [markSize]byte

func (m deviceMark) issued() time.Time { return time.Unix(int64(binary.BigEndian.Uint64(m[1:9])), 0) }

// deviceCookie is a device and who logged in from it. The zero deviceCookie is none.
type deviceCookie struct {
	device string // deviceID bytes; empty for none
	marks  []deviceMark
}

// parseDeviceCookie reads a value as a browser sent it. A value that is not
// wholly well-formed, or whose device is not one we named, is no cookie.
func parseDeviceCookie(value string, keys deviceKeys) deviceCookie {
	if len(value) > maxDeviceValue {
		return deviceCookie{}
	}
	head, rest, more := strings.Cut(value, ".")
	b, err := cookieEncoding.DecodeString(head)
	if err != nil || len(b) != deviceSize || !keys.authentic(b, "device") {
		return deviceCookie{}
	}
	c := deviceCookie{device: string(b[1 : 1+deviceID])}
	for more {
		head, rest, more = strings.Cut(rest, ".")
		b, err := cookieEncoding.DecodeString(head)
		if err != nil || len(b) != markSize || len(c.marks) == maxDeviceMarks {
			return deviceCookie{}
		}
		c.marks = append(c.marks, deviceMark(b))
	}
	return c
}

// isMark reports whether m was given to the identifier on this device within
// the last year.
func (c deviceCookie) isMark(m deviceMark, identifier string, keys deviceKeys, now time.Time) bool {
	return keys.authentic(m[:], "mark", c.device, identifier) &&
		!m.issued().After(now.Add(deviceSkew)) && now.Before(m.issued().Add(deviceLife))
}

// knows reports whether the identifier has logged in from the device.
func (c deviceCookie) knows(identifier string, keys deviceKeys, now time.Time) bool {
	known := false
	for _, m := range c.marks {
		known = c.isMark(m, identifier, keys, now) || known
	}
	return known
}

// invitation returns the newest mark of an unlock link that was used for the
// identifier in this browser and is still good; empty where there is none.
func (c deviceCookie) invitation(identifier string, keys deviceKeys, now time.Time) string {
	for _, m := range c.marks {
		fresh := !m.issued().After(now.Add(deviceSkew)) && now.Before(m.issued().Add(UnlockLinkTTL))
		if fresh && keys.authentic(m[:], "invitation", c.device, identifier) {
			return string(m[:])
		}
	}
	return ""
}

// invite returns the cookie with the mark of an unlock link in front.
func (c deviceCookie) invite(identifier string, keys deviceKeys, now time.Time) deviceCookie {
	marks := append([]deviceMark{c.mark("invitation", identifier, keys, now)}, c.marks...)
	return deviceCookie{device: c.device, marks: marks[:min(len(marks), maxDeviceMarks)]}
}

func (c deviceCookie) mark(kind, identifier string, keys deviceKeys, now time.Time) deviceMark {
	at := binary.BigEndian.AppendUint64(nil, uint64(now.Unix()))
	return deviceMark(keys.sign(at, kind, c.device, identifier))
}

// with returns the cookie with a mark of the identifier in front, in the place
// of older ones.
func (c deviceCookie) with(identifier string, keys deviceKeys, now time.Time) deviceCookie {
	out := deviceCookie{device: c.device, marks: []deviceMark{c.mark("mark", identifier, keys, now)}}
	for _, m := range c.marks {
		if len(out.marks) < maxDeviceMarks && !c.isMark(m, identifier, keys, now) {
			out.marks = append(out.marks, m)
		}
	}
	return out
}

// value is the cookie as a browser keeps it.
func (c deviceCookie) value(keys deviceKeys) string {
	parts := []string{cookieEncoding.EncodeToString(keys.sign([]byte(c.device), "device"))}
	for _, m := range c.marks {
		parts = append(parts, cookieEncoding.EncodeToString(m[:]))
	}
	return strings.Join(parts, ".")
}

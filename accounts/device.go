package accounts

import (
	"encoding/base64"
	"encoding/binary"
	"strings"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// A device cookie shows that a browser has logged in before, so that strangers
// who guess passwords cannot lock it out. It is one mark for each of the last
// few identifiers that logged in from the browser, newest first. A mark names
// nobody: whom it is for shows only when its MAC is checked against an
// identifier. Nothing about it is stored.
const (
	deviceLife     = 365 * 24 * time.Hour
	maxDeviceMarks = 5
	maxDeviceValue = maxDeviceMarks * (markText + 1)
	deviceSkew     = 5 * time.Minute // between the clocks of replicas
)

// A mark is: key id, seconds of issue, random device id, MAC.
const (
	markSecret = 1
	markIssued = markSecret + 8
	markID     = markIssued + 16
	markSize   = markID + 32
	markText   = (markSize*8 + 5) / 6
)

var markEncoding = base64.RawURLEncoding.Strict()

// deviceMark is one mark of a device cookie.
type deviceMark [markSize]byte

// deviceKeys returns the key of device cookies with an id.
type deviceKeys func(id uint8) (key []byte, ok bool)

// newDeviceMark signs a mark for the identifier under the key with that id.
func newDeviceMark(key []byte, keyID uint8, identifier string, device [16]byte, at time.Time) deviceMark {
	var m deviceMark
	m[0] = keyID
	binary.BigEndian.PutUint64(m[markSecret:markIssued], uint64(at.Unix()))
	copy(m[markIssued:markID], device[:])
	copy(m[markID:], m.mac(key, identifier))
	return m
}

func (m deviceMark) mac(key []byte, identifier string) []byte {
	return secret.MAC(key, "device", identifier, string(m[:markID]))
}

func (m deviceMark) device() [16]byte { return [16]byte(m[markIssued:markID]) }

// isFor reports whether the mark was issued to the identifier by us and is
// still good at now.
func (m deviceMark) isFor(identifier string, keys deviceKeys, now time.Time) bool {
	key, ok := keys(m[0])
	if !ok || !secret.Equal(m.mac(key, identifier), m[markID:]) {
		return false
	}
	issued := time.Unix(int64(binary.BigEndian.Uint64(m[markSecret:markIssued])), 0)
	return !issued.After(now.Add(deviceSkew)) && now.Before(issued.Add(deviceLife))
}

// deviceCookie is the parsed value of a device cookie.
type deviceCookie []deviceMark

// parseDeviceCookie reads a value as a browser sent it. It cannot tell a forged
// mark from one for somebody else; what is not a mark at all spoils the value.
func parseDeviceCookie(value string) deviceCookie {
	if value == "" || len(value) > maxDeviceValue {
		return nil
	}
	var c deviceCookie
	for text := range strings.SplitSeq(value, ".") {
		b, err := markEncoding.DecodeString(text)
		if err != nil || len(b) != markSize || len(c) == maxDeviceMarks {
			return nil
		}
		c = append(c, deviceMark(b))
	}
	return c
}

// deviceOf returns the device's random id as the identifier knows it.
func (c deviceCookie) deviceOf(identifier string, keys deviceKeys, now time.Time) ([16]byte, bool) {
	for _, m := range c {
		if m.isFor(identifier, keys, now) {
			return m.device(), true
		}
	}
	return [16]byte{}, false
}

// with returns the cookie with m in front, in the place of older marks of the
// same identifier.
func (c deviceCookie) with(m deviceMark, identifier string, keys deviceKeys, now time.Time) deviceCookie {
	out := deviceCookie{m}
	for _, o := range c {
		if len(out) < maxDeviceMarks && !o.isFor(identifier, keys, now) {
			out = append(out, o)
		}
	}
	return out
}

func (c deviceCookie) String() string {
	texts := make([]string, len(c))
	for i, m := range c {
		texts[i] = markEncoding.EncodeToString(m[:])
	}
	return strings.Join(texts, ".")
}

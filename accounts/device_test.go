package accounts

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

var (
	cookieKey  = bytes.Repeat([]byte{7}, 32)
	cookieKeys = func(id uint8) ([]byte, bool) { return cookieKey, id == 3 }
	someDevice = [16]byte{1, 2, 3}
)

func TestDeviceCookieIsForOneIdentifierAndOneYear(t *testing.T) {
	value := deviceCookie{newDeviceMark(cookieKey, 3, "ada@example.com", someDevice, noon)}.String()
	for _, tt := range []struct {
		name, value, identifier string
		keys                    deviceKeys
		now                     time.Time
		known                   bool
	}{
		{"at once", value, "ada@example.com", cookieKeys, noon, true},
		{"by a replica whose clock is behind", value, "ada@example.com", cookieKeys, noon.Add(-deviceSkew), true},
		{"on its last second", value, "ada@example.com", cookieKeys, noon.Add(deviceLife - time.Second), true},
		{"after a year", value, "ada@example.com", cookieKeys, noon.Add(deviceLife), false},
		{"from the future", value, "ada@example.com", cookieKeys, noon.Add(-deviceSkew - time.Second), false},
		{"for somebody else", value, "bob@example.com", cookieKeys, noon, false},
		{"under a key that is gone", value, "ada@example.com", func(uint8) ([]byte, bool) { return nil, false }, noon, false},
		{"under another key", value, "ada@example.com", func(uint8) ([]byte, bool) { return make([]byte, 32), true }, noon, false},
		{"with a flipped bit", flipped(value), "ada@example.com", cookieKeys, noon, false},
		{"cut short", value[:len(value)-1], "ada@example.com", cookieKeys, noon, false},
		{"not base64", strings.Repeat("!", markText), "ada@example.com", cookieKeys, noon, false},
		{"with something behind it", value + ".x", "ada@example.com", cookieKeys, noon, false},
		{"none", "", "ada@example.com", cookieKeys, noon, false},
		{"too many marks", strings.Repeat(value+".", maxDeviceMarks) + value, "ada@example.com", cookieKeys, noon, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			device, known := parseDeviceCookie(tt.value).deviceOf(tt.identifier, tt.keys, tt.now)
			if known != tt.known || (known && device != someDevice) {
				t.Errorf("deviceOf() = %v, %v; want known %v", device, known, tt.known)
			}
		})
	}
}

func flipped(s string) string {
	b := []byte(s)
	if b[20] == 'A' {
		b[20] = 'B'
	} else {
		b[20] = 'A'
	}
	return string(b)
}

func TestDeviceCookieRemembersTheLastIdentifiers(t *testing.T) {
	var c deviceCookie
	people := []string{"a", "b", "c", "d", "e", "f"}
	for _, p := range append(people, "f") { // the last one twice: replaced, not repeated
		c = parseDeviceCookie(c.String()).with(newDeviceMark(cookieKey, 3, p, someDevice, noon), p, cookieKeys, noon)
	}
	if len(c) != maxDeviceMarks || len(c.String()) > maxDeviceValue {
		t.Fatalf("%d marks in %d bytes", len(c), len(c.String()))
	}
	for i, p := range people {
		if _, known := c.deviceOf(p, cookieKeys, noon); known != (i > 0) {
			t.Errorf("%s is known: %v", p, known)
		}
	}
}

// No text makes a device known that we did not make known, and whatever is
// accepted is written back as it was read.
func FuzzDeviceCookie(f *testing.F) {
	good := deviceCookie{newDeviceMark(cookieKey, 3, "ada@example.com", someDevice, noon)}.String()
	f.Add(good)
	f.Add(good + "." + good)
	f.Add("")
	f.Add("....")
	f.Add(strings.Repeat("A", markText))
	f.Fuzz(func(t *testing.T, value string) {
		c := parseDeviceCookie(value)
		if c != nil && c.String() != value {
			t.Errorf("%q is read as %q", value, c)
		}
		if _, known := c.deviceOf("ada@example.com", cookieKeys, noon); known && !strings.Contains(value, good) {
			t.Errorf("%q makes a device known", value)
		}
	})
}

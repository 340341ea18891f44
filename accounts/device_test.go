package accounts

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// cookieKeysOf authenticates with the key of that id and knows all up to it.
func cookieKeysOf(id uint8) deviceKeys {
	key := func(id uint8) []byte { return bytes.Repeat([]byte{id}, 32) }
	return deviceKeys{
		current: func() (uint8, []byte) { return id, key(id) },
		byID:    func(i uint8) ([]byte, bool) { return key(i), i > 0 && i <= id },
	}
}

var (
	cookieKeys = cookieKeysOf(1)
	someDevice = "sixteen bytes id"
)

func TestDeviceCookieIsForOneIdentifierAndOneYear(t *testing.T) {
	value := deviceCookie{device: someDevice}.with("ada@example.com", cookieKeys, noon).value(cookieKeys)
	head, mark, _ := strings.Cut(value, ".")
	other, _, _ := strings.Cut(deviceCookie{device: "another 16 bytes"}.value(cookieKeys), ".")
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
		{"after a rotation of the key", value, "ada@example.com", cookieKeysOf(2), noon, true},
		{"under a key that is gone", value, "ada@example.com", deviceKeys{byID: func(uint8) ([]byte, bool) { return nil, false }}, noon, false},
		{"under another key", value, "ada@example.com", deviceKeys{byID: func(uint8) ([]byte, bool) { return make([]byte, 32), true }}, noon, false},
		{"with another device", other + "." + mark, "ada@example.com", cookieKeys, noon, false},
		{"with a flipped bit of the device", flipped(value, 20), "ada@example.com", cookieKeys, noon, false},
		{"with a flipped bit of the mark", flipped(value, len(value)-20), "ada@example.com", cookieKeys, noon, false},
		{"without a mark", head, "ada@example.com", cookieKeys, noon, false},
		{"cut short", value[:len(value)-1], "ada@example.com", cookieKeys, noon, false},
		{"not base64", strings.Repeat("!", len(value)), "ada@example.com", cookieKeys, noon, false},
		{"with something behind it", value + ".x", "ada@example.com", cookieKeys, noon, false},
		{"none", "", "ada@example.com", cookieKeys, noon, false},
		{"too many marks", head + strings.Repeat("."+mark, maxDeviceMarks+1), "ada@example.com", cookieKeys, noon, false},
		{"far too long", strings.Repeat(value+".", 1000), "ada@example.com", cookieKeys, noon, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if known := parseDeviceCookie(tt.value, tt.keys).knows(tt.identifier, tt.keys, tt.now); known != tt.known {
				t.Errorf("knows() = %v, want %v", known, tt.known)
			}
		})
	}
}

func flipped(s string, i int) string {
	b := []byte(s)
	if b[i] == 'A' {
		b[i] = 'B'
	} else {
		b[i] = 'A'
	}
	return string(b)
}

func TestDeviceCookieRemembersTheLastIdentifiers(t *testing.T) {
	c := deviceCookie{device: someDevice}
	people := []string{"a", "b", "c", "d", "e", "f"}
	for i, p := range append(slices.Clone(people), "f") { // the last one twice: replaced, not repeated
		keys := cookieKeysOf(uint8(1 + i/3)) // rotated on the way
		c = parseDeviceCookie(c.value(keys), keys).with(p, keys, noon)
	}
	keys := cookieKeysOf(3)
	if n := len(c.value(keys)); len(c.marks) != maxDeviceMarks || c.device != someDevice || n > maxDeviceValue {
		t.Fatalf("%d marks in %d bytes, device %q", len(c.marks), n, c.device)
	}
	for i, p := range people {
		if known := c.knows(p, keys, noon); known != (i > 0) {
			t.Errorf("%s is known: %v", p, known)
		}
	}
}

// No text makes a device known that we did not make known, and whatever is
// accepted is written back as it was read.
func FuzzDeviceCookie(f *testing.F) {
	good := deviceCookie{device: someDevice}.with("ada@example.com", cookieKeys, noon).value(cookieKeys)
	head, mark, _ := strings.Cut(good, ".")
	for _, s := range []string{good, head, mark, good + "." + mark, mark + "." + head, "", "....", strings.Repeat("A", 66), fmt.Sprintf("%s.%0*d", head, len(mark), 0)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		c := parseDeviceCookie(value, cookieKeys)
		if c.device != "" && (c.device != someDevice || c.value(cookieKeys) != value) {
			t.Errorf("%q is read as %q", value, c.value(cookieKeys))
		}
		if c.device == "" && len(c.marks) > 0 {
			t.Errorf("%q has marks of no device", value)
		}
		if c.knows("ada@example.com", cookieKeys, noon) && !strings.Contains(value, mark) {
			t.Errorf("%q makes a device known", value)
		}
	})
}

// An unlock link makes no device known, and is for one identifier, device and
// quarter of an hour.
func TestAnInvitationIsForOneIdentifierAndAQuarterOfAnHour(t *testing.T) {
	const ada, bob = "ada@example.com", "bob@example.com"
	before := deviceCookie{device: someDevice}
	for i := range maxDeviceMarks {
		before = before.with(fmt.Sprint(i, "@example.com"), cookieKeys, noon)
	}
	value := before.invite(ada, cookieKeys, noon).value(cookieKeys)
	c := parseDeviceCookie(value, cookieKeys)
	if c.device != someDevice || len(value) > maxDeviceValue || !c.knows("4@example.com", cookieKeys, noon) || c.knows(ada, cookieKeys, noon) {
		t.Errorf("%+v", c)
	}
	moved := c
	moved.device = "another 16 bytes"
	known := deviceCookie{device: someDevice}.with(ada, cookieKeys, noon)
	for name, tt := range map[string]struct {
		c          deviceCookie
		identifier string
		at         time.Duration
		good       bool
	}{
		"at once":                       {c, ada, 0, true},
		"by a replica that is behind":   {c, ada, -deviceSkew, true},
		"on its last second":            {c, ada, UnlockLinkTTL - time.Second, true},
		"afterwards":                    {c, ada, UnlockLinkTTL, false},
		"from the future":               {c, ada, -deviceSkew - time.Second, false},
		"for somebody else":             {c, bob, 0, false},
		"on another device":             {moved, ada, 0, false},
		"of a login":                    {known, ada, 0, false},
		"after a login":                 {c.with(ada, cookieKeys, noon), ada, 0, true},
		"of none":                       {deviceCookie{}, ada, 0, false},
		"after a login of somebody too": {c.with(bob, cookieKeys, noon), ada, 0, true},
	} {
		if got := tt.c.invitation(tt.identifier, cookieKeys, noon.Add(tt.at)); (got != "") != tt.good {
			t.Errorf("%s: %q", name, got)
		}
	}
	again := c.invite(ada, cookieKeys, noon.Add(time.Second))
	if again.invitation(ada, cookieKeys, noon.Add(time.Second)) == c.invitation(ada, cookieKeys, noon.Add(time.Second)) {
		t.Error("two links share a counter")
	}
}

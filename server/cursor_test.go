package server

import (
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

var (
	cursorKeys = testKeys{1: []byte("an old key of thirty-two bytes..."), 2: []byte("the present key of thirty-two....")}
	ours       = list{org: "org_a", route: "/api/v1/api-keys", filter: "name\x00x"}
)

func TestACursorContinuesItsListOnly(t *testing.T) {
	c := sealCursor(cursorKeys, ours, "key_01")
	if before, err := openCursor(cursorKeys, ours, c); err != nil || before != "key_01" {
		t.Fatalf("%q %v", before, err)
	}
	// SEC-INJ-02: another organisation, route or filter is another list.
	for name, l := range map[string]list{
		"organisation": {"org_b", ours.route, ours.filter},
		"route":        {ours.org, "/api/v1/users", ours.filter},
		"filter":       {ours.org, ours.route, "name\x00y"},
		"shifted":      {ours.org + "/", strings.TrimPrefix(ours.route, "/"), ours.filter},
	} {
		if _, err := openCursor(cursorKeys, l, c); !errors.Is(err, fault.InvalidCursor) {
			t.Errorf("another %s: %v", name, err)
		}
	}
}

func TestACursorOutlivesARotationOfItsKey(t *testing.T) {
	c := sealCursor(testKeys{1: cursorKeys[1]}, ours, "key_01")
	if _, err := openCursor(cursorKeys, ours, c); err != nil {
		t.Error(err)
	}
}

// SEC-INJ-02: every bit counts, and there is one spelling.
func TestAForgedCursorIsRefused(t *testing.T) {
	c := sealCursor(cursorKeys, ours, "key_01")
	raw, err := base64.RawURLEncoding.DecodeString(c)
	if err != nil {
		t.Fatal(err)
	}
	for i := range len(raw) * 8 {
		forged := slices.Clone(raw)
		forged[i/8] ^= 1 << (i % 8)
		if _, err := openCursor(cursorKeys, ours, base64.RawURLEncoding.EncodeToString(forged)); !errors.Is(err, fault.InvalidCursor) {
			t.Fatalf("bit %d flipped: %v", i, err)
		}
	}
	for name, s := range map[string]string{
		"padded": c + "=", "cut": c[:len(c)-2], "longer": c + "AA", "only the key id": "Ag", "not base64": "%%%", "standard alphabet": strings.Repeat("+/", 20),
		"huge": strings.Repeat("A", maxCursor+1), "line break": c[:4] + "\n" + c[4:], "a bare identifier": "key_01",
	} {
		if _, err := openCursor(cursorKeys, ours, s); !errors.Is(err, fault.InvalidCursor) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzCursor(f *testing.F) {
	good := sealCursor(cursorKeys, ours, "key_01")
	for _, s := range []string{good, "", "Ag", good + "A", "AAAA", strings.Repeat("A", 300)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		before, err := openCursor(cursorKeys, ours, s)
		if err != nil {
			if !errors.Is(err, fault.InvalidCursor) {
				t.Fatalf("%q: %v", s, err)
			}
			return
		}
		raw, err := base64.RawURLEncoding.DecodeString(s)
		if err != nil || base64.RawURLEncoding.EncodeToString(raw) != s {
			t.Fatalf("%q is a second spelling for %q", s, before)
		}
		want := secret.MAC(cursorKeys[raw[0]], string(ours.org), ours.route, ours.filter, before)
		if !strings.HasPrefix(string(want), string(raw[1:17])) || string(raw[17:]) != before {
			t.Fatalf("%q was accepted for %q", s, before)
		}
	})
}

package sealing_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/tokenhouse/tokenhouse/keys/sealing"
)

var raw = []byte("0123456789abcdefghijklmnopqrstu\xff") // 32 bytes

func local(t *testing.T, master []byte, earlier ...[]byte) *sealing.Local {
	t.Helper()
	l, err := sealing.NewLocal(master, earlier...)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestAMasterKeyMeansTheSameInEveryForm(t *testing.T) {
	sealed, err := local(t, raw).Seal([]byte("pepper"), "place")
	if err != nil {
		t.Fatal(err)
	}
	for name, form := range map[string]string{
		"hex": hex.EncodeToString(raw), "HEX": strings.ToUpper(hex.EncodeToString(raw)), "base64": base64.StdEncoding.EncodeToString(raw),
		"base64url without padding": base64.RawURLEncoding.EncodeToString(raw), "a file with a line end": base64.StdEncoding.EncodeToString(raw) + "\n",
	} {
		if plain, err := local(t, []byte(form)).Open(sealed, "place"); err != nil || string(plain) != "pepper" {
			t.Errorf("%s: Open = %q, %v", name, plain, err)
		}
	}
	text := "a long pass phrase of more than thirty-two characters"
	sealed, err = local(t, []byte(text)).Seal([]byte("pepper"), "place")
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := local(t, []byte(text+"\n")).Open(sealed, "place"); err != nil || string(plain) != "pepper" {
		t.Errorf("text: Open = %q, %v", plain, err)
	}
	for _, short := range []string{"", "short", strings.Repeat("x", 31), strings.Repeat(" ", 40)} {
		if _, err := sealing.NewLocal([]byte(short)); !errors.Is(err, sealing.ErrMasterKey) {
			t.Errorf("NewLocal(%q) = %v; want ErrMasterKey", short, err)
		}
	}
}

func TestWhatIsSealedOpensOnlyInItsPlaceAndWhole(t *testing.T) {
	l := local(t, raw)
	plain := []byte("a private key")
	sealed, err := l.Seal(plain, "signing-key:a")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, plain) {
		t.Fatal("not encrypted")
	}
	if got, err := l.Open(sealed, "signing-key:a"); err != nil || !bytes.Equal(got, plain) {
		t.Fatalf("Open = %q, %v", got, err)
	}
	if _, err := l.Open(sealed, "signing-key:b"); !errors.Is(err, sealing.ErrDamaged) {
		t.Errorf("in another place: %v; want ErrDamaged", err)
	}
	again, err := l.Seal(plain, "signing-key:a")
	if err != nil || bytes.Equal(sealed, again) {
		t.Errorf("sealing twice gives the same bytes: a nonce was used twice (%v)", err)
	}
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 1
		if _, err := l.Open(bad, "signing-key:a"); err == nil {
			t.Errorf("opens with byte %d changed", i)
		}
		if _, err := l.Open(sealed[:i], "signing-key:a"); err == nil {
			t.Errorf("opens cut to %d bytes", i)
		}
	}
}

// SEC-OBS-15
func TestTheMasterKeyCanBeReplaced(t *testing.T) {
	old, now := []byte("the first master key, thirty-two+ long"), []byte("the second master key, thirty-two+ long")
	sealed, err := local(t, old).Seal([]byte("pepper"), "place")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := local(t, now).Open(sealed, "place"); !errors.Is(err, sealing.ErrWrongMasterKey) {
		t.Errorf("under another master key: %v; want ErrWrongMasterKey", err)
	}
	both := local(t, now, old)
	if plain, err := both.Open(sealed, "place"); err != nil || string(plain) != "pepper" {
		t.Errorf("with the earlier master key at hand: %q, %v", plain, err)
	}
	fresh, err := both.Seal([]byte("pepper"), "place")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := local(t, now).Open(fresh, "place"); err != nil {
		t.Errorf("what is sealed after the change needs the earlier key: %v", err)
	}
}

// FuzzOpen: whatever lies in the database, opening it neither panics nor succeeds.
func FuzzOpen(f *testing.F) {
	l, err := sealing.NewLocal(raw)
	if err != nil {
		f.Fatal(err)
	}
	good, err := l.Seal([]byte("pepper"), "place")
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{})
	f.Add([]byte{1, 2, 3, 4, 5})
	f.Add(good[:len(good)-1])
	f.Fuzz(func(t *testing.T, sealed []byte) {
		if plain, err := l.Open(sealed, "other place"); err == nil {
			t.Errorf("%x opens to %q", sealed, plain)
		}
	})
}

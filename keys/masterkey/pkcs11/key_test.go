//go:build pkcs11 && cgo

package pkcs11_test

import (
	"bytes"
	"context"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/internal/softhsmtest"
	"github.com/tokenhouse/tokenhouse/keys/masterkey/pkcs11"
	"github.com/tokenhouse/tokenhouse/keys/sealing"
)

var masterKey = []byte("0123456789abcdefghijklmnopqrstu\xff")

// named is the key that a URI without its module-path names.
func named(t *testing.T, tokens *softhsmtest.Tokens, text, pin string) *pkcs11.Key {
	t.Helper()
	separator := "?"
	if strings.Contains(text, "?") {
		separator = "&"
	}
	u, err := url.Parse(text + separator + "module-path=" + tokens.Module)
	if err != nil {
		t.Fatal(err)
	}
	k, err := pkcs11.New(u, secret.Of(pin))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func wrap(t *testing.T, k *pkcs11.Key) []byte {
	t.Helper()
	wrapped, err := k.Wrap(t.Context(), masterKey)
	if err != nil || bytes.Contains(wrapped, masterKey) {
		t.Fatalf("Wrap = %x, %v", wrapped, err)
	}
	return wrapped
}

func TestAKeyInTheTokenWrapsAndUnwraps(t *testing.T) {
	tokens := softhsmtest.New(t)
	tokens.Add(t, "the house")
	tokens.Add(t, "other")
	tokens.MakeKey(t, "the house", "master key", 1, false)
	tokens.MakeKey(t, "the house", "newer", 2, false)
	tokens.MakeKey(t, "other", "master key", 1, false)

	k := named(t, tokens, "pkcs11:token=the%20house;object=master%20key;type=secret-key", softhsmtest.PIN)
	wrapped := wrap(t, k)
	if again := wrap(t, k); bytes.Equal(again, wrapped) {
		t.Error("the same key wrapped twice looks the same")
	}
	for _, same := range []string{"pkcs11:token=the%20house;object=master%20key", "pkcs11:manufacturer=SoftHSM%20project;token=the%20house;id=%01"} {
		if got, err := named(t, tokens, same, softhsmtest.PIN).Unwrap(t.Context(), wrapped); err != nil || !bytes.Equal(got, masterKey) {
			t.Errorf("%s: Unwrap = %q, %v", same, got, err)
		}
	}
	damaged := bytes.Clone(wrapped)
	damaged[len(damaged)-1] ^= 1
	otherForm := bytes.Clone(wrapped)
	otherForm[0]++
	for name, w := range map[string][]byte{
		"damaged": damaged, "cut": wrapped[:len(wrapped)-1], "of another form": otherForm, "nothing": nil, "nonsense": []byte("vault:v1:AAAA"), "no ciphertext": wrapped[:14],
		"another key's":   wrap(t, named(t, tokens, "pkcs11:token=the%20house;object=newer", softhsmtest.PIN)),
		"another token's": wrap(t, named(t, tokens, "pkcs11:token=other;object=master%20key", softhsmtest.PIN)),
	} {
		if got, err := k.Unwrap(t.Context(), w); !errors.Is(err, sealing.ErrNotWrapped) || errors.Is(err, sealing.ErrAway) || got != nil {
			t.Errorf("%s: %q, %v; want ErrNotWrapped", name, got, err)
		}
	}
	if text := k.String(); strings.Contains(text, softhsmtest.PIN) || !strings.Contains(text, "master key") || !strings.Contains(text, "the house") {
		t.Errorf("String = %s", text)
	}
}

// What waiting mends is told from what an operator mends.
func TestWhatIsWrongWithTheToken(t *testing.T) {
	tokens := softhsmtest.New(t)
	tokens.Add(t, "house")
	tokens.Add(t, "twin")
	tokens.Add(t, "twin")
	tokens.MakeKey(t, "house", "master", 1, false)
	tokens.MakeKey(t, "house", "twice", 2, false)
	tokens.MakeKey(t, "house", "twice", 3, false)
	tokens.MakeKey(t, "house", "open", 4, true)
	for name, c := range map[string]struct {
		uri, pin string
		away     bool
		says     string
	}{
		"no such token": {"pkcs11:token=elsewhere;object=master", softhsmtest.PIN, true, `"house"`},
		"two tokens":    {"pkcs11:token=twin;object=master", softhsmtest.PIN, false, "serial="},
		"no such key":   {"pkcs11:token=house;object=absent", softhsmtest.PIN, false, "no AES key absent"},
		"two keys":      {"pkcs11:token=house;object=twice", softhsmtest.PIN, false, "id="},
		"an open key":   {"pkcs11:token=house;object=open", softhsmtest.PIN, false, "not extractable"},
		"a wrong PIN":   {"pkcs11:token=house;object=master", "wrong-pin", false, "refuses the PIN"},
	} {
		_, err := named(t, tokens, c.uri, c.pin).Wrap(t.Context(), masterKey)
		if err == nil || errors.Is(err, sealing.ErrAway) != c.away || errors.Is(err, sealing.ErrNotWrapped) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), c.pin) {
			t.Errorf("%s: %v; away: %v", name, err, c.away)
		}
	}
	k := named(t, tokens, "pkcs11:token=house;object=master", softhsmtest.PIN)
	wrapped := wrap(t, k)
	back := tokens.Remove(t)
	if _, err := k.Unwrap(t.Context(), wrapped); !errors.Is(err, sealing.ErrAway) {
		t.Errorf("the token is pulled out: %v; want ErrAway", err)
	}
	back()
	if got, err := k.Unwrap(t.Context(), wrapped); err != nil || !bytes.Equal(got, masterKey) {
		t.Errorf("it is plugged in again: %q, %v", got, err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := k.Unwrap(cancelled, wrapped); err != nil && !errors.Is(err, sealing.ErrAway) {
		t.Errorf("nobody waits any more: %v", err)
	}
}

// A module logs a whole process in and out: callers must not see each other's.
func TestManyAskAtTheSameTime(t *testing.T) {
	tokens := softhsmtest.New(t)
	tokens.Add(t, "house")
	tokens.Add(t, "previous")
	tokens.MakeKey(t, "house", "master", 1, false)
	tokens.MakeKey(t, "previous", "master", 1, false)
	var all sync.WaitGroup
	for i := range 16 {
		token := []string{"house", "previous"}[i%2]
		k := named(t, tokens, "pkcs11:token="+token+";object=master", softhsmtest.PIN)
		all.Go(func() {
			wrapped, err := k.Wrap(context.Background(), masterKey)
			if err == nil {
				var got []byte
				if got, err = k.Unwrap(context.Background(), wrapped); err == nil && !bytes.Equal(got, masterKey) {
					err = errors.New("another key")
				}
			}
			if err != nil {
				t.Errorf("%s: %v", token, err)
			}
		})
	}
	all.Wait()
}

func TestThePINFileIsReadEachTime(t *testing.T) {
	tokens := softhsmtest.New(t)
	tokens.Add(t, "house")
	tokens.MakeKey(t, "house", "master", 1, false)
	file := filepath.Join(t.TempDir(), "pin")
	k := named(t, tokens, "pkcs11:token=house;object=master?pin-source=file:"+file, "not this one")
	if _, err := k.Wrap(t.Context(), masterKey); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without the file: %v", err)
	}
	for _, step := range []struct {
		content string
		good    bool
	}{{"wrong\n", false}, {softhsmtest.PIN + "\n", true}, {"", false}, {softhsmtest.PIN + "\nmore", false}, {softhsmtest.PIN, true}} {
		if err := os.WriteFile(file, []byte(step.content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := k.Wrap(t.Context(), masterKey); (err == nil) != step.good {
			t.Errorf("%q: %v", step.content, err)
		}
	}
}

func TestAModuleThatIsNone(t *testing.T) {
	file := filepath.Join(t.TempDir(), "module.so")
	if err := os.WriteFile(file, []byte("no code"), 0o600); err != nil {
		t.Fatal(err)
	}
	k := named(t, &softhsmtest.Tokens{Module: file}, "pkcs11:token=house;object=master", "1234")
	if _, err := k.Wrap(t.Context(), masterKey); err == nil || errors.Is(err, sealing.ErrAway) || !strings.Contains(err.Error(), file) {
		t.Errorf("a module that is none: %v", err)
	}
}

func TestURIsThatNameNoKey(t *testing.T) {
	module := filepath.Join(t.TempDir(), "module.so")
	if err := os.WriteFile(module, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	good := "pkcs11:token=a;object=b?module-path=" + module
	for _, text := range []string{
		"pkcs11:", "pkcs11://token/a", "pkcs11:token=a;object=b", "pkcs11:token=a?module-path=" + module, "pkcs11:object=b?module-path=" + module,
		"pkcs11:token=a;token=c;object=b?module-path=" + module, "pkcs11:token=a;object=%zz?module-path=" + module, "pkcs11:token=a;object?module-path=" + module,
		"pkcs11:token=a;object=b;slot-id=1?module-path=" + module, "pkcs11:token=a;object=b;type=private?module-path=" + module,
		"pkcs11:token=a;object=b?module-path=module.so", "pkcs11:token=a;object=b?module-path=/no/such/module.so", "pkcs11:token=a;object=b?module-name=softhsm2",
		good + "&pin-value=hunter2", good + "&pin-source=relative", good + "&pin-source=|echo%20hunter2", good + "&unknown=1", good + "#x",
	} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pkcs11.New(u, secret.Of("1234")); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", text, err)
		}
	}
	u, err := url.Parse(good)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pkcs11.New(u, secret.Plain{}); err == nil {
		t.Error("without a PIN")
	}
	if _, err := pkcs11.New(u, secret.Of("1234")); err != nil {
		t.Errorf("one that names a key: %v", err)
	}
}

//go:build pkcs11 && cgo

// Package softhsmtest gives tests a PKCS#11 token: SoftHSM, a real module whose
// tokens lie in a directory.
package softhsmtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/miekg/pkcs11"
)

// PIN is the user's of every token made here.
const PIN = "correct-horse-4711"

// Tokens is a directory of tokens. Only one test of a process may use it at a
// time: the module reads where it is from the environment.
type Tokens struct {
	Module string // the path of the PKCS#11 module
	dir    string
}

// New makes an empty directory of tokens. A machine without SoftHSM fails the test.
func New(t *testing.T) *Tokens {
	t.Helper()
	dir := t.TempDir()
	conf := filepath.Join(dir, "softhsm2.conf")
	store := filepath.Join(dir, "tokens")
	if err := os.Mkdir(store, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(conf, fmt.Appendf(nil, "directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n", store), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOFTHSM2_CONF", conf)
	for _, pattern := range []string{"/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/*/softhsm/libsofthsm2.so", "/usr/lib*/libsofthsm2.so", "/usr/lib*/*/libsofthsm2.so"} {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			return &Tokens{Module: found[0], dir: store}
		}
	}
	t.Fatal("SoftHSM is not installed; .ci/testenv installs it")
	return nil
}

// Add makes a token.
func (s *Tokens) Add(t *testing.T, label string) {
	t.Helper()
	out, err := exec.Command("softhsm2-util", "--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", "so-"+PIN).CombinedOutput()
	if err != nil {
		t.Fatalf("softhsm2-util: %v: %s", err, out)
	}
}

// Remove pulls every token out; the function that it returns plugs them in again.
func (s *Tokens) Remove(t *testing.T) (back func()) {
	t.Helper()
	if err := os.Rename(s.dir, s.dir+".out"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(s.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(s.dir); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(s.dir+".out", s.dir); err != nil {
			t.Fatal(err)
		}
	}
}

// MakeKey makes an AES-256 key in a token. One that is open may be read by the
// token's user.
func (s *Tokens) MakeKey(t *testing.T, token, label string, id byte, open bool) {
	t.Helper()
	m := pkcs11.New(s.Module)
	if m == nil {
		t.Fatal("the module does not load")
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(m.Initialize())
	defer func() { check(m.Finalize()) }()
	slots, err := m.GetSlotList(true)
	check(err)
	for _, slot := range slots {
		info, err := m.GetTokenInfo(slot)
		check(err)
		if info.Label != token {
			continue
		}
		h, err := m.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
		check(err)
		check(m.Login(h, pkcs11.CKU_USER, PIN))
		_, err = m.GenerateKey(h, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_AES_KEY_GEN, nil)}, []*pkcs11.Attribute{
			pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true), pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, true),
			pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, !open), pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, open),
			pkcs11.NewAttribute(pkcs11.CKA_ENCRYPT, true), pkcs11.NewAttribute(pkcs11.CKA_DECRYPT, true),
			pkcs11.NewAttribute(pkcs11.CKA_LABEL, label), pkcs11.NewAttribute(pkcs11.CKA_ID, []byte{id}), pkcs11.NewAttribute(pkcs11.CKA_VALUE_LEN, 32),
		})
		check(err)
		return
	}
	t.Fatalf("there is no token %s", token)
}

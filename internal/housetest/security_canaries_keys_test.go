package housetest_test

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"os/exec"
	"strings"
	"testing"

	"github.com/tokenhouse/tokenhouse/internal/housetest"
	"github.com/tokenhouse/tokenhouse/keys/sealing"
	"github.com/tokenhouse/tokenhouse/keys/signing"
)

// plantKeys plants what the master key seals: every private signing key, every
// secret of the deployment, and the secrets of clients, of which one kind is
// sealed and the other digested.
func plantKeys(t *testing.T, h *housetest.Harness, c canaries) {
	t.Helper()
	master := h.House().MasterKey()
	for _, k := range h.House().Ring.Loaded() {
		der, err := master.Open(k.Sealed, signing.SealContext(k.ID))
		if err != nil {
			t.Fatal(err)
		}
		private, err := x509.ParsePKCS8PrivateKey(der)
		if err != nil {
			t.Fatal(err)
		}
		switch private := private.(type) {
		case *ecdsa.PrivateKey:
			b, err := private.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			c.plant(t, "private key of ES256", string(b))
		case *rsa.PrivateKey:
			c.plant(t, "private key of RS256", string(private.D.Bytes()))
			c.plant(t, "prime of RS256", string(private.Primes[0].Bytes()))
		default:
			t.Fatalf("a %T signs, and nobody looks for it", private)
		}
	}
	rows, err := h.House().DB.SealedSecrets().SealedSecrets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	found := map[sealing.Purpose]bool{}
	for _, r := range rows {
		plain, err := master.Open(r.Sealed, r.Context())
		if err != nil {
			t.Fatal(err)
		}
		c.plant(t, "secret "+string(r.Purpose), string(plain))
		found[r.Purpose] = true
	}
	for _, p := range sealing.Purposes() {
		if !found[p] {
			t.Errorf("there is no secret %s to look for", p)
		}
	}
	admin := h.Client().As(h.Login(h.Admin).Access)
	for _, method := range []string{"client_secret_basic", "client_secret_jwt"} {
		c.plant(t, "client secret of "+method, enrol(admin, []string{"agents:read"}, map[string]any{"auth_method": method}).secret)
	}
}

// dumped is the database as a backup has it: for PostgreSQL what pg_dump writes.
// A backup of SQLite is its files, which are looked at beside this.
func dumped(t *testing.T, url string) string {
	t.Helper()
	if !strings.HasPrefix(url, "postgres") {
		return ""
	}
	out, err := exec.CommandContext(t.Context(), "pg_dump", "--dbname="+url).Output()
	if err != nil {
		t.Fatalf("pg_dump (Debian: postgresql-client): %v", err)
	}
	if !strings.Contains(string(out), "COPY public.signing_keys") {
		t.Fatalf("the dump of %d bytes has no signing keys", len(out))
	}
	return string(out)
}

package apikeys_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"testing"

	"github.com/tokenhouse/tokenhouse/keys/apikeys"
	"github.com/tokenhouse/tokenhouse/keys/sealing"
)

// newer is a deployment that has another pepper since.
type newer struct{ before apikeys.Peppers }

var newPepper = bytes.Repeat([]byte{7}, 32)

func (n newer) Current(p sealing.Purpose) (uint8, []byte) {
	id, _ := n.before.Current(p)
	return id + 1, newPepper
}

func (n newer) ByID(p sealing.Purpose, id uint8) ([]byte, bool) {
	if current, pepper := n.Current(p); id == current {
		return pepper, true
	}
	return n.before.ByID(p, id)
}

// AK-10: what is stored is the HMAC-SHA-256 of the whole key, preceded by its
// length in four bytes, and which pepper that was; so keys outlive a change of
// peppers.
func TestTheDigestOfAKeyIsAnHMACUnderANamedPepper(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	alice := d.person("user_alice", "org_a", engineer)
	stored := func(key string) (id uint8) {
		t.Helper()
		k, err := r.gate.APIKeyByLookup(t.Context(), lookupOf(key))
		must(t, err)
		pepper, ok := r.Peppers.ByID(sealing.APIKeyPepper, k.Secrets[0].Pepper)
		if !ok {
			t.Fatalf("there is no pepper %d", k.Secrets[0].Pepper)
		}
		mac := hmac.New(sha256.New, pepper)
		mac.Write(append([]byte{0, 0, 0, byte(len(key))}, key...))
		if want := mac.Sum(nil); !bytes.Equal(k.Secrets[0].Digest, want) {
			t.Errorf("stored %x, want %x", k.Secrets[0].Digest, want)
		}
		return k.Secrets[0].Pepper
	}
	_, old := r.make(t, alice, "metrics:read")
	first := stored(old)
	r.Peppers = newer{r.Peppers}
	_, fresh := r.make(t, alice, "metrics:read")
	if second := stored(fresh); second != first+1 {
		t.Errorf("made under pepper %d, the second under %d", first, second)
	}
	stored(old)
	r.Forget()
	for _, key := range []string{old, fresh} {
		r.as(t, key)
	}
}

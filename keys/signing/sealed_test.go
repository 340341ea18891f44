package signing_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tokenhouse/tokenhouse/keys/sealing"
	"github.com/tokenhouse/tokenhouse/keys/signing"
	"github.com/tokenhouse/tokenhouse/storage/migrated"
)

// SEC-OBS-15
func TestAWrongMasterKeyIsAnErrorAndMakesNoKey(t *testing.T) {
	t.Parallel()
	var c commits
	db := openSQLite(t, migrated.SQLite(t), &c)
	loaded(t, ringOn(t, db.SigningKeys()))
	keeper, err := sealing.NewLocal([]byte(strings.Repeat("another master key ", 3)))
	if err != nil {
		t.Fatal(err)
	}
	wrong := ringOn(t, db.SigningKeys(), "ES256", "RS256") // it would make an RS256 key
	wrong.Keeper = keeper
	if err := wrong.Load(t.Context()); !errors.Is(err, sealing.ErrWrongMasterKey) {
		t.Errorf("Load = %v; want ErrWrongMasterKey", err)
	}
	if keys, err := wrong.Keys(t.Context()); err != nil || len(keys) != 1 {
		t.Errorf("%d keys, %v; want the first one only", len(keys), err)
	}
	if _, err := wrong.Sign(t.Context(), []byte("{}"), "at+jwt"); err == nil {
		t.Error("a ring that did not load signs")
	}
	rotated, err := sealing.NewLocal([]byte("a new master key of enough characters"), []byte(master))
	if err != nil {
		t.Fatal(err)
	}
	later := ringOn(t, db.SigningKeys())
	later.Keeper = rotated
	loaded(t, later)
}

func TestAPublicKeyPlantedInTheDatabaseIsNotPublished(t *testing.T) {
	t.Parallel()
	db := openSQLite(t, migrated.SQLite(t), &commits{})
	r := loaded(t, ringOn(t, db.SigningKeys()))
	keys, err := r.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	mine, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	planted := keys[0]
	planted.Public.Key = &mine.PublicKey
	victim := loaded(t, ringOn(t, fixed{[]signing.Key{planted}}))
	if got := victim.JWKS(); got.ETag != r.JWKS().ETag {
		t.Errorf("JWKS = %s; want the key that is sealed", got.Body)
	}
	planted.ID = "another-name"
	if err := ringOn(t, fixed{[]signing.Key{planted}}).Load(t.Context()); !errors.Is(err, sealing.ErrDamaged) {
		t.Errorf("a sealed key under another name = %v; want ErrDamaged", err)
	}
}

func TestThePrivateKeyIsNotInTheDatabaseFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var c commits
	db := openSQLite(t, filepath.Join(dir, "th.db"), &c)
	recorder := &recordingKeeper{Keeper: ringOn(t, db.SigningKeys()).Keeper}
	r := ringOn(t, db.SigningKeys())
	r.Keeper = recorder
	loaded(t, r)
	der := recorder.plain
	if len(der) < 100 {
		t.Fatalf("the keeper saw %d bytes", len(der))
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		content, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		private := der[36:68] // the scalar of a P-256 key in PKCS #8
		if bytes.Contains(content, private) || bytes.Contains(content, []byte(base64.RawURLEncoding.EncodeToString(private))) {
			t.Errorf("%s holds the private key", f.Name())
		}
	}
}

// recordingKeeper remembers what was sealed.
type recordingKeeper struct {
	sealing.Keeper
	plain []byte
}

func (k *recordingKeeper) Seal(plain []byte, context string) ([]byte, error) {
	k.plain = bytes.Clone(plain)
	return k.Keeper.Seal(plain, context)
}

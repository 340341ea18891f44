package apikeys_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	_ "modernc.org/sqlite" // the driver

	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/keys/sealing"
)

// openReadOnly opens the database file beside the server.
func openReadOnly(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?mode=ro")
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	return db
}

// K12, O23, SEC-KEY-13: the credential is in what Create and Rotate
// return, and nowhere else: no list, event, log or file.
// AK-17, AK-19, AK-20.
func TestACredentialIsShownOnceAndKeptNowhere(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	alice := d.person("user_alice", "org_a", engineer)
	k, first := r.make(t, alice, "metrics:read")
	_, plain, err := r.Rotate(t.Context(), alice, k.ID, time.Hour)
	must(t, err)
	for _, credential := range []string{first, plain.Reveal()} {
		r.as(t, credential)
		_, _ = r.Verify(t.Context(), anotherSecret(credential), origin)
	}
	must(t, r.Revoke(t.Context(), alice, k.ID))
	_, _ = r.Verify(t.Context(), first, origin)
	must(t, r.Close(t.Context()))

	var seen bytes.Buffer
	keys, err := r.List(t.Context(), alice, ident.Page{Limit: 10})
	must(t, err)
	log := slog.New(slog.NewJSONHandler(&seen, nil))
	log.InfoContext(context.Background(), "everything", "keys", keys, "plain", plain, "key", k)
	fmt.Fprintf(&seen, "%v %+v %#v %s %q", plain, plain, plain, plain, plain)
	must(t, json.NewEncoder(&seen).Encode(map[string]any{"keys": keys, "plain": plain}))
	r.mu.Lock()
	fmt.Fprintf(&seen, "%+v %v", r.events, r.results)
	r.mu.Unlock()
	files, err := os.ReadDir(r.dir)
	must(t, err)
	for _, f := range files {
		content, err := os.ReadFile(filepath.Join(r.dir, f.Name()))
		must(t, err)
		seen.Write(content)
	}
	if !bytes.Contains(seen.Bytes(), []byte(k.Lookup)) {
		t.Fatal("the search does not even find the lookup id")
	}
	_, pepper := r.Peppers.Current(sealing.APIKeyPepper)
	planted := [][]byte{pepper, []byte(hex.EncodeToString(pepper)), []byte(base64.StdEncoding.EncodeToString(pepper))}
	for _, credential := range []string{first, plain.Reveal()} {
		hidden := credential[len(credential)-38 : len(credential)-6]
		planted = append(planted, []byte(credential), []byte(hidden), []byte(hidden[:16]), []byte(hidden[16:]))
	}
	for _, p := range planted {
		if bytes.Contains(seen.Bytes(), p) {
			t.Errorf("%q can be read somewhere", p)
		}
	}
}

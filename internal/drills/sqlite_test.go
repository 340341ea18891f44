package drills_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/binary"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// fileOf is the database file of a harness on SQLite.
func fileOf(h *housetest.Harness) string {
	return strings.TrimPrefix(h.Config.Database.URL, "sqlite://")
}

// reopened opens a house on a copy of a harness's database, as a start of the server
// would, and logs its administrator in.
func reopened(t *testing.T, h *housetest.Harness, file string) error {
	t.Helper()
	conf := h.Config
	conf.Database.URL = "sqlite://" + file
	built, err := house.Open(t.Context(), conf, house.Env{Now: h.Clock.Now, Random: rand.Reader, Serving: true})
	if err != nil {
		return err
	}
	if _, err := built.People.UserByEmail(t.Context(), built.Operator(""), h.Admin.Email); err != nil {
		t.Errorf("a house that was opened does not know its administrator: %v", err)
	}
	return built.Close()
}

// damaged fails the test unless the error says what is wrong and what to do.
func damaged(t *testing.T, what string, err error) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), "damaged") || !strings.Contains(err.Error(), "restore it") {
		t.Errorf("%s: %v", what, err)
	}
}

// FLT-DB-18: a server does not start on a database file that is cut off, that has
// a page of something else, or that is no database; it says so, and what to do.
func TestADamagedFileIsRefused(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	c := h.Client().As(h.Login(h.Admin).Access)
	for i := range 30 {
		c.CreateKey(fmt.Sprint("k", i), "agents:read")
	}
	if err := h.Replicas[0].Stop(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(fileOf(h))
	if err != nil {
		t.Fatal(err)
	}
	if err := reopened(t, h, fileOf(h)); err != nil {
		t.Fatalf("the file is whole, and refused: %v", err)
	}
	page := int(binary.BigEndian.Uint16(whole[16:])) // the size of a page, https://sqlite.org/fileformat.html §1.3.2
	for what, change := range map[string]func([]byte) []byte{
		"half of it":     func(b []byte) []byte { return b[:len(b)/2/page*page] },
		"all but a page": func(b []byte) []byte { return b[:len(b)-page] },
		"a torn page":    func(b []byte) []byte { clear(b[len(b)/page/2*page:][:page]); return b },
		"another header": func(b []byte) []byte { copy(b, "nothing of ours "); return b },
		"noise":          func(b []byte) []byte { _, _ = rand.Read(b[page : 4*page]); return b },
	} {
		file := filepath.Join(t.TempDir(), "damaged.db")
		if err := os.WriteFile(file, change(append([]byte(nil), whole...)), 0o600); err != nil {
			t.Fatal(err)
		}
		damaged(t, what, reopened(t, h, file))
	}
}

// FLT-CRASH-11: the machine dies in the middle of a write, and the journal is
// torn wherever it was. What is found afterwards is a whole database, with what
// was committed before; or it is refused.
func TestATornJournalLeavesAWholeDatabase(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	s := h.Login(h.Admin)
	db := beside(t, h)
	release := reads(t, db)
	defer func() { release() }()
	ctx, stop := context.WithCancel(t.Context())
	var all sync.WaitGroup
	written := make(chan struct{}, 8) // so many writes are made while a copy is
	for w := range 4 {
		c := h.Client().For(t).As(s.Access)
		all.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				if r, err := c.Try("POST", "/api/v1/api-keys", map[string]any{"name": fmt.Sprint(w, " ", i), "permissions": []string{"agents:read"}}); err != nil || r.Status != http.StatusCreated {
					t.Errorf("a write: %v %s", err, r)
					return
				}
				select {
				case written <- struct{}{}:
				case <-ctx.Done():
				}
			}
		})
	}
	copies, refused := sized(4, 200), 0
	for i := range copies {
		if i%25 == 24 { // or the journal grows for as long as the test lasts
			release()
			release = reads(t, db)
		}
		for range 5 {
			<-written
		}
		file := filepath.Join(t.TempDir(), "torn.db")
		for _, suffix := range []string{"", "-wal"} {
			b, err := os.ReadFile(fileOf(h) + suffix)
			if err != nil {
				t.Fatal(err)
			}
			if suffix != "" {
				b = b[:len(b)-mathrand.IntN(len(b)/4)]
				if i%2 == 0 {
					_, _ = rand.Read(b[len(b)-min(len(b), 2000):]) // what the disk held before
				}
			}
			if err := os.WriteFile(file+suffix, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := reopened(t, h, file); err != nil {
			damaged(t, "a torn journal", err)
			refused++
			continue
		}
		db, err := sql.Open("sqlite", "file:"+file)
		if err != nil {
			t.Fatal(err)
		}
		var found string
		if err := db.QueryRow("PRAGMA integrity_check").Scan(&found); err != nil || found != "ok" {
			t.Errorf("a house was opened on a database that is not whole: %s, %v", found, err)
		}
		_ = db.Close()
	}
	stop()
	all.Wait()
	t.Logf("%d copies, %d of them refused", copies, refused)
}

// reads begins to read, which keeps the journal from being folded back and begun
// anew until what it returns is called.
func reads(t *testing.T, db *sql.DB) (end func()) {
	t.Helper()
	tx, err := db.BeginTx(t.Context(), &sql.TxOptions{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	number(t, tx, "SELECT count(*) FROM users")
	return func() { _ = tx.Rollback() }
}

// FLT-DB-16: a second server on the same file does no harm (FLT-DB-15 has many
// writers at two), so there is no lock against it. But a file that is taken away
// under a running server takes what is written with it: from then on no write is
// acknowledged and the server is not ready, until the file is back.
func TestAFileThatIsTakenAwayTakesNoWrites(t *testing.T) {
	h := housetest.Start(t, housetest.Options{Replicas: 2})
	c := h.Client().As(h.Login(h.Admin).Access)
	away := fileOf(h) + ".away"
	body := map[string]any{"name": "k", "permissions": []string{"agents:read"}}
	for what, take := range map[string]func() error{
		"moved":    func() error { return nil },
		"replaced": func() error { return os.WriteFile(fileOf(h), nil, 0o600) },
	} {
		if err := os.Rename(fileOf(h), away); err != nil {
			t.Fatal(err)
		}
		if err := take(); err != nil {
			t.Fatal(err)
		}
		for i := range h.Replicas {
			h.OpsAt(i).Get("/readyz").Expect(http.StatusServiceUnavailable)
		}
		r := c.Post("/api/v1/api-keys", body)
		r.Problem(http.StatusServiceUnavailable, "UNAVAILABLE")
		if strings.Contains(string(r.Body), "file") {
			t.Errorf("%s: the reply tells of the file: %s", what, r.Body)
		}
		h.Client().Get("/.well-known/jwks.json").Expect(http.StatusOK)
		if err := os.Rename(away, fileOf(h)); err != nil {
			t.Fatal(err)
		}
		h.OpsClient().Get("/readyz").Expect(http.StatusOK)
		c.Post("/api/v1/api-keys", body).Expect(http.StatusCreated)
	}
}

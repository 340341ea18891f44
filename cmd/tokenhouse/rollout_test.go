package main

import (
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/pgtest"
)

// FLT-CRASH-09: one of two replicas is rolled out with a configuration that cannot
// work and starts again and again. It says what is wrong and changes nothing;
// the other answers every request meanwhile.
func TestABadRolloutLeavesTheOtherReplicaAlone(t *testing.T) {
	database := pgtest.URL(t)
	good := &victim{t: t, binary: tested(t), database: database, dir: t.TempDir(), listen: vacant(t), ops: vacant(t)}
	good.start()
	stop, served := make(chan struct{}), make(chan int, 1)
	go func() {
		n := 0
		for ; ; n++ {
			select {
			case <-stop:
				served <- n
				return
			default:
			}
			var s signedIn
			status, err := good.call("127.0.0.1", "POST", "/api/v1/auth/login", "", map[string]string{"email": "admin@crash.localhost", "password": crashSecret}, &s)
			if err != nil || status != http.StatusOK {
				t.Errorf("a login while the other replica fails: %d, %v", status, err)
			}
			good.expect(signedIn{Access: s.Access, from: "127.0.0.1"}, "GET", "/api/v1/me", http.StatusOK, "a token while the other replica fails")
		}
	}()
	key := filepath.Join(good.dir, "master.key")
	for what, env := range map[string][]string{
		"another master key":   {"TOKENHOUSE_MASTER_KEY=" + strings.Repeat("5a", 32)},
		"no master key":        {"TOKENHOUSE_MASTER_KEY_FILE=/nowhere/master.key"},
		"an unknown setting":   {"TOKENHOUSE_MASTER_KEY_FILE=" + key, "TOKENHOUSE_ACCESS_TOKEN_TTL=soon"},
		"an issuer in clear":   {"TOKENHOUSE_MASTER_KEY_FILE=" + key, "TOKENHOUSE_ISSUER=http://tokens.example.com"},
		"a key of two letters": {"TOKENHOUSE_MASTER_KEY=ab"},
	} {
		for range 2 {
			bad := launch(t, good.binary, append([]string{"TOKENHOUSE_DATABASE_URL=" + database, "TOKENHOUSE_DATA_DIR=" + t.TempDir()}, env...)...)
			select {
			case err := <-bad.ended:
				if err == nil || bad.stderr.Len() == 0 {
					t.Errorf("%s: it ended with %v and said %q", what, err, bad.stderr.String())
				}
			case <-bad.ready:
				t.Errorf("%s: it serves", what)
			case <-time.After(startTimeout):
				t.Errorf("%s: it does not end", what)
			}
		}
	}
	close(stop)
	if n := <-served; n < 5 {
		t.Errorf("only %d rounds were served meanwhile", n)
	}
	if err := good.server.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = good.server.Wait()
	good.start() // whatever the others did, it starts again
	good.kill()
}

// FLT-CRASH-05: the server is killed while it ends every session of a user who
// has many. All of them have ended or none has; what was acknowledged has; and
// whoever asks again gets all.
func TestAKilledRevocationOfManyIsAllOrNothing(t *testing.T) {
	sessions := 2_000
	if os.Getenv("TOKENHOUSE_TEST_DRILLS") == "full" {
		sessions = 100_000
	}
	for name, url := range map[string]func(*testing.T) string{
		"SQLite":     func(t *testing.T) string { return "sqlite://" + filepath.Join(t.TempDir(), "crash.db") },
		"PostgreSQL": func(t *testing.T) string { return pgtest.URL(t) },
	} {
		t.Run(name, func(t *testing.T) {
			v := &victim{t: t, binary: tested(t), database: url(t), dir: t.TempDir(), listen: vacant(t), ops: vacant(t)}
			v.start()
			s := signedIn{from: "127.0.0.1"}
			if status, err := v.call(s.from, "POST", "/api/v1/auth/login", "", map[string]string{"email": "admin@crash.localhost", "password": crashSecret}, &s); err != nil || status != http.StatusOK {
				t.Fatalf("login: %d, %v", status, err)
			}
			v.multiply(sessionOf(s.Access), sessions)
			for _, wait := range []time.Duration{5 * time.Millisecond, 40 * time.Millisecond, 150 * time.Millisecond} {
				answered := make(chan int, 1)
				go func() {
					status, _ := v.call(s.from, "DELETE", "/api/v1/sessions", s.Access, nil, nil) // no answer where it is killed first
					answered <- status
				}()
				var status int
				select {
				case status = <-answered:
				case <-time.After(wait):
				}
				v.kill()
				if status == 0 {
					status = <-answered
				}
				v.start()
				ended := v.ended()
				if ended != 0 && ended != sessions || status == http.StatusOK && ended != sessions {
					t.Errorf("after %s, with the answer %d: %d of %d sessions have ended", wait, status, ended, sessions)
				}
				t.Logf("killed after %s, with the answer %d: %d sessions had ended", wait, status, ended)
			}
			if status, err := v.call(s.from, "DELETE", "/api/v1/sessions", s.Access, nil, nil); err != nil || status != http.StatusOK {
				t.Errorf("asked again: %d, %v", status, err)
			}
			if n := v.ended(); n != sessions {
				t.Errorf("%d of %d sessions have ended", n, sessions)
			}
			v.expect(s, "GET", "/api/v1/me", http.StatusOK, "the session that asked")
			v.kill()
		})
	}
}

// open opens the database beside the server.
func (v *victim) open() *sql.DB {
	v.t.Helper()
	driver, dsn := "pgx", v.database
	if file, ok := strings.CutPrefix(v.database, "sqlite://"); ok {
		driver, dsn = "sqlite", "file:"+file+"?_pragma=busy_timeout(5000)"
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(func() { _ = db.Close() })
	return db
}

// multiply makes so many more sessions like one.
func (v *victim) multiply(session string, n int) {
	v.t.Helper()
	db := v.open()
	rows, err := db.Query("SELECT * FROM sessions LIMIT 0")
	if err != nil {
		v.t.Fatal(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err = errors.Join(err, rows.Err(), rows.Close()); err != nil {
		v.t.Fatal(err)
	}
	into := `"` + strings.Join(columns, `", "`) + `"`
	from := strings.Replace(into, `"id"`, `"id" || '-' || s.n`, 1)
	_, err = db.Exec(fmt.Sprintf(`WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < %d)
		INSERT INTO sessions (%s) SELECT %s FROM s, (SELECT * FROM sessions WHERE id = '%s') o`, n, into, from, session))
	if err != nil {
		v.t.Fatal(err)
	}
}

// ended counts the sessions that were revoked.
func (v *victim) ended() (n int) {
	v.t.Helper()
	if err := v.open().QueryRow("SELECT count(*) FROM sessions WHERE revoked_at > 0").Scan(&n); err != nil {
		v.t.Fatal(err)
	}
	return n
}

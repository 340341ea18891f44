package drills_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
	"github.com/tokenhouse/tokenhouse/internal/pgtest"
)

// FLT-DB-24: a real PgBouncer gives every transaction another session. With the
// settings that the documentation names everything works, over two replicas, though
// the wake-ups do not come; with the usual ones of either side the server does not
// start, and says what it was that the pooler would not have.
func TestBehindAPoolerOfTransactions(t *testing.T) {
	database := pgtest.URL(t)
	t.Run("as documented", func(t *testing.T) {
		url := pooled(t, database, "ignore_startup_parameters = statement_timeout,lock_timeout,idle_in_transaction_session_timeout,extra_float_digits")
		h := housetest.Start(t, housetest.Options{Postgres: true, Replicas: 2, Config: func(c *house.Config) {
			c.Database.URL = url + "&default_query_exec_mode=exec"
		}})
		s := h.Login(h.Admin)
		id, key := h.At(1).As(s.Access).CreateKey("k", "agents:read")
		for range 20 { // on whatever session the pooler has
			for i := range h.Replicas {
				h.At(i).WithKey(key).Get("/api/v1/me").Expect(http.StatusOK)
				h.At(i).As(s.Access).Get("/api/v1/sessions").Expect(http.StatusOK)
			}
		}
		h.Advance(time.Minute)
		h.At(1).Refresh(s.Refresh).Expect(http.StatusOK)
		h.Client().TryLogin(h.Admin.Email, "not the password at all").Expect(http.StatusUnauthorized)
		h.Client().As(s.Access).Delete("/api/v1/api-keys/" + id).Expect(http.StatusNoContent)
		for began := time.Now(); h.At(1).WithKey(key).Get("/api/v1/me").Status == http.StatusOK; {
			if time.Since(began) > 2*time.Second {
				t.Fatal("a revocation does not reach the other replica in time")
			}
		}
		if err := h.House().Tend(t.Context()); err != nil {
			t.Errorf("the work in the background: %v", err)
		}
	})
	t.Run("parameters that it does not take", func(t *testing.T) {
		url := pooled(t, database, "")
		if err := opened(t, url); err == nil || !strings.Contains(err.Error(), "unsupported startup parameter") || strings.Contains(err.Error(), url) {
			t.Errorf("opened: %v", err)
		}
	})
}

// mayOpen is a user who is not root and may use the server's socket, where host is
// the directory that has one.
func mayOpen(t *testing.T, host string) *syscall.Credential {
	t.Helper()
	if !filepath.IsAbs(host) {
		return &syscall.Credential{Uid: 65534, Gid: 65534}
	}
	info, err := os.Stat(host)
	if err != nil {
		t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	return &syscall.Credential{Uid: owner.Uid, Gid: owner.Gid}
}

// pooled runs a PgBouncer before a database, and returns the URL through it.
func pooled(t *testing.T, database, setting string) string {
	t.Helper()
	to, err := pgx.ParseConfig(database)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	_ = l.Close()
	dir := t.TempDir()
	password := ""
	if to.Password != "" {
		password = " password=" + to.Password
	}
	conf := fmt.Sprintf(`[databases]
%s = host=%s port=%d user=%s%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %s
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 6
%s
`, to.Database, to.Host, to.Port, to.User, password, port, setting)
	file := filepath.Join(dir, "pgbouncer.ini")
	if err := os.WriteFile(file, []byte(conf), 0o644); err != nil { //nolint:gosec // read by another user
		t.Fatal(err)
	}
	for d := dir; d != os.TempDir() && len(d) > 1; d = filepath.Dir(d) {
		_ = os.Chmod(d, 0o755) //nolint:gosec // the same
	}
	program := "pgbouncer"
	if _, err := exec.LookPath(program); err != nil {
		program = "/usr/sbin/pgbouncer"
	}
	cmd := exec.Command(program, file)
	if os.Getuid() == 0 { // it does not run as root
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: mayOpen(t, to.Host)}
	}
	var log strings.Builder
	cmd.Stderr, cmd.Stdout = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatalf("PgBouncer is needed to test what stands before PostgreSQL (Debian: apt-get install pgbouncer): %v", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	for began := time.Now(); ; {
		conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", port))
		if err == nil {
			_ = conn.Close()
			break
		}
		if time.Since(began) > patience {
			t.Fatal("PgBouncer does not start")
		}
	}
	return fmt.Sprintf("postgres://%s@127.0.0.1:%s/%s?sslmode=disable", to.User, port, to.Database)
}

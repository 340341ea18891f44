package pgtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// asHelper names the environment variable that makes this test binary play another test process; see TestMain.
const asHelper = "TOKENHOUSE_PGTEST_HELPER"

// TestMain lets the binary be started as a second test process, which says what it made and then ends as it was told.
func TestMain(m *testing.M) {
	role := os.Getenv(asHelper)
	if role == "" {
		os.Exit(m.Run())
	}
	t := &helper{TB: &testing.T{}}
	switch role {
	case "cluster, panic", "cluster, killed":
		fmt.Println(must(StartCluster()).dir)
		if role == "cluster, panic" {
			panic("as told")
		}
	case "database, killed":
		fmt.Println(URL(t))
	}
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n') // until killed
}

// helper stands in for a test in a process that never gets as far as its cleanups.
type helper struct{ testing.TB }

func (*helper) Helper()           {}
func (*helper) Cleanup(func())    {}
func (*helper) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// process starts this binary in a role and gives it with the line it printed.
func process(t *testing.T, role, server string) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), asHelper+"="+role, EnvServer+"="+server)
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("%s said nothing: %v", role, err)
	}
	return cmd, strings.TrimSpace(line)
}

// eventually waits until what holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for again := time.Tick(10 * time.Millisecond); !holds(); {
		select {
		case <-again:
		case <-ctx.Done():
			t.Fatalf("still not so: %s", what)
		}
	}
}

func TestAClusterGoesWithAProcessThatPanicsOrIsKilled(t *testing.T) {
	for _, role := range []string{"cluster, panic", "cluster, killed"} {
		t.Run(role, func(t *testing.T) {
			cmd, dir := process(t, role, "")
			if role == "cluster, killed" {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
			if err := cmd.Wait(); err == nil {
				t.Fatal("the process ended well")
			}
			eventually(t, dir+" is gone", func() bool {
				_, err := os.Stat(dir)
				return errors.Is(err, fs.ErrNotExist)
			})
			if _, err := pgx.Connect(t.Context(), "postgres://postgres@/postgres?host="+dir); err == nil {
				t.Error("the server still answers")
			}
		})
	}
}

func TestOnAGivenServerWhatAKilledProcessLeftIsSweptAndALivingOnesIsNot(t *testing.T) {
	c := Private(t)
	dead, left := process(t, "database, killed", c.URL())
	_, used := process(t, "database, killed", c.URL())
	if err := dead.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = dead.Wait()
	admin := connect(t, c.URL())
	if !one[bool](t, admin, exists, name(t, left)) {
		t.Fatal("nothing was left behind; this test proves nothing")
	}
	eventually(t, "the server noticed that the process is gone", func() bool {
		return one[int](t, admin, "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE '"+prefix+"%'") == 1
	})
	s, err := openGiven(c.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.alive.Close(context.Background()) })
	if one[bool](t, admin, exists, name(t, left)) {
		t.Error("the database left behind is still there")
	}
	if !one[bool](t, admin, exists, name(t, used)) {
		t.Error("the database of the living process is gone")
	}
}

func TestAPrivateServerStopsStartsAndIsKilledKeepingWhatWasCommitted(t *testing.T) {
	c := Private(t)
	address := c.Database(t)
	run(t, connect(t, address), "CREATE TABLE kept (n int)")
	for n, end := range []func() error{c.Stop, c.Kill, c.Kill, c.Stop} {
		run(t, connect(t, address), fmt.Sprintf("INSERT INTO kept VALUES (%d)", n))
		if err := end(); err != nil {
			t.Fatal(err)
		}
		if _, err := pgx.Connect(t.Context(), address); err == nil {
			t.Fatal("a server that was ended still answers")
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		if got := one[int](t, connect(t, address), "SELECT count(*) FROM kept"); got != n+1 {
			t.Errorf("after %d ends: %d rows, want %d", n+1, got, n+1)
		}
	}
}

func TestEndingAServerThatDoesNotRunIsAnError(t *testing.T) {
	c := Private(t)
	if err := c.Stop(); err != nil {
		t.Fatal(err)
	}
	if c.Stop() == nil || c.Kill() == nil {
		t.Error("ended twice without an error")
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	c, err := StartCluster()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(c.dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s: %v", c.dir, err)
	}
}

package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tokenhouse/tokenhouse/internal/pgtest"
)

// told runs withpostgres on a command that writes down the server it was given, and gives that.
func told(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "server")
	if code, err := run([]string{"sh", "-c", `printf %s "$` + pgtest.EnvServer + `" >"$0"`, file}); err != nil || code != 0 {
		t.Fatalf("code %d, %v", code, err)
	}
	server, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(server)
}

func TestTheServerGivenIsTheOneUsed(t *testing.T) {
	t.Setenv(pgtest.EnvServer, "postgres://given")
	if got := told(t); got != "postgres://given" {
		t.Errorf("the command was told %q", got)
	}
}

func TestElseAClusterRunsAsLongAsTheCommand(t *testing.T) {
	t.Setenv(pgtest.EnvServer, "")
	_, dir, ok := strings.Cut(told(t), "?host=")
	if !ok {
		t.Fatal("the command was told no server")
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", dir, err)
	}
}

func TestWhatEndsItEndsAllThatTheCommandStarted(t *testing.T) {
	t.Setenv(pgtest.EnvServer, "postgres://given")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	// The grandchild holds the pipe open: its end is the end of the grandchild.
	stdout := os.Stdout
	os.Stdout = w
	defer func() { os.Stdout = stdout }()
	code, err := run([]string{"sh", "-c", "sleep 600 & kill -TERM $PPID; wait"})
	if code == 0 || err != nil {
		t.Errorf("code %d, %v", code, err)
	}
	w.Close()
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the grandchild lives: %v", err)
	}
}

func TestTheExitCodeIsTheCommands(t *testing.T) {
	t.Setenv(pgtest.EnvServer, "postgres://given")
	for script, want := range map[string]int{"exit 7": 7, "kill -9 $$": 1} {
		if code, err := run([]string{"sh", "-c", script}); err != nil || code != want {
			t.Errorf("%s: code %d, %v; want %d", script, code, err, want)
		}
	}
	if code, err := run([]string{"no-such-command"}); err == nil || code != 1 {
		t.Errorf("a command that is not there: code %d, %v", code, err)
	}
	if code, err := run(nil); err == nil || code != 2 {
		t.Errorf("no command: code %d, %v", code, err)
	}
}

// Command withpostgres runs a command that finds a real PostgreSQL in TOKENHOUSE_TEST_POSTGRES_URL: the one named there already,
// else a throw-away cluster that all processes of the command share and that is removed after it.
//
//	go run ./internal/pgtest/withpostgres go test ./...
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/tokenhouse/tokenhouse/internal/pgtest"
)

func main() {
	code, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

// run gives the exit code of the command.
func run(args []string) (code int, err error) {
	if len(args) == 0 {
		return 2, errors.New("usage: withpostgres COMMAND [ARGUMENT...]")
	}
	if os.Getenv(pgtest.EnvServer) == "" {
		cluster, err := pgtest.StartCluster()
		if err != nil {
			return 1, err
		}
		defer func() { err = errors.Join(err, cluster.Close()) }()
		if err := os.Setenv(pgtest.EnvServer, cluster.URL()); err != nil {
			return 1, err
		}
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	// Whoever ends us ends all that the command has started, or it would go on without a database. We outlive it to clean up.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return 1, err
	}
	go func() {
		for s := range signals {
			_ = syscall.Kill(-cmd.Process.Pid, s.(syscall.Signal)) // they may have ended
		}
	}()
	var failed *exec.ExitError
	if err := cmd.Wait(); errors.As(err, &failed) {
		return max(failed.ExitCode(), 1), nil // -1: ended by a signal
	} else if err != nil {
		return 1, err
	}
	return 0, nil
}

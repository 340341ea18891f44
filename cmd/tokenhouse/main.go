// Command tokenhouse is a token server: it logs people in, refreshes and
// revokes their sessions, and makes API keys. See `tokenhouse help`.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// version is set by the linker.
var version = "unreleased"

func main() {
	os.Exit(start())
}

// start is main with an exit code, so that deferred calls run.
func start() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// After the first signal the default comes back: a second one ends the
	// process at once.
	context.AfterFunc(ctx, stop)
	p := process{
		Args: os.Args[1:], Environ: os.Environ(),
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Now: time.Now,
	}
	return p.run(ctx)
}

// process is what a command sees of the world. Tests make their own.
type process struct {
	Args    []string
	Environ []string
	Stdin   io.Reader
	Stdout  io.Writer // what the user asked for
	Stderr  io.Writer // logs, progress and errors
	Now     func() time.Time
}

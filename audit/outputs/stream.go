package outputs

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/tokenhouse/tokenhouse/audit"
)

// writer writes one line for each event.
type writer struct {
	Target
	version string
	to      io.Writer
}

func (w writer) send(_ context.Context, events []audit.Event) error {
	var lines []byte
	for _, e := range events {
		line, err := w.encode(e, w.version)
		if err != nil {
			return err
		}
		lines = append(append(lines, line...), '\n')
	}
	_, err := w.to.Write(lines)
	return err
}

// file appends to a file, which it opens each time: whoever rotates logs may
// move it away. The events are on the disk when send returns.
type file struct {
	Target
	version string
}

func (f file) send(ctx context.Context, events []audit.Event) (err error) {
	to, err := os.OpenFile(f.address, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if e := to.Close(); err == nil {
			err = e
		}
	}()
	if err := (writer{f.Target, f.version, to}).send(ctx, events); err != nil {
		return err
	}
	if err := to.Sync(); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	return nil
}

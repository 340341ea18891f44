package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/house"
)

const (
	// tailMost is how many events are read at once, and may be asked for.
	tailMost = 1000
	// tailEvery is how often a tail looks for more: a server seals as often.
	tailEvery = time.Second
)

func (p *process) auditTailCommand() *cobra.Command {
	c := outputFlag(&cobra.Command{
		Use:   "tail",
		Short: "Print the newest events of the audit log, and those that come",
		Long: `Prints the newest events, oldest first, one a line, and with --follow those that
come until it is interrupted: each once, within some two seconds of its commit,
whichever replica recorded it. --output json prints the events of an export,
without what proves them; "tokenhouse audit export" has that.`,
		Example: `  tokenhouse audit tail --follow
  tokenhouse audit tail --org acme --lines 100 --output json | jq 'select(.outcome != "success")'`,
		RunE: func(c *cobra.Command, _ []string) error {
			return p.withHouse(c, func(ctx context.Context, h *house.House) error { return p.tailAudit(ctx, c, h) })
		},
	})
	c.Flags().BoolP("follow", "f", false, "go on with what comes")
	c.Flags().IntP("lines", "n", 10, "how many events to begin with")
	c.Flags().String("org", "", "slug of the organisation; the whole deployment where it is left out")
	return c
}

func (p *process) tailAudit(ctx context.Context, c *cobra.Command, h *house.House) error {
	lines, _ := c.Flags().GetInt("lines")
	follow, _ := c.Flags().GetBool("follow")
	if lines < 0 || lines > tailMost {
		return fmt.Errorf("--lines is from 0 to %d", tailMost)
	}
	show := printEvent
	if asJSON, err := wantsJSON(c); err != nil {
		return err
	} else if asJSON {
		show = func(w io.Writer, l audit.Line) error { return json.NewEncoder(w).Encode(l) }
	}
	extent, err := p.auditExtent(ctx, c, h)
	if err != nil {
		return err
	}
	extent.After = -1
	sealer, again := h.AuditSealer(), time.NewTicker(tailEvery)
	defer again.Stop()
	for limit := lines; ; limit = tailMost {
		if _, err := sealer.Store.Seal(ctx); err != nil { // no server may be running
			return unlessEnded(ctx, err)
		}
		tail, err := sealer.Tail(ctx, extent, limit)
		if err != nil {
			return unlessEnded(ctx, err)
		}
		for _, l := range tail.Lines {
			if err := show(p.Stdout, l); err != nil {
				return err
			}
		}
		moved := tail.After > extent.After
		switch extent.After = tail.After; {
		case !follow:
			return nil
		case limit == tailMost && moved:
			continue // there may be more already
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// unlessEnded is no error where somebody ended the command.
func unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}

// printEvent writes an event for people, on one line.
func printEvent(w io.Writer, l audit.Line) error {
	words := []string{l.Time, l.Code, string(l.Event), string(l.Outcome)}
	for _, w := range []struct{ name, value string }{
		{"reason", l.Reason}, {"ip", l.IP}, {"actor", strings.TrimSuffix(l.Actor.Type+":"+l.Actor.ID, ":")}, {"org", string(l.Org)}, {"request", string(l.Request)},
	} {
		if w.value != "" {
			words = append(words, w.name+"="+w.value)
		}
	}
	for _, t := range l.Targets {
		words = append(words, t.Type+"="+t.ID)
	}
	_, err := fmt.Fprintln(w, oneLine(strings.Join(words, " ")))
	return err
}

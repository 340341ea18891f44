package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/keys/masterkey"
)

// settle is how long a change waits for other replicas to hear of it: longer
// than one may be out of reach of the log of changes and still work.
const settle = 12 * time.Second

func (p *process) masterKeyCommand() *cobra.Command {
	status := outputFlag(&cobra.Command{
		Use:     "status",
		Short:   "Tell what is sealed under which master key",
		Example: "  tokenhouse master-key status",
		RunE: func(c *cobra.Command, _ []string) error {
			return p.withHouse(c, func(ctx context.Context, h *house.House) error {
				uses, err := h.MasterKey().Status(ctx)
				if err != nil {
					return err
				}
				return printList(c, uses, masterKeyUseViewOf, []column[masterkey.Use]{
					{"fingerprint", func(u masterkey.Use) string { return u.Fingerprint }},
					{"sealed values", func(u masterkey.Use) string { return strconv.Itoa(u.Values) }},
					{"configured as", func(u masterkey.Use) string { return masterKeyUseViewOf(u).ConfiguredAs }},
					{"in use", func(u masterkey.Use) string { return map[bool]string{true: "yes", false: "no"}[u.Current] }},
				})
			})
		},
	})
	rewrap := outputFlag(&cobra.Command{
		Use:   "rewrap",
		Short: "Have the key management service wrap the master key with its newest key",
		Long: `Asks the key management service to wrap the master key anew, after its own key
was rotated there. The master key stays the same and servers notice nothing.`,
		Example: "  tokenhouse master-key rewrap",
		RunE: func(c *cobra.Command, _ []string) error {
			return p.withHouse(c, func(ctx context.Context, h *house.House) error {
				if err := h.MasterKey().Rewrap(ctx, h.Operator("")); err != nil {
					return err
				}
				return printThing(c, map[string]any{"rewrapped": true}, field{"rewrapped", "yes"})
			})
		},
	})
	return group("master-key", "Look at the master key and change it", status, p.changeMasterKeyCommand(), rewrap)
}

func (p *process) changeMasterKeyCommand() *cobra.Command {
	change := outputFlag(&cobra.Command{
		Use:   "change",
		Short: "Seal everything under the configured master key",
		Long: `Seals everything that lies sealed in the database under the configured master
key: signing keys, secrets, client secrets. What it was sealed under before must be
configured as the previous one, here and at every server that runs meanwhile.

It may be interrupted and run again. When it is done, the previous master key is
needed no more: remove it from the configuration at the next restart.`,
		Example: `  TOKENHOUSE_MASTER_KEY_FILE=new.key TOKENHOUSE_MASTER_KEY_PREVIOUS_FILE=old.key tokenhouse master-key change`,
		RunE: func(c *cobra.Command, _ []string) error {
			wait, _ := c.Flags().GetDuration("settle")
			return p.withHouse(c, func(ctx context.Context, h *house.House) error {
				line := p.progress("values are sealed anew")
				done, err := h.MasterKey().Change(ctx, h.Operator(""), masterkey.Progress{Sealed: line.add, Settle: waitFor(wait)})
				line.done()
				if err != nil {
					return err
				}
				if n := len(done.Damaged); n > 0 {
					return fmt.Errorf("%s could not be opened and stay as they are: %v; keep the previous master key", plural(n, "value"), done.Damaged)
				}
				return printThing(c, map[string]any{"fingerprint": done.Fingerprint, "sealed": done.Sealed},
					field{"fingerprint", done.Fingerprint}, field{"values sealed anew", strconv.Itoa(done.Sealed)})
			})
		},
	})
	change.Flags().Duration("settle", settle, "how long to wait for servers that have not heard of the change yet")
	return change
}

func waitFor(d time.Duration) func(context.Context) error {
	return func(ctx context.Context) error {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

type masterKeyUseView struct {
	Fingerprint  string `json:"fingerprint"`
	Values       int    `json:"sealed_values"`
	ConfiguredAs string `json:"configured_as"`
	InUse        bool   `json:"in_use"`
}

func masterKeyUseViewOf(u masterkey.Use) masterKeyUseView {
	as := "unknown"
	switch {
	case u.Given:
		as = "master key"
	case u.Known:
		as = "previous"
	}
	return masterKeyUseView{u.Fingerprint, u.Values, as, u.Current}
}

package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/keys/signing"
)

func (p *process) signingKeyCommand() *cobra.Command {
	list := outputFlag(&cobra.Command{
		Use:     "list",
		Short:   "List the keys that sign tokens, oldest first",
		Example: "  tokenhouse signing-key list",
		RunE: func(c *cobra.Command, _ []string) error {
			return p.withHouse(c, func(ctx context.Context, h *house.House) error {
				keys, err := h.Ring.Keys(ctx)
				if err != nil {
					return err
				}
				return printList(c, keys, signingKeyViewOf, []column[signing.Key]{
					{"kid", func(k signing.Key) string { return k.ID }},
					{"algorithm", func(k signing.Key) string { return k.Algorithm }},
					{"state", func(k signing.Key) string { return string(k.State) }},
					{"created", func(k signing.Key) string { return stamp(k.CreatedAt) }},
				})
			})
		},
	})
	return group("signing-key", "Look at the keys that sign tokens", list)
}

type signingKeyView struct {
	ID          string  `json:"kid"`
	Algorithm   string  `json:"algorithm"`
	State       string  `json:"state"`
	CreatedAt   string  `json:"created_at"`
	ActivatedAt *string `json:"activated_at"`
	RetiredAt   *string `json:"retired_at"`
}

func signingKeyViewOf(k signing.Key) signingKeyView {
	return signingKeyView{k.ID, k.Algorithm, string(k.State), stamp(k.CreatedAt), stampOrNull(k.ActivatedAt), stampOrNull(k.RetiredAt)}
}

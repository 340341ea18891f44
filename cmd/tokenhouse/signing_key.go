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
				return printSigningKeys(c, keys)
			})
		},
	})
	rotate := outputFlag(&cobra.Command{
		Use:   "rotate",
		Short: "Sign with new keys from now on",
		Long: `Makes new keys and signs with them from now on. The keys so far stay in the
JWK Set until everything they signed has expired; then they are removed.`,
		Example: "  tokenhouse signing-key rotate --algorithm ES256",
		RunE: func(c *cobra.Command, _ []string) error {
			named, _ := c.Flags().GetStringArray("algorithm")
			return p.withHouse(c, func(ctx context.Context, h *house.House) error {
				fresh, err := h.Ring.Rotate(ctx, h.Operator(""), named...)
				if err != nil {
					return err
				}
				return printSigningKeys(c, fresh)
			})
		},
	})
	rotate.Flags().StringArray("algorithm", nil, "the algorithm whose key is replaced; repeat for more; all where left out")
	return group("signing-key", "Look at the keys that sign tokens, and replace them", list, rotate)
}

func printSigningKeys(c *cobra.Command, keys []signing.Key) error {
	return printList(c, keys, signingKeyViewOf, []column[signing.Key]{
		{"kid", func(k signing.Key) string { return k.ID }},
		{"algorithm", func(k signing.Key) string { return k.Algorithm }},
		{"state", func(k signing.Key) string { return string(k.State) }},
		{"created", func(k signing.Key) string { return stamp(k.CreatedAt) }},
	})
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

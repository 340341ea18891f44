package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/tokenhouse/tokenhouse/internal/fault"
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
		Short: "Replace the keys that sign tokens",
		Long: `Makes the next keys and publishes them. A running server signs with them some
minutes later, when every verifier that keeps the JWK Set as long as it may knows
them. The keys so far stay there until everything they signed has expired; then
they are removed.

With --now they sign at once. A verifier that does not fetch the set anew for a
key it does not know then refuses the new tokens for as long as it keeps the set.`,
		Example: "  tokenhouse signing-key rotate --algorithm ES256",
		RunE: func(c *cobra.Command, _ []string) error {
			named, _ := c.Flags().GetStringArray("algorithm")
			return p.withHouse(c, func(ctx context.Context, h *house.House) error {
				rotate := h.Ring.Rotate
				if now, _ := c.Flags().GetBool("now"); now {
					rotate = h.Ring.RotateNow
				}
				fresh, err := rotate(ctx, h.Operator(""), named...)
				if err != nil {
					return err
				}
				return printSigningKeys(c, fresh)
			})
		},
	})
	rotate.Flags().StringArray("algorithm", nil, "the algorithm whose key is replaced; repeat for more; all where left out")
	rotate.Flags().Bool("now", false, "sign at once with keys that verifiers may not know yet")
	return group("signing-key", "Look at the keys that sign tokens, replace and revoke them", list, rotate, p.revokeSigningKeyCommand())
}

func (p *process) revokeSigningKeyCommand() *cobra.Command {
	revoke := outputFlag(&cobra.Command{
		Use:   "revoke KID",
		Short: "Refuse everything that a key signed",
		Long: `Takes a key out of the JWK Set: every token that it signed is refused from now
on, and whoever had one logs in again or refreshes. Where the key was the active
one, another of its algorithm signs. Write -- before a kid that begins with a dash.`,
		Example: "  tokenhouse signing-key revoke NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
		RunE: func(c *cobra.Command, _ []string) error {
			kid := c.Flags().Arg(0)
			return p.withHouse(c, func(ctx context.Context, h *house.House) error {
				err := h.Ring.Revoke(ctx, h.Operator(""), kid)
				if errors.Is(err, fault.NotFound) {
					return errors.New("there is no signing key of that kid: see tokenhouse signing-key list")
				}
				if err != nil {
					return err
				}
				return printThing(c, map[string]any{"kid": kid, "revoked": true}, field{"kid", kid}, field{"revoked", "yes"})
			})
		},
	})
	revoke.Args = exactly("the kid of the key")
	return revoke
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

package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
)

func (p *process) keyPolicyCommand() *cobra.Command {
	show := p.userDo("show", "Show what an organisation lets its API keys be", "  tokenhouse org key-policy show --org acme", p.showKeyPolicy)
	set := p.userDo("set", "Change what an organisation lets its API keys be",
		`  tokenhouse org key-policy set --org acme --permission agents:* --permission metrics:read --max-lifetime 2160h
  tokenhouse org key-policy set --org acme --permission *:* --max-lifetime 0s`, p.setKeyPolicy)
	set.Long = `Changes the policy of an organisation for its API keys, whoever owns them. It
holds at every use: keys that exist already lose what it does not permit, and
end when they are older than it lets them be. What no flag names stays.`
	set.Flags().StringArray("permission", nil, "permission that keys may hold at most, may be repeated; *:* takes the ceiling away")
	set.Flags().Duration("max-lifetime", 0, "how long a key lives from its creation, 1h to 87600h; 0s takes the bound away")
	return group("key-policy", "Bound what the API keys of an organisation may be", show, set)
}

type keyPolicyView struct {
	Permissions []string `json:"permissions"`
	MaxLifetime *string  `json:"max_lifetime"`
}

func printKeyPolicy(c *cobra.Command, p apikeys.Policy) error {
	view, life := keyPolicyView{Permissions: p.Ceiling().Strings()}, "unbounded"
	if p.MaxLifetime > 0 {
		life = apikeys.PeriodText(p.MaxLifetime)
		view.MaxLifetime = &life
	}
	return printThing(c, view, field{"permissions", strings.Join(view.Permissions, " ")}, field{"max lifetime", life})
}

func (p *process) showKeyPolicy(ctx context.Context, c *cobra.Command, h *house.House, caller ident.Caller) error {
	policy, err := h.APIKeys.Policy(ctx, caller)
	if err != nil {
		return err
	}
	return printKeyPolicy(c, policy)
}

func (p *process) setKeyPolicy(ctx context.Context, c *cobra.Command, h *house.House, caller ident.Caller) error {
	var changes apikeys.PolicyChanges
	if c.Flags().Changed("permission") {
		permissions, err := c.Flags().GetStringArray("permission")
		if err != nil {
			return err
		}
		changes.Permissions = &permissions
	}
	if c.Flags().Changed("max-lifetime") {
		changes.MaxLifetime = new(time.Duration)
		*changes.MaxLifetime, _ = c.Flags().GetDuration("max-lifetime")
	}
	if changes == (apikeys.PolicyChanges{}) {
		return errors.New("say what shall change: --permission, --max-lifetime or both")
	}
	policy, err := h.APIKeys.SetPolicy(ctx, caller, changes)
	if err != nil {
		return err
	}
	return printKeyPolicy(c, policy)
}

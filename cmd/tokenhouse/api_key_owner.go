package main

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
)

func (p *process) transferAPIKeyCommand() *cobra.Command {
	c := p.userDo("transfer ID", "Give an API key to another owner", "  tokenhouse api-key transfer key_01j… --org acme --owner deploy-bot", p.transferAPIKey)
	c.Long = `Gives an API key to another owner, whose role caps it from then on. The key
itself stays the same: rotate it where the owner before should no longer have it.`
	c.Args = exactly("the id of the key")
	c.Flags().String("owner", "", "name or id of a service account, or e-mail address or id of a member")
	required(c, "owner")
	return c
}

func (p *process) transferAPIKey(ctx context.Context, c *cobra.Command, h *house.House, caller ident.Caller) error {
	id, err := apiKeyID(c)
	if err != nil {
		return err
	}
	owner, err := ownerFlag(ctx, c, h, caller)
	if err != nil {
		return err
	}
	k, err := h.APIKeys.Transfer(ctx, caller, id, owner)
	if err != nil {
		return noSuchKey(err, id)
	}
	return printThing(c, apiKeyViewOf(k), field{"id", string(k.ID)}, field{"owner", string(k.Owner)}, field{"status", string(k.Status)})
}

// ownerFlag is the owner that --owner names: a service account by its name or
// id, or a person by e-mail address or id; empty where it is left out.
func ownerFlag(ctx context.Context, c *cobra.Command, h *house.House, caller ident.Caller) (ident.UserID, error) {
	name, _ := c.Flags().GetString("owner")
	if name == "" {
		return "", nil
	}
	if _, err := ident.ParseUserID(name); err == nil || strings.Contains(name, "@") {
		return findUser(ctx, h, caller, name)
	}
	s, err := findServiceAccount(ctx, h, caller, name)
	return s.ID, err
}

// newOwner is ownerFlag for a key that is made.
func newOwner(ctx context.Context, c *cobra.Command, h *house.House, caller ident.Caller) (ident.UserID, error) {
	owner, err := ownerFlag(ctx, c, h, caller)
	if err != nil || owner != "" {
		return owner, err
	}
	return oldestOwner(ctx, h, caller)
}

// oldestOwner is who owns a key that the operator makes for nobody in particular.
func oldestOwner(ctx context.Context, h *house.House, caller ident.Caller) (ident.UserID, error) {
	members, err := allMembers(ctx, h, caller)
	if err != nil {
		return "", err
	}
	var oldest *accounts.Member
	for i, m := range members {
		if m.Role == accounts.RoleOwner && m.Status == accounts.Active && (oldest == nil || m.JoinedAt.Before(oldest.JoinedAt)) {
			oldest = &members[i]
		}
	}
	if oldest == nil {
		return "", errors.New("the organisation has no active owner: say --owner with a member's e-mail address or a service account's name")
	}
	return oldest.ID, nil
}

// keyFilterFlags adds what a list of keys can be narrowed to.
func keyFilterFlags(c *cobra.Command) {
	c.Flags().String("status", "", "only those that are active, rotation_due, owner_inactive, quarantined, expired or revoked")
	c.Flags().String("owner", "", "only those of a service account, by its name or id, or of a member, by e-mail address or id")
}

func keyFilter(ctx context.Context, c *cobra.Command, h *house.House, caller ident.Caller) (apikeys.Filter, error) {
	status, _ := c.Flags().GetString("status")
	owner, err := ownerFlag(ctx, c, h, caller)
	return apikeys.Filter{Owner: owner, Status: apikeys.Status(status)}, err
}

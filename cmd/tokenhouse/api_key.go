package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
)

func (p *process) apiKeyCommand() *cobra.Command {
	create := p.userDo("create", "Make an API key and print it, once", "  tokenhouse api-key create --name prod-agent --org acme --permission agents:read --permission agents:create", p.createAPIKey)
	create.Long = `Makes an API key. It is printed now and can never be shown again. It permits no
more than its owner's role does at the time of each use.`
	create.Flags().String("name", "", "what the key is for")
	create.Flags().StringSlice("permission", nil, "resource:action, either of which may be *; repeat for more")
	create.Flags().String("preset", "", "admin-agent instead of permissions: metrics:read agents:*")
	create.Flags().String("owner", "", "its owner: name or id of a service account, or e-mail address or id of a member; the oldest owner of the organisation where left out")
	create.Flags().Duration("expires-in", 0, "life of the key, such as 2160h; it never expires where left out")
	create.Flags().StringSlice("network", nil, "use the key from there only: 192.0.2.0/24, 2001:db8::/32 or an address; repeat for more")
	create.Flags().StringSlice("limit", nil, "requests in each window, such as 100/1m; repeat for more")
	create.Flags().String("quota", "", "requests in each day or month of UTC, such as 100000/month")
	required(create, "name")
	create.MarkFlagsOneRequired("permission", "preset")
	create.MarkFlagsMutuallyExclusive("permission", "preset")

	list := p.userDo("list", "List the API keys of an organisation, newest first", "  tokenhouse api-key list --org acme", p.listAPIKeys)
	keyFilterFlags(list)
	rotate := p.userDo("rotate ID", "Give an API key a new secret and print it, once", "  tokenhouse api-key rotate key_01j… --org acme --grace 24h", p.rotateAPIKey)
	rotate.Args = exactly("the id of the key")
	rotate.Flags().Duration("grace", 24*time.Hour, "how long the old secret still works; 0s ends it at once")
	revoke := p.userDo("revoke ID", "End an API key, and the keys that it made", "  tokenhouse api-key revoke key_01j… --org acme", p.revokeAPIKey)
	revoke.Args = exactly("the id of the key")
	return group("api-key", "Manage API keys", create, list, rotate, p.transferAPIKeyCommand(), revoke, p.apiKeyUsageCommand(),
		p.apiKeyScanCommand(), p.scannerRulesCommand(), p.apiKeyImportCommand())
}

type apiKeyView struct {
	ID          ident.APIKeyID `json:"id"`
	Name        string         `json:"name"`
	APIKey      string         `json:"api_key,omitempty"` // at creation and rotation only
	Hint        string         `json:"hint"`
	Permissions []string       `json:"permissions"`
	Owner       ident.UserID   `json:"owner"`
	Status      string         `json:"status"`
	CreatedAt   string         `json:"created_at"`
	ExpiresAt   *string        `json:"expires_at"`
	LastUsedAt  *string        `json:"last_used_at"`
	keyRulesView
}

func apiKeyViewOf(k apikeys.Key) apiKeyView {
	return apiKeyView{
		ID: k.ID, Name: k.Name, Hint: k.Hint(), Permissions: permissionsOf(k), Owner: k.Owner, Status: string(k.Status),
		CreatedAt: stamp(k.CreatedAt), ExpiresAt: stampOrNull(k.ExpiresAt), LastUsedAt: stampOrNull(k.LastUsed.At),
		keyRulesView: keyRulesViewOf(k.Rules),
	}
}

func stampOrNull(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	s := stamp(t)
	return &s
}

func permissionsOf(k apikeys.Key) []string {
	out := make([]string, len(k.Permissions))
	for i, p := range k.Permissions {
		out[i] = string(p)
	}
	return out
}

func (p *process) createAPIKey(ctx context.Context, c *cobra.Command, h *house.House, caller ident.Caller) error {
	n := apikeys.New{}
	n.Name, _ = c.Flags().GetString("name")
	n.Permissions, _ = c.Flags().GetStringSlice("permission")
	n.Preset, _ = c.Flags().GetString("preset")
	if d, _ := c.Flags().GetDuration("expires-in"); d != 0 {
		n.ExpiresAt = p.Now().Add(d)
	}
	var err error
	if n.Rules, err = keyRules(c); err != nil {
		return err
	}
	if n.Owner, err = newOwner(ctx, c, h, caller); err != nil {
		return err
	}
	k, plain, err := h.APIKeys.Create(ctx, caller, n)
	if err != nil {
		return err
	}
	return printNewAPIKey(c, k, plain)
}

func printNewAPIKey(c *cobra.Command, k apikeys.Key, plain secret.Plain) error {
	v := apiKeyViewOf(k)
	v.APIKey = plain.Reveal()
	return printThing(c, v,
		field{"id", string(k.ID)}, field{"api_key", plain.Reveal()},
		field{"permissions", strings.Join(v.Permissions, " ")}, field{"expires", stamp(k.ExpiresAt)})
}

func (p *process) listAPIKeys(ctx context.Context, c *cobra.Command, h *house.House, caller ident.Caller) error {
	f, err := keyFilter(ctx, c, h, caller)
	if err != nil {
		return err
	}
	keys, err := everything(func(pg ident.Page) ([]apikeys.Key, error) { return h.APIKeys.Find(ctx, caller, f, pg) },
		func(k apikeys.Key) string { return string(k.ID) })
	if err != nil {
		return err
	}
	return printList(c, keys, apiKeyViewOf, []column[apikeys.Key]{
		{"id", func(k apikeys.Key) string { return string(k.ID) }},
		{"name", func(k apikeys.Key) string { return k.Name }},
		{"key", apikeys.Key.Hint},
		{"status", func(k apikeys.Key) string { return string(k.Status) }},
		{"owner", func(k apikeys.Key) string { return string(k.Owner) }},
		{"permissions", func(k apikeys.Key) string { return strings.Join(permissionsOf(k), " ") }},
		{"created", func(k apikeys.Key) string { return stamp(k.CreatedAt) }},
		{"last used", func(k apikeys.Key) string { return stamp(k.LastUsed.At) }},
	})
}

func (p *process) rotateAPIKey(ctx context.Context, c *cobra.Command, h *house.House, caller ident.Caller) error {
	id, err := apiKeyID(c)
	if err != nil {
		return err
	}
	grace, _ := c.Flags().GetDuration("grace")
	k, plain, err := h.APIKeys.Rotate(ctx, caller, id, grace)
	if err != nil {
		return noSuchKey(err, id)
	}
	return printNewAPIKey(c, k, plain)
}

func (p *process) revokeAPIKey(ctx context.Context, c *cobra.Command, h *house.House, caller ident.Caller) error {
	id, err := apiKeyID(c)
	if err != nil {
		return err
	}
	if err := h.APIKeys.Revoke(ctx, caller, id); err != nil {
		return noSuchKey(err, id)
	}
	return printThing(c, map[string]any{"id": id, "revoked": true}, field{"id", string(id)}, field{"revoked", "yes"})
}

func apiKeyID(c *cobra.Command) (ident.APIKeyID, error) {
	id, err := ident.ParseAPIKeyID(c.Flags().Arg(0))
	if err != nil {
		// What was typed is not repeated: it may be the key itself.
		return "", errors.New("that is not the id of an API key, which begins with key_; see tokenhouse api-key list")
	}
	return id, nil
}

func noSuchKey(err error, id ident.APIKeyID) error {
	if errors.Is(err, fault.NotFound) {
		return fmt.Errorf("the organisation has no API key %s that could be changed; it may be revoked already: see tokenhouse api-key list", id)
	}
	return err
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/oauth"
)

func (p *process) clientCommand() *cobra.Command {
	create := p.userDo("create", "Register an OAuth client and print its secret, once", `  tokenhouse client create --name worker --org acme --grant client_credentials --scope "agents:read incidents:read"
  tokenhouse client create --name shop --org acme --grant authorization_code,refresh_token --auth-method client_secret_basic \
    --redirect-uri https://shop.example/callback --scope "openid profile"`, p.createClient)
	create.Long = `Registers an OAuth client. Its secret is printed now and can never be shown again.
A client with client_credentials acts for itself, with the permissions of --scope.`
	f := create.Flags()
	f.String("name", "", "what the client is, for people to read")
	f.StringSlice("grant", nil, "authorization_code, refresh_token or client_credentials; repeat or separate with commas")
	f.String("auth-method", string(oauth.AuthSecretBasic), "client_secret_basic, client_secret_post, client_secret_jwt, private_key_jwt or none")
	f.StringArray("redirect-uri", nil, "where people are sent back to, compared character by character; repeat for more")
	f.StringArray("post-logout-redirect-uri", nil, "where people are sent after a logout; repeat for more")
	f.String("backchannel-logout-uri", "", "where logouts are announced, by us to the client")
	f.String("frontchannel-logout-uri", "", "where logouts are announced, by the browser that logs out")
	f.StringArray("scope", nil, `the most it may ask for: permissions, and openid, profile, email, offline_access; separate with blanks`)
	f.String("jwks-file", "", "file with the JWK Set of its public keys, for private_key_jwt and signed requests")
	f.String("jwks-uri", "", "address of that JWK Set instead")
	f.String("pkce", "required", "whether an authorization request needs a code_challenge: required, nonce (or that) or optional; always for a public client")
	f.StringArray("resource", nil, "resource server that its tokens may be for, besides the default audience; repeat for more")
	f.String("id-token-alg", "", "what its ID tokens are signed with; RS256 where left out")
	f.Bool("skip-consent", false, "ask nobody whether to allow it: for an application of the organisation itself")
	f.Bool("open-to-everyone", false, "let people of every organisation sign in, not only members of its own")
	required(create, "name", "grant")
	create.MarkFlagsMutuallyExclusive("jwks-file", "jwks-uri")

	list := p.userDo("list", "List the OAuth clients of an organisation, newest first", "  tokenhouse client list --org acme", p.listClients)
	rotate := p.userDo("rotate-secret ID", "Give an OAuth client a new secret and print it, once", "  tokenhouse client rotate-secret cli_01j… --org acme --grace 24h", p.rotateClientSecret)
	rotate.Args = exactly("the id of the client")
	rotate.Flags().Duration("grace", 24*time.Hour, "how long the old secret still works; 0s ends it at once")
	remove := p.userDo("delete ID", "Delete an OAuth client, and end its access tokens", "  tokenhouse client delete cli_01j… --org acme", p.deleteClient)
	remove.Args = exactly("the id of the client")
	return group("client", "Manage OAuth clients", create, list, rotate, remove)
}

type clientView struct {
	ID         ident.ClientID   `json:"client_id"`
	Secret     string           `json:"client_secret,omitempty"` // at creation and rotation only
	Name       string           `json:"name"`
	AuthMethod oauth.AuthMethod `json:"auth_method"`
	Grants     []string         `json:"grants"`
	Scopes     []string         `json:"scopes"`
	Redirects  []string         `json:"redirect_uris"`
	Status     string           `json:"status"`
	CreatedAt  string           `json:"created_at"`
	CreatedBy  string           `json:"created_by"`
}

func clientViewOf(r oauth.Registered) clientView {
	return clientView{
		ID: r.ID, Name: r.Name, AuthMethod: r.AuthMethod, Grants: orEmpty(r.Grants), Scopes: orEmpty(r.Scopes), Redirects: orEmpty(r.RedirectURIs),
		Status: string(r.Status), CreatedAt: stamp(r.CreatedAt), CreatedBy: r.CreatedBy,
	}
}

// orEmpty is a list that JSON shows as one.
func orEmpty(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

func (p *process) createClient(ctx context.Context, c *cobra.Command, h *house.House, caller ident.Caller) error {
	f := c.Flags()
	n := oauth.Registration{}
	n.Name, _ = f.GetString("name")
	n.Grants, _ = f.GetStringSlice("grant")
	method, _ := f.GetString("auth-method")
	n.AuthMethod = oauth.AuthMethod(method)
	n.RedirectURIs, _ = f.GetStringArray("redirect-uri")
	n.Logout.RedirectURIs, _ = f.GetStringArray("post-logout-redirect-uri")
	n.Logout.BackchannelURI, _ = f.GetString("backchannel-logout-uri")
	scopes, _ := f.GetStringArray("scope")
	n.Scopes = strings.Fields(strings.Join(scopes, " "))
	n.Logout.FrontchannelURI, _ = f.GetString("frontchannel-logout-uri")
	n.Settings = clientSettings(f)
	n.JWKSURI, _ = f.GetString("jwks-uri")
	if file, _ := f.GetString("jwks-file"); file != "" {
		keys, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		n.JWKS = keys
	}
	r, plain, err := h.Clients.Create(ctx, caller, n)
	if err != nil {
		return err
	}
	return printNewClient(c, r, plain)
}

func clientSettings(f *pflag.FlagSet) (s oauth.ClientSettings) {
	if pkce, _ := f.GetString("pkce"); pkce != "required" {
		s.PKCE = oauth.PKCEPolicy(pkce)
	}
	s.Resources, _ = f.GetStringArray("resource")
	s.Signing.IDToken, _ = f.GetString("id-token-alg")
	s.SkipConsent, _ = f.GetBool("skip-consent")
	if everyone, _ := f.GetBool("open-to-everyone"); everyone {
		s.OpenTo = oauth.OpenToEveryone
	}
	return s
}

func printNewClient(c *cobra.Command, r oauth.Registered, plain secret.Plain) error {
	v := clientViewOf(r)
	v.Secret = plain.Reveal()
	lines := []field{{"client_id", string(r.ID)}}
	if !plain.IsZero() {
		lines = append(lines, field{"client_secret", plain.Reveal()})
	}
	return printThing(c, v, append(lines,
		field{"auth_method", string(r.AuthMethod)}, field{"grants", strings.Join(r.Grants, " ")}, field{"scopes", strings.Join(r.Scopes, " ")})...)
}

func (p *process) listClients(ctx context.Context, c *cobra.Command, h *house.House, caller ident.Caller) error {
	found, err := everything(func(pg ident.Page) ([]oauth.Registered, error) { return h.Clients.List(ctx, caller, pg) },
		func(r oauth.Registered) string { return string(r.ID) })
	if err != nil {
		return err
	}
	return printList(c, found, clientViewOf, []column[oauth.Registered]{
		{"client_id", func(r oauth.Registered) string { return string(r.ID) }},
		{"name", func(r oauth.Registered) string { return r.Name }},
		{"auth method", func(r oauth.Registered) string { return string(r.AuthMethod) }},
		{"status", func(r oauth.Registered) string { return string(r.Status) }},
		{"grants", func(r oauth.Registered) string { return strings.Join(r.Grants, " ") }},
		{"scopes", func(r oauth.Registered) string { return strings.Join(r.Scopes, " ") }},
		{"created", func(r oauth.Registered) string { return stamp(r.CreatedAt) }},
	})
}

func (p *process) rotateClientSecret(ctx context.Context, c *cobra.Command, h *house.House, caller ident.Caller) error {
	id, err := clientID(c)
	if err != nil {
		return err
	}
	grace, _ := c.Flags().GetDuration("grace")
	r, plain, err := h.Clients.RotateSecret(ctx, caller, id, grace)
	if err != nil {
		return noSuchClient(err, id)
	}
	return printNewClient(c, r, plain)
}

func (p *process) deleteClient(ctx context.Context, c *cobra.Command, h *house.House, caller ident.Caller) error {
	id, err := clientID(c)
	if err != nil {
		return err
	}
	if err := h.Clients.Delete(ctx, caller, id); err != nil {
		return noSuchClient(err, id)
	}
	return printThing(c, map[string]any{"client_id": id, "deleted": true}, field{"client_id", string(id)}, field{"deleted", "yes"})
}

func clientID(c *cobra.Command) (ident.ClientID, error) {
	id, err := ident.ParseClientID(c.Flags().Arg(0))
	if err != nil {
		// What was typed is not repeated: it may be the secret.
		return "", errors.New("that is not the id of a client, which begins with cli_; see tokenhouse client list")
	}
	return id, nil
}

func noSuchClient(err error, id ident.ClientID) error {
	if errors.Is(err, fault.NotFound) {
		return fmt.Errorf("the organisation has no client %s; see tokenhouse client list", id)
	}
	return err
}

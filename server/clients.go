package server

import (
	"cmp"
	"context"
	"encoding/json"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/oauth"
)

// client is a registered client as every reply shows it: without its secret.
type client struct {
	ID         ident.ClientID     `json:"client_id"`
	Name       string             `json:"name"`
	AuthMethod oauth.AuthMethod   `json:"auth_method"`
	Grants     []string           `json:"grants"`
	Scopes     []string           `json:"scopes"`
	Redirects  []string           `json:"redirect_uris"`
	JWKS       json.RawMessage    `json:"jwks"`
	JWKSURI    *string            `json:"jwks_uri"`
	Status     oauth.ClientStatus `json:"status"`
	CreatedAt  timestamp          `json:"created_at"`
	CreatedBy  string             `json:"created_by"`
	Secrets    []clientSecret     `json:"secrets"` // current first
	clientLogout
	clientPolicy
	oauth.SettingsMetadata // what is not the default
}

// clientLogout is how the client hears of logouts.
type clientLogout struct {
	PostLogout          []string `json:"post_logout_redirect_uris"`
	Backchannel         *string  `json:"backchannel_logout_uri"`
	BackchannelSession  bool     `json:"backchannel_logout_session_required"`
	Frontchannel        *string  `json:"frontchannel_logout_uri"`
	FrontchannelSession bool     `json:"frontchannel_logout_session_required"`
}

// clientPolicy is what its makers decided about a client, and not itself.
type clientPolicy struct {
	PKCE        string    `json:"pkce"`    // required, nonce or optional
	OpenTo      string    `json:"open_to"` // organization or everyone
	SkipConsent bool      `json:"skip_consent"`
	Resources   []string  `json:"resources"`
	ExpiresAt   timestamp `json:"expires_at"` // of one that registered itself with nobody's leave
}

// What the API calls the policies that are the default.
const (
	pkceRequired     = "required"
	openOrganization = "organization"
)

// clientSecret tells how old a secret is, and until when it counts.
type clientSecret struct {
	CreatedAt  timestamp `json:"created_at"`
	ValidUntil timestamp `json:"valid_until"`
}

func clientOf(r oauth.Registered) client {
	out := client{
		ID: r.ID, Name: r.Name, AuthMethod: r.AuthMethod, Grants: listed(r.Grants), Scopes: listed(r.Scopes),
		Redirects: listed(r.RedirectURIs), SettingsMetadata: oauth.SettingsMetadataOf(r.Settings),
		clientLogout: clientLogout{
			PostLogout: listed(r.Logout.RedirectURIs), Backchannel: orNull(r.Logout.BackchannelURI), BackchannelSession: r.Logout.BackchannelSession,
			Frontchannel: orNull(r.Logout.FrontchannelURI), FrontchannelSession: r.Logout.FrontchannelSession,
		},
		clientPolicy: clientPolicy{
			PKCE: cmp.Or(string(r.Settings.PKCE), pkceRequired), OpenTo: cmp.Or(string(r.Settings.OpenTo), openOrganization),
			SkipConsent: r.Settings.SkipConsent, Resources: listed(r.Settings.Resources), ExpiresAt: timestamp{r.Settings.Dynamic.ExpiresAt},
		},
		JWKS: json.RawMessage(r.JWKS), JWKSURI: orNull(r.JWKSURI),
		Status: r.Status, CreatedAt: timestamp{r.CreatedAt}, CreatedBy: r.CreatedBy, Secrets: make([]clientSecret, len(r.Secrets)),
	}
	for i, s := range r.Secrets {
		out.Secrets[i] = clientSecret{timestamp{s.CreatedAt}, timestamp{s.ValidUntil}}
	}
	return out
}

// listed is a list that is never null.
func listed(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// newClient is the only reply that shows the secret of a client.
type newClient struct {
	client
	Secret string `json:"client_secret,omitempty"` // a method without a secret has none
}

func newClientOf(r oauth.Registered, value secret.Plain) newClient {
	return newClient{client: clientOf(r), Secret: value.Reveal()}
}

// keySet is a JWK Set of public keys. It has no member for what is private, so
// that a private key is refused as unknown.
type keySet struct {
	Keys []publicKey `json:"keys"`
}

type publicKey struct {
	Type     string   `json:"kty,omitempty"`
	Use      string   `json:"use,omitempty"`
	Ops      []string `json:"key_ops,omitempty"`
	Alg      string   `json:"alg,omitempty"`
	ID       string   `json:"kid,omitempty"`
	Curve    string   `json:"crv,omitempty"`
	X        string   `json:"x,omitempty"`
	Y        string   `json:"y,omitempty"`
	Modulus  string   `json:"n,omitempty"`
	Exponent string   `json:"e,omitempty"`
}

// text is the set as it is stored; nil for none.
func (k *keySet) text() ([]byte, error) {
	if k == nil {
		return nil, nil
	}
	return json.Marshal(k)
}

type clientRequest struct {
	Name       string   `json:"name"`
	AuthMethod string   `json:"auth_method"`
	Grants     []string `json:"grants"`
	Scopes     []string `json:"scopes"`
	Redirects  []string `json:"redirect_uris"`
	JWKS       *keySet  `json:"jwks"`
	JWKSURI    string   `json:"jwks_uri"`
	clientChoices
}

// clientChoices are what may be said of a client at its creation and later.
type clientChoices struct {
	PKCE        *string   `json:"pkce"`
	OpenTo      *string   `json:"open_to"`
	SkipConsent *bool     `json:"skip_consent"`
	Resources   *[]string `json:"resources"`
	oauth.LogoutMetadata
	oauth.SettingsMetadata
}

// settings puts what is said in the place of what s says.
func (c clientChoices) settings(s *oauth.ClientSettings) {
	if c.PKCE != nil {
		s.PKCE = oauth.PKCEPolicy(*c.PKCE)
		if *c.PKCE == pkceRequired {
			s.PKCE = oauth.PKCERequired
		}
	}
	if c.OpenTo != nil {
		s.OpenTo = oauth.Audience(*c.OpenTo)
		if *c.OpenTo == openOrganization {
			s.OpenTo = oauth.OpenToOrganization
		}
	}
	replace(&s.SkipConsent, c.SkipConsent)
	replace(&s.Resources, c.Resources)
	c.SettingsMetadata.Apply(s)
}

// createClient serves POST /api/v1/clients.
func (s *Server) createClient(ctx context.Context, caller ident.Caller, req clientRequest) (newClient, error) {
	keys, err := req.JWKS.text()
	if err != nil {
		return newClient{}, err
	}
	if refused := fault.Refusals(req.Check()); refused != nil {
		return newClient{}, refused
	}
	n := oauth.Registration{
		Name: req.Name, AuthMethod: oauth.AuthMethod(req.AuthMethod), Grants: req.Grants, Scopes: req.Scopes,
		RedirectURIs: req.Redirects, JWKS: keys, JWKSURI: req.JWKSURI,
	}
	req.settings(&n.Settings)
	req.LogoutMetadata.Apply(&n.Logout)
	r, value, err := s.Services.Clients.Create(ctx, caller, n)
	if err != nil {
		return newClient{}, err
	}
	return newClientOf(r, value), nil
}

type clientList struct{ pageRequest }

func (r *clientList) read(i *input) error { return r.readPage(i) }

// listClients serves GET /api/v1/clients: every client of the organisation.
func (s *Server) listClients(ctx context.Context, caller ident.Caller, req clientList) (page[client], error) {
	found, err := s.Services.Clients.List(ctx, caller, req.ask())
	if err != nil {
		return page[client]{}, err
	}
	return paged(s, req.pageRequest, found, func(r oauth.Registered) string { return string(r.ID) }, clientOf), nil
}

type clientByID struct{ id ident.ClientID }

func (r *clientByID) read(i *input) (err error) {
	r.id, err = pathID(i, "id", ident.ParseClientID)
	return err
}

// getClient serves GET /api/v1/clients/:id.
func (s *Server) getClient(ctx context.Context, caller ident.Caller, req clientByID) (client, error) {
	r, err := s.Services.Clients.Get(ctx, caller, req.id)
	return clientOf(r), err
}

// clientPatch changes what it names; what is absent stays as it is.
type clientPatch struct {
	clientByID
	Name      *string             `json:"name"`
	Status    *oauth.ClientStatus `json:"status"`
	Grants    *[]string           `json:"grants"`
	Scopes    *[]string           `json:"scopes"`
	Redirects *[]string           `json:"redirect_uris"`
	JWKS      *keySet             `json:"jwks"`
	JWKSURI   *string             `json:"jwks_uri"`
	clientChoices
}

// updateClient serves PATCH /api/v1/clients/:id.
func (s *Server) updateClient(ctx context.Context, caller ident.Caller, req clientPatch) (client, error) {
	if refused := fault.Refusals(req.Check()); refused != nil {
		return client{}, refused
	}
	change := oauth.ClientChange{
		Name: req.Name, Status: req.Status, Grants: req.Grants, Scopes: req.Scopes,
		RedirectURIs: req.Redirects, JWKSURI: req.JWKSURI, Logout: req.LogoutMetadata.Apply, Settings: req.settings,
	}
	if req.JWKS != nil {
		keys, err := req.JWKS.text()
		if err != nil {
			return client{}, err
		}
		change.JWKS = &keys
	}
	r, err := s.Services.Clients.Update(ctx, caller, req.id, change)
	return clientOf(r), err
}

type rotateClientSecret struct {
	clientByID
	Grace span `json:"grace"`
}

func (*rotateClientSecret) bodyOptional() {}

// rotateClientSecret serves POST /api/v1/clients/:id/rotate-secret. Without a
// grace the old secret stops working at once.
func (s *Server) rotateClientSecret(ctx context.Context, caller ident.Caller, req rotateClientSecret) (newClient, error) {
	r, value, err := s.Services.Clients.RotateSecret(ctx, caller, req.id, req.Grace.Duration)
	if err != nil {
		return newClient{}, err
	}
	return newClientOf(r, value), nil
}

// deleteClient serves DELETE /api/v1/clients/:id.
func (s *Server) deleteClient(ctx context.Context, caller ident.Caller, req clientByID) (none, error) {
	return none{}, s.Services.Clients.Delete(ctx, caller, req.id)
}

// replace puts value, where there is one, in the place of what was there.
func replace[T any](into, value *T) {
	if value != nil {
		*into = *value
	}
}

package oauth

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// RegistrationMode says who may register a client by itself.
type RegistrationMode string

// The modes.
const (
	RegistrationOff   RegistrationMode = "off"   // nobody
	RegistrationToken RegistrationMode = "token" // whoever has clients:manage: an initial access token (RFC 7591 §3)
	RegistrationOpen  RegistrationMode = "open"  // anybody, within RegistrationLimits, too
)

// RegistrationTokenPrefix starts every registration access token.
const RegistrationTokenPrefix = "thm_"

// RegistrationLimits bound what clients do that nobody vouched for.
type RegistrationLimits struct {
	Living int           // how many there are at most
	Hourly int           // how many one network may register in an hour
	Life   time.Duration // after which one is forgotten
}

// Registrations lets clients register themselves and manage what they
// registered (RFC 7591, RFC 7592). Every field is required; Home only where the
// mode is open.
type Registrations struct {
	Clients *Clients
	Mode    RegistrationMode
	Limits  RegistrationLimits
	// Home is the organisation that open registrations are of.
	Home func(context.Context) (ident.OrgID, error)

	fetches fetchBudget
}

// SelfRegistered is a client that registered itself, with what is never shown
// again. Secret is zero where there is none or it is not new.
type SelfRegistered struct {
	Client Registered
	Secret secret.Plain
	Token  secret.Plain // the registration access token (RFC 7592 §3)
}

// Register registers the client that m describes: in the caller's organisation,
// who needs clients:manage and whatever permission the client may ask for; or,
// where registration is open and the caller anonymous, in its home, without any
// permission and for a time. What is wrong with m is fault.InvalidRedirectURI
// or fault.InvalidClientMetadata; whoever may not at all is
// fault.Unauthenticated or fault.InsufficientPermissions; one too many is
// fault.RateLimited.
func (g *Registrations) Register(ctx context.Context, caller ident.Caller, m ClientMetadata) (SelfRegistered, error) {
	if err := g.MayRegister(caller); err != nil {
		return SelfRegistered{}, err
	}
	open := caller.Kind == ident.Anonymous
	n, refused := m.registration(ClientSettings{PKCE: defaultPKCE(m.AuthMethod)})
	r := n.client()
	if open && len(r.Permissions()) > 0 {
		refused = append(refused, fault.Field{Name: "scope", Detail: "must hold no permission: nobody vouches for the client"})
	}
	if err := fault.Refusals(refused); err != nil {
		return SelfRegistered{}, badMetadata(err)
	}
	token, err := secret.Mint(g.Clients.Random, RegistrationTokenPrefix)
	if err != nil {
		return SelfRegistered{}, err
	}
	now := g.Clients.Now()
	r.Settings.Dynamic = ClientDynamic{TokenDigest: secret.Sum(token.Reveal())}
	admit := func(ClientTx) error { return nil }
	if open {
		if caller.Org, err = g.Home(ctx); err != nil {
			return SelfRegistered{}, err
		}
		d := &r.Settings.Dynamic
		d.Open, d.From, d.ExpiresAt = true, networkOf(caller.Origin.IP).String(), now.Add(g.Limits.Life).Truncate(time.Second)
		admit = func(tx ClientTx) error { return g.admit(tx, d.From, now) }
		if r.Settings.Subject.SectorURI != "" && !g.fetches.take(d.From, now, g.Limits.Hourly) {
			return SelfRegistered{}, tooManyFromNetwork()
		}
	}
	r, plain, err := g.Clients.insert(ctx, caller, r, now, admit)
	if err != nil {
		return SelfRegistered{}, badMetadata(err)
	}
	return SelfRegistered{Client: r, Secret: plain, Token: token}, nil
}

// MayRegister says why the caller may register no client at all; nil where
// it depends on the client.
func (g *Registrations) MayRegister(caller ident.Caller) error {
	open := caller.Kind == ident.Anonymous
	switch {
	case open && g.Mode != RegistrationOpen:
		return fault.Unauthenticated
	case g.Mode != RegistrationOpen && g.Mode != RegistrationToken:
		return fault.New(fault.InsufficientPermissions, "Clients do not register themselves here.")
	case !open && !caller.May(PermClientsManage):
		return fault.Lacking(string(PermClientsManage))
	}
	return nil
}

// defaultPKCE lets a confidential client that sends a nonce do without a code
// challenge, as OpenID Connect clients may that know none (RFC 9700 §2.1.1).
func defaultPKCE(m AuthMethod) PKCEPolicy {
	if m == AuthNone {
		return PKCERequired
	}
	return PKCEOrNonce
}

// admit holds the limits of open registration, on all replicas together.
func (g *Registrations) admit(tx ClientTx, from string, now time.Time) error {
	living, recent, err := tx.CountOpenClients(from, now.Add(-time.Hour))
	switch {
	case err != nil:
		return err
	case recent >= g.Limits.Hourly:
		return tooManyFromNetwork()
	case living >= g.Limits.Living:
		return fault.New(fault.RateLimited, "There are as many clients that registered themselves as there may be.").After(time.Hour).Because("deployment")
	}
	return nil
}

func tooManyFromNetwork() error {
	return fault.New(fault.RateLimited, "Too many clients were registered from this network within an hour.").After(time.Hour).Because("network")
}

// Read returns the client that the registration access token is of. Whatever is
// wrong with either is fault.InvalidToken.
func (g *Registrations) Read(ctx context.Context, id ident.ClientID, token string) (Registered, error) {
	r, err := g.Clients.Lookup(ctx, id)
	if errors.Is(err, fault.NotFound) {
		r, err = Registered{}, nil
	}
	if err != nil {
		return Registered{}, err
	}
	if good := secret.Equal(secret.Sum(token), r.Settings.Dynamic.TokenDigest); !good || !r.Active() {
		return Registered{}, errRegistrationToken()
	}
	return r, nil
}

// Replace makes m the whole metadata of the client (RFC 7592 §2.2): what m does
// not say becomes the default again. What only we decide stays: organisation,
// method, PKCE policy, who may sign in, consent, resources, expiry. A client
// does not get a permission that it did not have.
func (g *Registrations) Replace(ctx context.Context, origin ident.Origin, id ident.ClientID, token string, m ClientMetadata) (Registered, error) {
	seen, err := g.Read(ctx, id, token)
	if err != nil {
		return Registered{}, err
	}
	now := g.Clients.Now()
	if m.AuthMethod == "" {
		m.AuthMethod = seen.AuthMethod
	}
	var f refusals
	f.unless(m.self.ID == string(id), "client_id", "must be the client's own (RFC 7592 §2.2)")
	f.unless(m.self.Secret.IsZero() || seen.SecretMatches(m.self.Secret.Reveal(), now), "client_secret", "must be the present one, or left out (RFC 7592 §2.2)")
	f.unless(m.AuthMethod == seen.AuthMethod, "token_endpoint_auth_method", "must stay "+string(seen.AuthMethod)+": register another client instead")
	n, refused := m.registration(ours(seen.Settings))
	if err := fault.Refusals(append(f, refused...)); err != nil {
		return Registered{}, badMetadata(err)
	}
	next := n.client()
	if d := seen.Settings.Dynamic; d.Open && next.Settings.Subject.SectorURI != "" && !g.fetches.take(d.From, now, g.Limits.Hourly) {
		return Registered{}, tooManyFromNetwork()
	}
	next, err = g.Clients.change(ctx, self(seen, origin), seen, now, func(before Registered) Registered {
		after := next
		after.ID, after.Org, after.Secrets, after.Status, after.CreatedAt, after.CreatedBy = before.ID, before.Org, before.Secrets, before.Status, before.CreatedAt, before.CreatedBy
		was := before.Settings
		after.Settings.PKCE, after.Settings.OpenTo, after.Settings.SkipConsent = was.PKCE, was.OpenTo, was.SkipConsent
		after.Settings.Resources, after.Settings.Dynamic = was.Resources, was.Dynamic
		return after
	})
	return next, badMetadata(gone(err))
}

// ours are the settings that a client does not decide.
func ours(s ClientSettings) ClientSettings {
	return ClientSettings{PKCE: s.PKCE, OpenTo: s.OpenTo, SkipConsent: s.SkipConsent, Resources: s.Resources}
}

// Remove forgets the client, and ends all that it was given (RFC 7592 §2.3).
func (g *Registrations) Remove(ctx context.Context, origin ident.Origin, id ident.ClientID, token string) error {
	r, err := g.Read(ctx, id, token)
	if err != nil {
		return err
	}
	now := g.Clients.Now()
	return gone(g.Clients.Store.InClientTx(ctx, func(tx ClientTx) error { return g.Clients.delete(tx, self(r, origin), id, now, "") }))
}

// self is a client as the caller that manages itself: it may do no more than
// what it was registered for.
func self(r Registered, origin ident.Origin) ident.Caller {
	return ident.Caller{Kind: ident.ServiceClient, Org: r.Org, Client: r.ID, Permissions: r.Permissions(), Origin: origin}
}

// gone is a client that was forgotten meanwhile, with its token.
func gone(err error) error {
	if errors.Is(err, fault.NotFound) {
		return errRegistrationToken()
	}
	return err
}

func errRegistrationToken() error {
	return fault.New(fault.InvalidToken, "The registration access token is not this client's.")
}

// wireNames are the names of RFC 7591 §2 for what the API calls otherwise.
var wireNames = map[string]string{"name": "client_name", "grants": "grant_types", "auth_method": "token_endpoint_auth_method", "scopes": "scope"}

// badMetadata words a refusal as RFC 7591 §3.2.2 does.
func badMetadata(err error) error {
	if !errors.Is(err, fault.Invalid) {
		return err
	}
	f := fault.Of(err)
	first := f.Fields[0]
	name, _, _ := strings.Cut(first.Name, "[")
	code := fault.InvalidClientMetadata
	if name == "redirect_uris" {
		code = fault.InvalidRedirectURI
	}
	if wire := wireNames[name]; wire != "" {
		first.Name = wire + first.Name[len(name):]
	}
	return fault.Wrap(f.Cause, code, first.Name+": "+first.Detail+".")
}

// cleanupBatch bounds how many clients are looked for at once.
const cleanupBatch = 100

// systemKind is who acts when nobody does.
const systemKind ident.Kind = "system"

// Cleanup forgets the clients whose time is over, with all that they were
// given, and returns how many. Replicas may do it together.
func (s *Clients) Cleanup(ctx context.Context) (int, error) {
	done := 0
	for {
		now := s.Now()
		expired, err := s.Store.ExpiredClients(ctx, now, cleanupBatch)
		if err != nil || len(expired) == 0 {
			return done, err
		}
		for _, r := range expired {
			caller := ident.Caller{Kind: systemKind, Org: r.Org}
			err := s.Store.InClientTx(ctx, func(tx ClientTx) error { return s.delete(tx, caller, r.ID, now, "expired") })
			switch {
			case errors.Is(err, fault.NotFound): // another replica was first
			case err != nil:
				return done, err
			default:
				done++
			}
		}
	}
}

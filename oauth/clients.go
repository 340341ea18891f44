package oauth

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// Defaults and limits of the registry.
const (
	// DefaultClientCache is how many clients are kept in memory, and how many
	// ids that no client has.
	DefaultClientCache = 10_000
	// MaxSecretGrace is the longest time an old secret may outlive its rotation.
	MaxSecretGrace = 30 * 24 * time.Hour
)

// The permissions that the registry asks for.
const (
	PermClientsRead   scope.Permission = "clients:read"
	PermClientsManage scope.Permission = "clients:manage"
)

// Clients is the registry of clients. Set the fields and subscribe it to the
// change feed.
type Clients struct {
	Store     ClientStore
	Sealer    Sealer
	Catalogue scope.Catalogue
	// TokenTTL is how long a client's access tokens live at most, and so how
	// long it is remembered that they were ended.
	TokenTTL   time.Duration
	Algorithms []string // what we sign with; RS256 and ES256 where empty
	// Development: clients may name servers on this machine, in clear HTTP.
	Development bool
	Sectors     SectorFetcher // where nil, a sector_identifier_uri is refused

	CacheSize int         // DefaultClientCache where zero
	Fresh     func() bool // changes.Feed.Fresh: whether the cache may be believed
	Now       func() time.Time
	Random    io.Reader

	cached clientMemory
}

// Registration is a client to be made.
type Registration struct {
	Name         string     // 1 to 100 characters
	AuthMethod   AuthMethod // client_secret_basic where empty (RFC 7591 §2)
	Grants       []string
	RedirectURIs []string
	Logout       ClientLogout
	JWKS         []byte
	JWKSURI      string
	Scopes       []string
	Settings     ClientSettings // without Dynamic, which Register alone sets
}

// Create registers a client in the caller's organisation and returns it with
// its client_secret, which is never shown again; the secret is zero where the
// method has none. The caller needs clients:manage and every permission that
// the client may ask for: nobody makes a client that may do more than its
// maker. What is wrong with n is fault.Invalid, what the caller lacks
// fault.InsufficientPermissions.
func (s *Clients) Create(ctx context.Context, caller ident.Caller, n Registration) (Registered, secret.Plain, error) {
	if !caller.May(PermClientsManage) {
		return Registered{}, secret.Plain{}, fault.Lacking(string(PermClientsManage))
	}
	return s.insert(ctx, caller, n.client(), s.Now(), func(ClientTx) error { return nil })
}

// insert is Create for a client whose maker was looked at. What admit refuses
// is refused; the client's organisation is the caller's.
func (s *Clients) insert(ctx context.Context, caller ident.Caller, r Registered, now time.Time, admit func(ClientTx) error) (Registered, secret.Plain, error) {
	r.ID, r.Org, r.CreatedAt, r.CreatedBy = ident.NewClientID(now, s.Random), caller.Org, now, author(caller)
	if err := fault.Refusals(s.rules().judgeClient(r)); err != nil {
		return Registered{}, secret.Plain{}, err
	}
	if err := errors.Join(s.within(caller, r), opens(caller, Registered{}, r)); err != nil {
		return Registered{}, secret.Plain{}, s.denied(ctx, caller, err, now)
	}
	if err := s.checkSector(ctx, r); err != nil {
		return Registered{}, secret.Plain{}, err
	}
	var plain secret.Plain
	if r.AuthMethod.UsesSecret() {
		var sec ClientSecret
		var err error
		if plain, sec, err = s.newSecret(r.ID, r.AuthMethod, now); err != nil {
			return Registered{}, secret.Plain{}, err
		}
		r.Secrets = []ClientSecret{sec}
	}
	err := s.Store.InClientTx(ctx, func(tx ClientTx) error {
		if err := admit(tx); err != nil {
			return err
		}
		if err := tx.InsertClient(r); err != nil {
			return err
		}
		return noteClient(tx, r, registryEvent(caller, r, audit.ClientCreated, now))
	})
	if err != nil {
		return Registered{}, secret.Plain{}, err
	}
	return r, plain, nil
}

// rules are what every client of the deployment is held against.
func (s *Clients) rules() clientRules {
	j := clientRules{catalogue: s.Catalogue, algorithms: s.Algorithms, development: s.Development}
	if len(j.algorithms) == 0 {
		j.algorithms = []string{"RS256", "ES256"}
	}
	return j
}

// client is what n asks for, tidied and with its defaults.
func (n Registration) client() Registered {
	r := Registered{
		Name: n.Name, AuthMethod: n.AuthMethod, Grants: n.Grants, RedirectURIs: n.RedirectURIs, Logout: n.Logout,
		JWKS: n.JWKS, JWKSURI: n.JWKSURI, Scopes: n.Scopes, Status: ClientActive, Settings: n.Settings,
	}
	r.Settings.Dynamic = ClientDynamic{}
	r.tidy()
	if r.AuthMethod == "" {
		r.AuthMethod = AuthSecretBasic
	}
	return r
}

// tidy writes each word of a list once. It makes new lists.
func (r *Registered) tidy() {
	r.Name = strings.TrimSpace(r.Name)
	for _, list := range []*[]string{
		&r.Grants, &r.Scopes, &r.RedirectURIs, &r.Logout.RedirectURIs, &r.Settings.Resources, &r.Settings.RequestURIs,
		&r.Settings.Authentication.ACRValues, &r.Settings.Display.Contacts,
	} {
		*list = once(*list)
	}
}

// once returns each word once, in the order of their first places.
func once(words []string) []string {
	var out []string
	for _, w := range words {
		if !slices.Contains(out, w) {
			out = append(out, w)
		}
	}
	return out
}

// author is who a client was made by.
func author(caller ident.Caller) string {
	if caller.Kind == ident.Operator || caller.Kind == ident.Anonymous {
		return string(caller.Kind)
	}
	return caller.ID()
}

// List returns a page of the clients of the caller's organisation, newest
// first. It needs clients:read.
func (s *Clients) List(ctx context.Context, caller ident.Caller, p ident.Page) ([]Registered, error) {
	if !caller.May(PermClientsRead) {
		return nil, fault.Lacking(string(PermClientsRead))
	}
	return s.Store.Clients(ctx, caller.Tenant(), p)
}

// Get returns a client of the caller's organisation. It needs clients:read.
func (s *Clients) Get(ctx context.Context, caller ident.Caller, id ident.ClientID) (Registered, error) {
	if !caller.May(PermClientsRead) {
		return Registered{}, fault.Lacking(string(PermClientsRead))
	}
	return s.find(ctx, caller, id, s.Now())
}

// find returns a client of the caller's organisation. To ask for another
// organisation's is answered like an unknown one, and recorded.
func (s *Clients) find(ctx context.Context, caller ident.Caller, id ident.ClientID, now time.Time) (Registered, error) {
	r, err := s.Store.Client(ctx, caller.Tenant(), id)
	if !errors.Is(err, fault.NotFound) {
		return r, err
	}
	switch _, err := s.Store.AnyClient(ctx, id); {
	case errors.Is(err, fault.NotFound):
		return Registered{}, errNoClient()
	case err != nil:
		return Registered{}, err
	}
	e := audit.By(caller, now, audit.CrossOrgDenied, audit.Target{Type: "client", ID: string(id)})
	e.Outcome = audit.Denied
	if err := s.record(ctx, e); err != nil {
		return Registered{}, err
	}
	return Registered{}, errNoClient()
}

// within refuses a caller who lacks something that the client may ask for.
func (s *Clients) within(caller ident.Caller, rs ...Registered) error {
	var all scope.Set
	for _, r := range rs {
		all = append(all, s.Catalogue.Expand(r.Permissions())...)
	}
	if lacks := caller.Permissions.Lacks(scope.Of(all...)); len(lacks) > 0 {
		return fault.Lacking(lacks.Strings()...)
	}
	return nil
}

// opens refuses whoever would let a client at the people of other
// organisations, which only the operator may: on first opening it, and on taking
// away that those are asked.
func opens(caller ident.Caller, before, after Registered) error {
	if caller.Kind == ident.Operator || after.Settings.OpenTo != OpenToEveryone {
		return nil
	}
	if before.Settings.OpenTo == OpenToEveryone && (before.Settings.SkipConsent || !after.Settings.SkipConsent) {
		return nil
	}
	return fault.New(fault.InsufficientPermissions, "Only the operator, on the command line, opens a client to everyone.")
}

// denied records that a known caller lacks a permission, where err says so,
// and returns err. A refusal that cannot be recorded is answered as that
// failure. What the permission of the whole operation lacks is for the route
// to record.
func (s *Clients) denied(ctx context.Context, caller ident.Caller, err error, now time.Time, targets ...audit.Target) error {
	if !errors.Is(err, fault.InsufficientPermissions) {
		return err
	}
	e := audit.By(caller, now, audit.PermissionDenied, targets...)
	e.Outcome, e.Reason = audit.Denied, "insufficient_permissions"
	e.Meta = map[string]string{"required": strings.Join(fault.Of(err).Required, " ")}
	if recordErr := s.record(ctx, e); recordErr != nil {
		return recordErr
	}
	return err
}

func (s *Clients) record(ctx context.Context, e audit.Event) error {
	return s.Store.InClientTx(ctx, func(tx ClientTx) error { return tx.Record(e) })
}

func targetOf(r Registered) audit.Target {
	return audit.Target{Type: "client", ID: string(r.ID), Name: r.Name}
}

func registryEvent(caller ident.Caller, r Registered, name audit.Name, now time.Time) audit.Event {
	e := audit.By(caller, now, name, targetOf(r))
	e.Org = r.Org
	return e
}

// noteClient records e, and tells every replica to forget the client.
func noteClient(tx ClientTx, r Registered, e audit.Event) error {
	if err := tx.Record(e); err != nil {
		return err
	}
	return tx.Announce(changes.Change{Kind: changes.Client, Key: string(r.ID), At: e.Time})
}

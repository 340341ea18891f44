package oauth

import (
	"bytes"
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// ClientChange is what to change of a client. What is nil stays as it is.
type ClientChange struct {
	Name         *string
	Status       *ClientStatus
	Grants       *[]string
	RedirectURIs *[]string
	Logout       func(*ClientLogout) // replaces lists instead of writing to them
	JWKS         *[]byte
	JWKSURI      *string
	Scopes       *[]string
	Settings     func(*ClientSettings) // as Logout; it cannot change Dynamic
}

// to returns r as c makes it. The lists of r are not written to.
func (c ClientChange) to(r Registered) Registered {
	set(&r.Name, c.Name)
	set(&r.Status, c.Status)
	if c.JWKS != nil || c.JWKSURI != nil { // the keys are here or there: one replaces the other
		r.JWKS, r.JWKSURI = nil, ""
		set(&r.JWKS, c.JWKS)
		set(&r.JWKSURI, c.JWKSURI)
	}
	set(&r.Grants, c.Grants)
	set(&r.RedirectURIs, c.RedirectURIs)
	set(&r.Scopes, c.Scopes)
	if c.Logout != nil {
		c.Logout(&r.Logout)
	}
	if c.Settings != nil {
		own := r.Settings.Dynamic
		c.Settings(&r.Settings)
		r.Settings.Dynamic = own
	}
	r.tidy()
	return r
}

func set[T any](into *T, value *T) {
	if value != nil {
		*into = *value
	}
}

// changed names what differs, as the API calls it.
func changed(a, b Registered) []string {
	var out []string
	for name, same := range map[string]bool{
		"name": a.Name == b.Name, "status": a.Status == b.Status, "grants": slices.Equal(a.Grants, b.Grants), "scopes": slices.Equal(a.Scopes, b.Scopes),
		"redirect_uris":             slices.Equal(a.RedirectURIs, b.RedirectURIs),
		"post_logout_redirect_uris": slices.Equal(a.Logout.RedirectURIs, b.Logout.RedirectURIs),
		"backchannel_logout":        a.Logout.BackchannelURI == b.Logout.BackchannelURI && a.Logout.BackchannelSession == b.Logout.BackchannelSession,
		"frontchannel_logout":       a.Logout.FrontchannelURI == b.Logout.FrontchannelURI && a.Logout.FrontchannelSession == b.Logout.FrontchannelSession,
		"jwks":                      bytes.Equal(a.JWKS, b.JWKS), "jwks_uri": a.JWKSURI == b.JWKSURI,
		"settings": reflect.DeepEqual(a.Settings, b.Settings),
	} {
		if !same {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// Update changes a client. It needs clients:manage; and, for everything but
// the name and the status, every permission that the client might or may ask
// for, because who says where a client is or by which key it is known can act as it.
// Where the client is disabled, or may do less than before, the access tokens
// that it has for itself and all that its users gave it end with it, everywhere.
func (s *Clients) Update(ctx context.Context, caller ident.Caller, id ident.ClientID, c ClientChange) (Registered, error) {
	now := s.Now()
	seen, err := s.managed(ctx, caller, id, now)
	if err != nil {
		return Registered{}, err
	}
	return s.change(ctx, caller, seen, now, c.to)
}

// change is Update of a client that the caller may manage, by what to returns
// for it, which must depend on its argument only.
func (s *Clients) change(ctx context.Context, caller ident.Caller, seen Registered, now time.Time, to func(Registered) Registered) (Registered, error) {
	next := to(seen)
	claim := next.sectorClaim()
	if claim != seen.sectorClaim() {
		if err := s.checkSector(ctx, next); err != nil {
			return Registered{}, err
		}
	}
	err := s.Store.InClientTx(ctx, func(tx ClientTx) error {
		before, err := tx.LockClient(caller.Tenant(), seen.ID)
		if err != nil {
			return err
		}
		next = to(before)
		if err := fault.Refusals(s.rules().judgeClient(next)); err != nil {
			return err
		}
		if next.sectorClaim() != claim {
			return fault.New(fault.Conflict, "The client was changed by somebody else just now.")
		}
		fields := changed(before, next)
		if len(fields) == 0 {
			return nil
		}
		if slices.ContainsFunc(fields, func(f string) bool { return f != "name" && f != "status" }) {
			if err := errors.Join(s.within(caller, before, next), opens(caller, before, next)); err != nil {
				return err
			}
		}
		if err := tx.UpdateClient(next); err != nil {
			return err
		}
		if narrowed(before, next) {
			if err := s.endTokens(tx, next, now, endedNarrowed); err != nil {
				return err
			}
		}
		e := registryEvent(caller, before, audit.ClientUpdated, now)
		e.Meta = map[string]string{"changed": strings.Join(fields, " "), "status": string(next.Status)}
		return noteClient(tx, next, e)
	})
	if err != nil {
		return Registered{}, s.denied(ctx, caller, err, now, targetOf(seen))
	}
	return next, nil
}

// narrowed reports whether a client may do less than before.
func narrowed(before, after Registered) bool {
	lost := func(a, b []string) bool {
		return slices.ContainsFunc(a, func(s string) bool { return !slices.Contains(b, s) })
	}
	opened := before.Settings.OpenTo != after.Settings.OpenTo && after.Settings.OpenTo == OpenToOrganization
	return before.Active() && !after.Active() || opened || lost(before.Grants, after.Grants) ||
		lost(allowedScopes(before), allowedScopes(after)) || lost(before.Settings.Resources, after.Settings.Resources)
}

// allowedScopes are the scopes that a client may ask for; one that was
// registered without any may ask for who the user is.
func allowedScopes(r Registered) []string {
	if len(r.Scopes) == 0 {
		return identityScopes
	}
	return r.Scopes
}

// Why families of users end with a client, as their audit says it.
const (
	endedNarrowed = "client_changed"
	endedDeleted  = "client_deleted"
)

// endTokens makes every replica refuse what the client was given until now: the
// access tokens whose subject it is (RFC 9068 §2.2), and whatever users let it have.
func (s *Clients) endTokens(tx ClientTx, r Registered, now time.Time, reason string) error {
	until := now.Add(s.TokenTTL)
	if _, err := tx.EndClientFamilies(r.ID, now, until, reason); err != nil {
		return err
	}
	return tx.Announce(changes.Change{Kind: changes.SubjectCutoff, Key: string(r.ID), At: now, Until: until})
}

// RotateSecret gives a client a new client_secret, which is never shown again.
// The old one works until grace ends, 0 to MaxSecretGrace from now; an older
// one ends at once. It needs clients:manage and every permission that the
// client may ask for, since whoever rotates a secret holds it. Of rotations
// that happen together one wins and the others are fault.Conflict, as is a
// client whose method has no secret.
func (s *Clients) RotateSecret(ctx context.Context, caller ident.Caller, id ident.ClientID, grace time.Duration) (Registered, secret.Plain, error) {
	now := s.Now()
	seen, err := s.managed(ctx, caller, id, now)
	if err != nil {
		return Registered{}, secret.Plain{}, err
	}
	if err := s.within(caller, seen); err != nil {
		return Registered{}, secret.Plain{}, s.denied(ctx, caller, err, now, targetOf(seen))
	}
	if grace < 0 || grace > MaxSecretGrace {
		return Registered{}, secret.Plain{}, fault.Refuse("grace", "must be between 0s and 720h (30 days)")
	}
	if !seen.AuthMethod.UsesSecret() {
		return Registered{}, secret.Plain{}, fault.New(fault.Conflict, "The client has no secret: its method is "+string(seen.AuthMethod)+".")
	}
	plain, fresh, err := s.newSecret(id, seen.AuthMethod, now)
	if err != nil {
		return Registered{}, secret.Plain{}, err
	}
	var r Registered
	err = s.Store.InClientTx(ctx, func(tx ClientTx) error {
		var err error
		if r, err = tx.LockClient(caller.Tenant(), id); err != nil {
			return err
		}
		if err := s.within(caller, r); err != nil { // its scopes may have grown meanwhile
			return err
		}
		if !bytes.Equal(r.Secrets[0].Digest, seen.Secrets[0].Digest) {
			return fault.New(fault.Conflict, "The secret was rotated by somebody else just now.")
		}
		r.Secrets = succeeded(r.Secrets[0], fresh, now.Add(grace), grace)
		if err := tx.PutClientSecrets(id, r.Secrets); err != nil {
			return err
		}
		e := registryEvent(caller, r, audit.ClientSecretRotated, now)
		e.Meta = map[string]string{"grace": grace.String()}
		return noteClient(tx, r, e)
	})
	if err != nil {
		return Registered{}, secret.Plain{}, s.denied(ctx, caller, err, now, targetOf(seen))
	}
	return r, plain, nil
}

// succeeded is what a client keeps after a rotation: the old secret only while
// it counts.
func succeeded(old, fresh ClientSecret, until time.Time, grace time.Duration) []ClientSecret {
	if grace == 0 {
		return []ClientSecret{fresh}
	}
	old.ValidUntil = until
	return []ClientSecret{fresh, old}
}

// Delete forgets a client, and ends the access tokens that it has for itself and
// all that its users gave it, everywhere. It needs clients:manage.
func (s *Clients) Delete(ctx context.Context, caller ident.Caller, id ident.ClientID) error {
	now := s.Now()
	if _, err := s.managed(ctx, caller, id, now); err != nil {
		return err
	}
	return s.Store.InClientTx(ctx, func(tx ClientTx) error { return s.delete(tx, caller, id, now, "") })
}

// delete is Delete within a transaction, for a reason that is recorded.
func (s *Clients) delete(tx ClientTx, caller ident.Caller, id ident.ClientID, now time.Time, reason string) error {
	r, err := tx.LockClient(caller.Tenant(), id)
	if err != nil {
		return err
	}
	if err := tx.DeleteClient(id); err != nil {
		return err
	}
	if err := s.endTokens(tx, r, now, endedDeleted); err != nil {
		return err
	}
	e := registryEvent(caller, r, audit.ClientDeleted, now)
	e.Reason = reason
	return noteClient(tx, r, e)
}

// managed finds a client that the caller may change.
func (s *Clients) managed(ctx context.Context, caller ident.Caller, id ident.ClientID, now time.Time) (Registered, error) {
	if !caller.May(PermClientsManage) {
		return Registered{}, fault.Lacking(string(PermClientsManage))
	}
	return s.find(ctx, caller, id, now)
}

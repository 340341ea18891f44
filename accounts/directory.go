package accounts

import (
	"context"

	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/coherent"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
)

// Standing is what a user, who may be a service account, is and may do in one
// organisation now.
type Standing struct {
	User        ident.UserID
	Org         ident.OrgID
	Email       string // of a person
	Name        string
	OrgName     string
	Role        string
	Active      bool
	Reason      string    // why not Active: "unknown", "user_disabled", "not_a_member", "org_disabled"
	Permissions scope.Set // concrete, within the catalogue; empty where not Active
}

// Why a standing is not active.
const (
	ReasonUnknown      = "unknown"
	ReasonUserDisabled = "user_disabled"
	ReasonNotAMember   = "not_a_member"
	ReasonOrgDisabled  = "org_disabled"
)

// Directory answers standings from a cache that follows the log of changes.
// It is a changes.Subscriber.
type Directory struct {
	Store     UserReader
	Catalogue scope.Catalogue

	cache *coherent.Cache[place, Standing]
}

// place is a user in an organisation.
type place struct {
	user ident.UserID
	org  ident.OrgID
}

var _ changes.Subscriber = (*Directory)(nil)

// NewDirectory returns a directory that caches at most size standings and
// believes them while fresh reports true (see changes.Feed.Fresh).
func NewDirectory(store UserReader, c scope.Catalogue, size int, fresh func() bool) *Directory {
	return &Directory{Store: store, Catalogue: c, cache: coherent.New[place, Standing](size, fresh)}
}

// Standing returns the standing of user in org. An unknown user or a stranger
// to org is not an error but inactive. On a miss it costs one statement. The
// permissions are shared: do not change them.
func (d *Directory) Standing(ctx context.Context, user ident.UserID, org ident.OrgID) (Standing, error) {
	return d.cache.Get(ctx, place{user, org}, d.load)
}

// Present is Standing as the database has it now, whatever is remembered. It
// costs one statement. What is signed must come from here: a replica may hear
// of a demotion two seconds late, but a token says it for an hour.
func (d *Directory) Present(ctx context.Context, user ident.UserID, org ident.OrgID) (Standing, error) {
	return d.load(ctx, place{user, org})
}

func (d *Directory) load(ctx context.Context, p place) (Standing, error) {
	f, err := d.Store.Facts(ctx, p.user, p.org)
	if err != nil {
		return Standing{}, err
	}
	return d.Judge(p.user, p.org, f), nil
}

// Judge decides what facts amount to. A custom role that no longer exists
// permits nothing.
func (d *Directory) Judge(user ident.UserID, org ident.OrgID, f Facts) Standing {
	s := Standing{User: user, Org: org, Email: f.Email, Name: f.Name, OrgName: f.OrgName, Role: f.Role}
	switch {
	case f.UserStatus == "":
		s.Reason = ReasonUnknown
	case f.UserStatus != Active:
		s.Reason = ReasonUserDisabled
	case f.OrgName == "":
		s.Reason = ReasonNotAMember
	case f.OrgStatus != Active:
		s.Reason = ReasonOrgDisabled
	default:
		s.Active, s.Permissions = true, Effective(d.Catalogue, f.Role, f.Custom)
	}
	return s
}

// Home returns the organisation a user logs in to where none is named: that of
// the oldest membership in an active organisation. fault.NotFound means the
// user belongs nowhere.
func (d *Directory) Home(ctx context.Context, user ident.UserID) (ident.OrgID, error) {
	return d.Store.Home(ctx, user)
}

// Hear forgets the standings of the users and organisations that changed.
func (d *Directory) Hear(cs []changes.Change) {
	users, orgs := map[ident.UserID]bool{}, map[ident.OrgID]bool{}
	for _, c := range cs {
		switch c.Kind {
		case changes.User:
			users[ident.UserID(c.Key)] = true
		case changes.Org:
			orgs[ident.OrgID(c.Key)] = true
		}
	}
	if len(users)+len(orgs) > 0 {
		d.cache.PurgeWhere(func(p place) bool { return users[p.user] || orgs[p.org] })
	}
}

// Forget drops every standing.
func (d *Directory) Forget() { d.cache.PurgeAll() }

package accounts

import (
	"context"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// The bodies of what follows are being written, each in a file of its concept.
var errUnwritten = fault.New(fault.Internal, "")

// Registration is what a stranger asks for. OrganizationName may be empty.
type Registration struct {
	Email            string
	Password         secret.Plain
	Name             string
	OrganizationName string
}

// NewUser is a member to create. Exactly one of Password and PasswordHash is
// given; the hash (a PHC string) by the operator only.
type NewUser struct {
	Email        string
	Name         string
	Role         string
	Password     secret.Plain
	PasswordHash string
}

// Patch says what to change of a member; nil leaves it as it is.
type Patch struct {
	Name   *string
	Role   *string
	Status *Status
}

// FirstAdmin are the credentials of the first administrator.
type FirstAdmin struct {
	Email    string
	Password secret.Plain
}

// First is what the first run made; Created is false on every other run.
type First struct {
	Created     bool
	User        ident.UserID
	Org         ident.OrgID
	Link        secret.Plain // the set-up link's token, shown once
	LinkExpires time.Time
}

// Setup is what the first administrator chose. OrgName may be empty.
type Setup struct {
	Token    secret.Plain
	Email    string
	Password secret.Plain
	OrgName  string
}

func (p *People) Register(ctx context.Context, r Registration, o ident.Origin) error { return errUnwritten }
func (p *People) CreateUser(ctx context.Context, c ident.Caller, n NewUser) (Member, error) { return Member{}, errUnwritten }
func (p *People) Members(ctx context.Context, c ident.Caller, page ident.Page) ([]Member, error) { return nil, errUnwritten }
func (p *People) Member(ctx context.Context, c ident.Caller, user ident.UserID) (Member, error) { return Member{}, errUnwritten }
// Update needs users:update for name and role, users:disable for status.
func (p *People) Update(ctx context.Context, c ident.Caller, user ident.UserID, change Patch) (Member, error) { return Member{}, errUnwritten }
func (p *People) RemoveMember(ctx context.Context, c ident.Caller, user ident.UserID) error { return errUnwritten }
// AddMember is for the operator: an existing user joins the caller's organisation.
func (p *People) AddMember(ctx context.Context, c ident.Caller, user ident.UserID, role string) (Member, error) { return Member{}, errUnwritten }
// UserByEmail is for the operator.
func (p *People) UserByEmail(ctx context.Context, c ident.Caller, email string) (User, error) { return User{}, errUnwritten }
func (p *People) ChangePassword(ctx context.Context, c ident.Caller, current, next secret.Plain) error { return errUnwritten }
// CreateOrg, OrgBySlug and (with an empty Caller.Org) Orgs are for the operator.
func (p *People) CreateOrg(ctx context.Context, c ident.Caller, name, slug string) (Org, error) { return Org{}, errUnwritten }
func (p *People) OrgBySlug(ctx context.Context, c ident.Caller, slug string) (Org, error) { return Org{}, errUnwritten }
// Orgs lists the caller's own organisation, or all for the operator.
func (p *People) Orgs(ctx context.Context, c ident.Caller, page ident.Page) ([]Org, error) { return nil, errUnwritten }
// Org is fault.NotFound for every organisation but the caller's.
func (p *People) Org(ctx context.Context, c ident.Caller, org ident.OrgID) (Org, error) { return Org{}, errUnwritten }
func (p *People) RenameOrg(ctx context.Context, c ident.Caller, org ident.OrgID, name string) (Org, error) { return Org{}, errUnwritten }
// Roles lists built-in roles first, then custom ones by name.
func (p *People) Roles(ctx context.Context, c ident.Caller) ([]Role, error) { return nil, errUnwritten }
func (p *People) SetRolePermissions(ctx context.Context, c ident.Caller, name string, permissions []string) (Role, error) { return Role{}, errUnwritten }
func (p *People) DeleteRole(ctx context.Context, c ident.Caller, name string) error { return errUnwritten }
func (p *People) FirstRun(ctx context.Context, a FirstAdmin) (First, error) { return First{}, errUnwritten }
// IssueSetupLink is for the operator.
func (p *People) IssueSetupLink(ctx context.Context, c ident.Caller, user ident.UserID) (secret.Plain, time.Time, error) { return secret.Plain{}, time.Time{}, errUnwritten }
func (p *People) CompleteSetup(ctx context.Context, s Setup, o ident.Origin) error { return errUnwritten }

var _ scope.Set

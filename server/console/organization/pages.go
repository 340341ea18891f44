// Package organization are the pages about who and what belongs to an
// organisation: members, invitations, roles, service accounts, clients, and what
// the organisation decided about itself.
package organization

import (
	"context"
	"embed"
	"slices"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
	"github.com/tokenhouse/tokenhouse/oauth"
	"github.com/tokenhouse/tokenhouse/server/console/shell"
)

//go:embed templates
var files embed.FS

var templates = shell.MustParse(files)

// Pages are these pages. Every field is required.
type Pages struct {
	Members     Members
	Invitations Invitations
	Roles       Roles
	Services    ServiceAccounts
	Orgs        Organizations
	Clients     Clients
	Policies    Policies
	Keys        APIKeys
	Directory   Directory
	// InvitationURL is the address of the page behind an invitation's token.
	InvitationURL func(token secret.Plain) string
}

// Members manages who belongs to an organisation: accounts.People.
type Members interface {
	Members(ctx context.Context, c ident.Caller, page ident.Page) ([]accounts.Member, error)
	Member(ctx context.Context, c ident.Caller, user ident.UserID) (accounts.Member, error)
	Update(ctx context.Context, c ident.Caller, user ident.UserID, change accounts.Patch) (accounts.Member, error)
	RemoveMember(ctx context.Context, c ident.Caller, user ident.UserID) error
}

// Invitations offers people a place in an organisation: accounts.People.
type Invitations interface {
	Invitations(ctx context.Context, c ident.Caller, page ident.Page) ([]accounts.Invitation, error)
	InvitationByID(ctx context.Context, c ident.Caller, id ident.InvitationID) (accounts.Invitation, error)
	Invite(ctx context.Context, c ident.Caller, email, role string) (accounts.Offer, error)
	ResendInvitation(ctx context.Context, c ident.Caller, id ident.InvitationID) (accounts.Offer, error)
	RevokeInvitation(ctx context.Context, c ident.Caller, id ident.InvitationID) error
}

// Roles manages what roles permit: accounts.People.
type Roles interface {
	Roles(ctx context.Context, c ident.Caller) ([]accounts.Role, error)
	SetRolePermissions(ctx context.Context, c ident.Caller, name string, permissions []string) (accounts.Role, error)
	DeleteRole(ctx context.Context, c ident.Caller, name string) error
}

// ServiceAccounts manages owners of API keys that are nobody: accounts.People.
type ServiceAccounts interface {
	ServiceAccounts(ctx context.Context, c ident.Caller, page ident.Page) ([]accounts.ServiceAccount, error)
	ServiceAccount(ctx context.Context, c ident.Caller, id ident.UserID) (accounts.ServiceAccount, error)
	CreateServiceAccount(ctx context.Context, c ident.Caller, n accounts.NewServiceAccount) (accounts.ServiceAccount, error)
	UpdateServiceAccount(ctx context.Context, c ident.Caller, id ident.UserID, change accounts.ServiceAccountPatch) (accounts.ServiceAccount, error)
	DeleteServiceAccount(ctx context.Context, c ident.Caller, id ident.UserID) error
}

// Organizations reads and renames the caller's organisation: accounts.People.
type Organizations interface {
	Org(ctx context.Context, c ident.Caller, id ident.OrgID) (accounts.Org, error)
	RenameOrg(ctx context.Context, c ident.Caller, id ident.OrgID, name string) (accounts.Org, error)
}

// Clients manages applications that ask for tokens: oauth.Clients.
type Clients interface {
	List(ctx context.Context, caller ident.Caller, p ident.Page) ([]oauth.Registered, error)
	Get(ctx context.Context, caller ident.Caller, id ident.ClientID) (oauth.Registered, error)
	Create(ctx context.Context, caller ident.Caller, n oauth.Registration) (oauth.Registered, secret.Plain, error)
	Update(ctx context.Context, caller ident.Caller, id ident.ClientID, c oauth.ClientChange) (oauth.Registered, error)
	RotateSecret(ctx context.Context, caller ident.Caller, id ident.ClientID, grace time.Duration) (oauth.Registered, secret.Plain, error)
	Delete(ctx context.Context, caller ident.Caller, id ident.ClientID) error
}

// Policies says what API keys of the organisation may be: apikeys.Service.
type Policies interface {
	Policy(ctx context.Context, caller ident.Caller) (apikeys.Policy, error)
	SetPolicy(ctx context.Context, caller ident.Caller, c apikeys.PolicyChanges) (apikeys.Policy, error)
}

// Where the pages are.
const (
	membersPath     = "/console/members"
	invitationsPath = "/console/invitations"
	rolesPath       = "/console/roles"
	servicesPath    = "/console/service-accounts"
	clientsPath     = "/console/clients"
	orgPath         = "/console/organization"
	policyPath      = orgPath + "/key-policy"
)

// Routes lists the pages.
func (p Pages) Routes() []shell.Route {
	out := []shell.Route{
		{Method: "GET", Path: membersPath, Need: accounts.UsersRead, Serve: p.listMembers},
		{Method: "GET", Path: membersPath + "/:id/edit", Need: accounts.UsersUpdate, Fresh: true, Serve: p.editMember},
		{Method: "POST", Path: membersPath + "/:id/edit", Need: accounts.UsersUpdate, Fresh: true, Serve: p.changeMember},
		{Method: "GET", Path: membersPath + "/:id/remove", Need: accounts.UsersDisable, Fresh: true, Serve: p.askRemoveMember},
		{Method: "POST", Path: membersPath + "/:id/remove", Need: accounts.UsersDisable, Fresh: true, Serve: p.removeMember},
		{Method: "GET", Path: invitationsPath, Need: accounts.UsersRead, Serve: p.listInvitations},
		{Method: "GET", Path: invitationsPath + "/new", Need: accounts.UsersCreate, Serve: p.newInvitation},
		{Method: "POST", Path: invitationsPath + "/new", Need: accounts.UsersCreate, Serve: p.invite},
		{Method: "GET", Path: invitationsPath + "/:id/resend", Need: accounts.UsersCreate, Serve: p.askResend},
		{Method: "POST", Path: invitationsPath + "/:id/resend", Need: accounts.UsersCreate, Serve: p.resend},
		{Method: "GET", Path: invitationsPath + "/:id/revoke", Need: accounts.UsersCreate, Serve: p.askRevokeInvitation},
		{Method: "POST", Path: invitationsPath + "/:id/revoke", Need: accounts.UsersCreate, Serve: p.revokeInvitation},
		{Method: "GET", Path: orgPath, Need: accounts.OrganizationsRead, Serve: p.showOrg},
		{Method: "GET", Path: orgPath + "/name", Need: accounts.OrganizationsUpdate, Serve: p.editOrg},
		{Method: "POST", Path: orgPath + "/name", Need: accounts.OrganizationsUpdate, Serve: p.renameOrg},
		{Method: "GET", Path: policyPath, Need: accounts.APIKeysPolicy, Fresh: true, Serve: p.editPolicy},
		{Method: "POST", Path: policyPath, Need: accounts.APIKeysPolicy, Fresh: true, Many: []string{fieldPermissions}, Serve: p.changePolicy},
	}
	return slices.Concat(out, p.roleRoutes(), p.serviceRoutes(), p.clientRoutes(), p.keyRoutes())
}

func (p Pages) roleRoutes() []shell.Route {
	const manage = accounts.RolesManage
	many := []string{fieldPermissions}
	return []shell.Route{
		{Method: "GET", Path: rolesPath, Need: accounts.RolesRead, Serve: p.listRoles},
		{Method: "GET", Path: rolesPath + "/new", Need: manage, Fresh: true, Serve: p.newRole},
		{Method: "POST", Path: rolesPath + "/new", Need: manage, Fresh: true, Many: many, Serve: p.createRole},
		{Method: "GET", Path: rolesPath + "/:name/edit", Need: manage, Fresh: true, Serve: p.editRole},
		{Method: "POST", Path: rolesPath + "/:name/edit", Need: manage, Fresh: true, Many: many, Serve: p.changeRole},
		{Method: "GET", Path: rolesPath + "/:name/delete", Need: manage, Fresh: true, Serve: p.askDeleteRole},
		{Method: "POST", Path: rolesPath + "/:name/delete", Need: manage, Fresh: true, Serve: p.deleteRole},
	}
}

func (p Pages) serviceRoutes() []shell.Route {
	const manage = accounts.ServiceAccountsManage
	return []shell.Route{
		{Method: "GET", Path: servicesPath, Need: accounts.ServiceAccountsRead, Serve: p.listServices},
		{Method: "GET", Path: servicesPath + "/new", Need: manage, Serve: p.newService},
		{Method: "POST", Path: servicesPath + "/new", Need: manage, Serve: p.createService},
		{Method: "GET", Path: servicesPath + "/:id/edit", Need: manage, Fresh: true, Serve: p.editService},
		{Method: "POST", Path: servicesPath + "/:id/edit", Need: manage, Fresh: true, Serve: p.changeService},
		{Method: "GET", Path: servicesPath + "/:id/delete", Need: manage, Fresh: true, Serve: p.askDeleteService},
		{Method: "POST", Path: servicesPath + "/:id/delete", Need: manage, Fresh: true, Serve: p.deleteService},
	}
}

func (p Pages) clientRoutes() []shell.Route {
	const manage = accounts.ClientsManage
	many := []string{fieldGrants, fieldScopes}
	return []shell.Route{
		{Method: "GET", Path: clientsPath, Need: accounts.ClientsRead, Serve: p.listClients},
		{Method: "GET", Path: clientsPath + "/new", Need: manage, Fresh: true, Serve: p.newClient},
		{Method: "POST", Path: clientsPath + "/new", Need: manage, Fresh: true, Many: many, Serve: p.createClient},
		{Method: "GET", Path: clientsPath + "/:id", Need: accounts.ClientsRead, Serve: p.showClient},
		{Method: "GET", Path: clientsPath + "/:id/edit", Need: manage, Fresh: true, Serve: p.editClient},
		{Method: "POST", Path: clientsPath + "/:id/edit", Need: manage, Fresh: true, Many: many, Serve: p.changeClient},
		{Method: "GET", Path: clientsPath + "/:id/rotate-secret", Need: manage, Fresh: true, Serve: p.askRotateSecret},
		{Method: "POST", Path: clientsPath + "/:id/rotate-secret", Need: manage, Fresh: true, Serve: p.rotateSecret},
		{Method: "GET", Path: clientsPath + "/:id/delete", Need: manage, Fresh: true, Serve: p.askDeleteClient},
		{Method: "POST", Path: clientsPath + "/:id/delete", Need: manage, Fresh: true, Serve: p.deleteClient},
	}
}

// Names of fields that several forms have.
const (
	fieldEmail       = "email"
	fieldName        = "name"
	fieldRole        = "role"
	fieldStatus      = "status"
	fieldPermissions = "permissions"
)

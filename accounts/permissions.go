package accounts

import (
	"github.com/tokenhouse/tokenhouse/internal/scope"
)

// The permissions that tokenhouse itself asks for. Those of the resource
// servers behind it come from the configuration; see NewCatalogue.
const (
	UsersRead             scope.Permission = "users:read"
	UsersCreate           scope.Permission = "users:create"
	UsersUpdate           scope.Permission = "users:update"  // names, roles, unlocking
	UsersDisable          scope.Permission = "users:disable" // status, and removal from the organisation
	OrganizationsRead     scope.Permission = "organizations:read"
	OrganizationsUpdate   scope.Permission = "organizations:update"
	OrganizationsDelete   scope.Permission = "organizations:delete" // held by owners only
	RolesRead             scope.Permission = "roles:read"
	RolesManage           scope.Permission = "roles:manage"
	APIKeysRead           scope.Permission = "api-keys:read"
	APIKeysCreate         scope.Permission = "api-keys:create"
	APIKeysRevoke         scope.Permission = "api-keys:revoke"
	APIKeysRotate         scope.Permission = "api-keys:rotate"
	APIKeysManage         scope.Permission = "api-keys:manage" // keys of other people
	APIKeysPolicy         scope.Permission = "api-keys:policy" // what keys of the organisation may be
	ClientsRead           scope.Permission = "clients:read"
	ClientsManage         scope.Permission = "clients:manage"
	ServiceAccountsRead   scope.Permission = "service-accounts:read"
	ServiceAccountsManage scope.Permission = "service-accounts:manage" // and to make API keys that they own
	SessionsRead          scope.Permission = "sessions:read"           // of other people; one's own need none
	SessionsRevoke        scope.Permission = "sessions:revoke"         // of other people; one's own need none
	AuditRead             scope.Permission = "audit:read"
	WebhooksRead          scope.Permission = "webhooks:read"
	WebhooksWrite         scope.Permission = "webhooks:write" // which takes audit:read besides
	SigningKeysRead       scope.Permission = "signing-keys:read"
	SigningKeysManage     scope.Permission = "signing-keys:manage" // in the deployment's first organisation only
)

// Permissions lists every permission that tokenhouse itself asks for.
func Permissions() []scope.Permission {
	return []scope.Permission{
		UsersRead, UsersCreate, UsersUpdate, UsersDisable,
		OrganizationsRead, OrganizationsUpdate, OrganizationsDelete,
		RolesRead, RolesManage,
		APIKeysRead, APIKeysCreate, APIKeysRevoke, APIKeysRotate, APIKeysManage, APIKeysPolicy,
		ClientsRead, ClientsManage, ServiceAccountsRead, ServiceAccountsManage,
		SessionsRead, SessionsRevoke, AuditRead, WebhooksRead, WebhooksWrite, SigningKeysRead, SigningKeysManage,
	}
}

// NewCatalogue returns the permissions that exist in a deployment: ours and
// the configured ones of the resource servers. It fails for a malformed name
// or one with a wildcard.
func NewCatalogue(configured ...string) (scope.Catalogue, error) {
	return scope.NewCatalogue(append(scope.Of(Permissions()...).Strings(), configured...)...)
}

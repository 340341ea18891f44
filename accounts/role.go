package accounts

import (
	"slices"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
)

// The built-in roles. Every organisation has them and none can change them.
const (
	RoleOwner    = "owner"
	RoleAdmin    = "admin"
	RoleEngineer = "engineer"
	RoleViewer   = "viewer"
)

// Role is a named set of permissions in one organisation.
type Role struct {
	Org         ident.OrgID
	Name        string
	Permissions scope.Set // of a built-in role: expanded over the catalogue; of a custom one: as stored, wildcards kept
	BuiltIn     bool
	UpdatedAt   time.Time // zero for built-in roles
}

// builtIn is a role that permits grants less spare.
type builtIn struct {
	name          string
	grants, spare scope.Set
}

var builtIns = []builtIn{
	{RoleOwner, scope.Of("*:*"), nil},
	{RoleAdmin, scope.Of("*:*"), scope.Of(OrganizationsDelete)},
	{RoleEngineer, scope.Of(
		"agents:*", "incidents:*", "metrics:read", "procedures:execute",
		APIKeysRead, APIKeysCreate, APIKeysRevoke, APIKeysRotate, ServiceAccountsRead, OrganizationsRead, RolesRead,
	), nil},
	{RoleViewer, scope.Of("*:read"), scope.Of(AuditRead, APIKeysRead, ClientsRead, ServiceAccountsRead, SessionsRead, SigningKeysRead, WebhooksRead)},
}

// BuiltInRoles lists the built-in roles, the most powerful first, with what
// each permits of the catalogue.
func BuiltInRoles(c scope.Catalogue) []Role {
	out := make([]Role, len(builtIns))
	for i, b := range builtIns {
		out[i] = Role{Name: b.name, Permissions: Effective(c, b.name, nil), BuiltIn: true}
	}
	return out
}

// IsBuiltIn reports whether name is a built-in role.
func IsBuiltIn(name string) bool {
	return slices.ContainsFunc(builtIns, func(b builtIn) bool { return b.name == name })
}

// Effective returns the existing permissions that a role allows. custom is
// what the organisation stored under that name; it is not looked at for a
// built-in name. The result never exceeds the catalogue (INV-08).
func Effective(c scope.Catalogue, name string, custom scope.Set) scope.Set {
	for _, b := range builtIns {
		if b.name == name {
			return slices.DeleteFunc(c.Expand(b.grants), b.spare.Allows)
		}
	}
	return c.Expand(custom)
}

// checkRoleName accepts what a person can type: a letter, then at most 62 more
// of a-z 0-9 _ and -.
func checkRoleName(name string) error {
	ok := name != "" && len(name) <= 63 && name[0] >= 'a' && name[0] <= 'z'
	for _, c := range []byte(name) {
		ok = ok && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_' || c == '-')
	}
	if !ok {
		return fault.Refuse("name", "must be a letter followed by at most 62 characters of a-z, 0-9, _ and -")
	}
	return nil
}

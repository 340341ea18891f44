package ident

import (
	"net/netip"

	"github.com/tokenhouse/tokenhouse/internal/scope"
)

// Origin is where a request came from. It goes into every audit event.
type Origin struct {
	IP        netip.Addr // the right-most untrusted hop; invalid for the command line
	UserAgent string     // as sent, at most 512 bytes
	Request   RequestID
}

// NetworkOf is what one subscriber holds without effort: an IPv4 address, or the
// /64 of an IPv6 address. It is the zero Prefix where there is no address.
func NetworkOf(ip netip.Addr) netip.Prefix {
	ip = ip.Unmap().WithZone("")
	bits := 64
	if ip.Is4() {
		bits = 32
	}
	p, _ := ip.Prefix(bits) // fails where there is no address
	return p
}

// Kind says what sort of credential established a Caller.
type Kind string

// The kinds of caller.
const (
	// Anonymous presented no credential.
	Anonymous Kind = "anonymous"
	// Person presented an access token of a user session.
	Person Kind = "user"
	// APIKey presented an API key.
	APIKey Kind = "api_key"
	// ServiceClient presented an access token that an OAuth client obtained for
	// itself (RFC 6749 §4.4): no person stands behind it.
	ServiceClient Kind = "client"
	// Operator runs the command line beside the database.
	Operator Kind = "operator"
)

// Caller is who is asking, as a credential (never a request parameter)
// established it. The zero Caller is anonymous and may do nothing.
type Caller struct {
	Kind        Kind
	Org         OrgID     // of the credential
	User        UserID    // the person, or the owner of the API key
	Email       string    // of User, where known
	Session     SessionID // for Person
	Key         APIKeyID  // for APIKey
	Client      ClientID  // that the access token was issued to; the caller itself for ServiceClient
	Token       TokenID   // jti, for Person and ServiceClient
	Permissions scope.Set // effective: concrete permissions, no wildcards needed to use them
	Allowance   Allowance // for APIKey: what it has left of its limits
	Origin      Origin
}

// OperatorOf is the command line acting in one organisation. The zero org
// stands for the deployment as a whole.
func OperatorOf(org OrgID, all scope.Set) Caller {
	return Caller{Kind: Operator, Org: org, Permissions: all, Origin: Origin{UserAgent: "tokenhouse-cli"}}
}

// May reports whether the caller holds permission p.
func (c Caller) May(p scope.Permission) bool { return c.Permissions.Allows(p) }

// Tenant returns the organisation that the credential belongs to. It is the
// only way to make a Tenant, so a query that takes one cannot be asked for
// another organisation's rows.
func (c Caller) Tenant() Tenant { return Tenant{c.Org} }

// ID is the identifier of the principal: the key's for an API key, the client's
// for a service client, else the user's.
func (c Caller) ID() string {
	switch c.Kind {
	case APIKey:
		return string(c.Key)
	case ServiceClient:
		return string(c.Client)
	default:
		return string(c.User)
	}
}

// Tenant proves that an organisation was derived from a credential.
type Tenant struct{ org OrgID }

// Org returns the organisation; it is empty for the zero Tenant, which owns nothing.
func (t Tenant) Org() OrgID { return t.org }

// Package apikeys makes, verifies, rotates and revokes API keys: long-lived
// credentials of one organisation, owned by a person, that never allow more
// than their owner and their maker may.
package apikeys

import (
	"net/netip"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
)

// The permissions that managing API keys takes.
const (
	PermRead   scope.Permission = "api-keys:read"   // list and get every key of the organisation
	PermCreate scope.Permission = "api-keys:create" // create, and rename one's own
	PermRevoke scope.Permission = "api-keys:revoke" // revoke one's own
	PermRotate scope.Permission = "api-keys:rotate" // rotate one's own
	PermManage scope.Permission = "api-keys:manage" // the same for other people's keys
)

// Status says whether a key can be used.
type Status string

// The statuses.
const (
	Active      Status = "active"
	RotationDue Status = "rotation_due" // usable, but its secret is older than it should be
	Expired     Status = "expired"
	Revoked     Status = "revoked"
	// Quarantined is a key that was reported as leaked: it is refused until its
	// owner releases or rotates it.
	Quarantined Status = "quarantined"
)

// Key is an API key without its secret.
type Key struct {
	ID          ident.APIKeyID
	Lookup      string // eight characters, unique in the deployment, in clear in the credential
	Prefix      string // the prefix of the deployment when the key was made
	Name        string
	Org         ident.OrgID
	Owner       ident.UserID // whose permissions cap the key's
	CreatedBy   Creator
	Permissions []scope.Permission // in the order asked for; may hold wildcards
	CreatedAt   time.Time
	ExpiresAt   time.Time // zero: never
	Revocation
	Rules    Rules
	LastUsed Use      // of any of its secrets, ever
	Secrets  []Secret // the current one, then the previous one while it is kept: at most two
	Status   Status   // at the time of reading; not stored
}

// Revocation is the end of a key before its time.
type Revocation struct {
	RevokedAt time.Time // zero: not revoked
	RevokedBy string    // the id of the user or key, "operator", or "leak-report"
	HeldAt    time.Time // when the key was quarantined; zero: it is not
}

// Creator is who made a key: a person, another key, or, where both are empty,
// the operator.
type Creator struct {
	User ident.UserID
	Key  ident.APIKeyID
}

// Use is one use of a key.
type Use struct {
	At        time.Time // zero: never used
	IP        netip.Addr
	UserAgent string
}

// Secret is one credential of a key, by its digest.
type Secret struct {
	Generation int    // counts from 1; the highest is current
	Digest     []byte // HMAC-SHA-256 of the whole credential under the pepper
	Pepper     uint8  // which pepper
	Last4      string // the last characters, so that a person can tell credentials apart
	CreatedAt  time.Time
	ValidUntil time.Time // zero: as long as the key; else the end of its grace
	LastUsed   Use
}

// Hint tells the key from others without giving it away: prefix_lookup…last4.
func (k Key) Hint() string {
	h := k.Prefix + "_" + k.Lookup + "…"
	if len(k.Secrets) > 0 {
		h += k.Secrets[0].Last4
	}
	return h
}

// statusAt tells the status at now, where a secret is due for rotation after
// rotateAfter.
func (k Key) statusAt(now time.Time, rotateAfter time.Duration) Status {
	switch {
	case !k.RevokedAt.IsZero():
		return Revoked
	case !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt):
		return Expired
	case !k.HeldAt.IsZero():
		return Quarantined
	case len(k.Secrets) > 0 && now.Sub(k.Secrets[0].CreatedAt) > rotateAfter:
		return RotationDue
	default:
		return Active
	}
}

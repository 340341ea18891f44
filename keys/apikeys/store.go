package apikeys

import (
	"context"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// Store keeps API keys. Keys are read with their secrets, current first.
type Store interface {
	// APIKeyByLookup returns the key of any organisation that has the lookup
	// id, revoked or not; fault.NotFound where there is none.
	APIKeyByLookup(ctx context.Context, lookup string) (Key, error)
	// APIKey returns a key of the tenant; fault.NotFound where there is none.
	APIKey(ctx context.Context, t ident.Tenant, id ident.APIKeyID) (Key, error)
	// APIKeys returns a page of those of the tenant's keys that the selection
	// lets pass, newest first. Page.Before is a key's id.
	APIKeys(ctx context.Context, t ident.Tenant, s Selection, p ident.Page) ([]Key, error)
	// APIKeyExists reports whether some organisation has a key of that id.
	APIKeyExists(ctx context.Context, id ident.APIKeyID) (bool, error)
	NoticeStore
	AllowanceStore
	UsageStore
	ImportStore
	PolicyStore
	// InTx runs fn in a transaction. fn may run twice.
	InTx(ctx context.Context, fn func(Tx) error) error
}

// Tx is one transaction.
type Tx interface {
	audit.Sink
	changes.Sink
	// LockAPIKey returns a key of the tenant and keeps others from changing it
	// until the commit; fault.NotFound where there is none.
	LockAPIKey(t ident.Tenant, id ident.APIKeyID) (Key, error)
	FamilyTx
	// InsertAPIKey stores a new key and its secrets. It is fault.Conflict where
	// the lookup id is taken; the transaction is then of no further use.
	InsertAPIKey(Key) error
	// UpdateAPIKey stores the name, the rules and the revocation of a key.
	UpdateAPIKey(Key) error
	// PutAPIKeySecrets makes these the only secrets of the key. Of one that is
	// stored already only ValidUntil changes.
	PutAPIKeySecrets(id ident.APIKeyID, secrets []Secret) error
	// InsertAPIKeyImport stores that the key is found under the lookup id of an
	// import, for ever. It is fault.Conflict where another key is; the
	// transaction is then of no further use.
	InsertAPIKeyImport(lookup string, id ident.APIKeyID) error
	Bookkeeping
	PolicyTx
}

// Bookkeeping is the part of a Tx that no person asked for.
type Bookkeeping interface {
	NoticeTx
	// MarkAPIKeyDue marks that secret as due for rotation and reports whether it was
	// not marked before.
	MarkAPIKeyDue(id ident.APIKeyID, generation int, at time.Time) (bool, error)
	// CountAPIKeyUses adds to the buckets of the hour, the key's and the
	// organisation's, moves last-used times forward, and reports of each use whether
	// the key's bucket had no success before.
	CountAPIKeyUses(uses []Uses) (first []bool, err error)
}

// Uses is what happened with one secret of a key in one hour.
type Uses struct {
	Key        ident.APIKeyID
	Org        ident.OrgID // of the key
	Generation int         // of the secret presented; 0 where none matched
	Hour       time.Time   // its start
	OK         int
	Refused    int
	Limited    int // refused by a limit of the key
	Last       Use // of the last success; zero where OK is 0
}

package accounts

import (
	"context"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// ServiceAccount owns API keys that outlive a person: those of a cluster, a
// pipeline or an agent. It belongs to one organisation, where its role caps its
// keys as a person's role caps theirs. It has neither e-mail address nor
// password and is found by nothing that asks for people, so it cannot log in,
// register, or be invited anywhere.
type ServiceAccount struct {
	ID          ident.UserID // "svc_…"
	Org         ident.OrgID
	Name        string // unique in the organisation
	Description string // may be empty
	Role        string
	Status      Status
	CreatedAt   time.Time
}

// maxDescription is the longest description, in characters.
const maxDescription = 1000

// ServiceAccountReader reads service accounts outside a transaction.
type ServiceAccountReader interface {
	// ServiceAccount returns a service account of the tenant; fault.NotFound where
	// there is none.
	ServiceAccount(ctx context.Context, t ident.Tenant, id ident.UserID) (ServiceAccount, error)
	// ServiceAccounts lists the tenant's service accounts, newest first.
	ServiceAccounts(ctx context.Context, t ident.Tenant, p ident.Page) ([]ServiceAccount, error)
	// ServiceAccountExists reports whether some organisation has it.
	ServiceAccountExists(ctx context.Context, id ident.UserID) (bool, error)
}

// ServiceAccountTx changes service accounts. Where an organisation is locked
// too, the service account is locked first.
type ServiceAccountTx interface {
	// InsertServiceAccount adds a service account and reports false where the
	// name is taken in the organisation.
	InsertServiceAccount(s ServiceAccount) (bool, error)
	// LockServiceAccount returns a service account of the tenant, locked against
	// every other change; fault.NotFound where there is none.
	LockServiceAccount(t ident.Tenant, id ident.UserID) (ServiceAccount, error)
	// UpdateServiceAccount stores name, description, role and status, and reports
	// false where the name is taken.
	UpdateServiceAccount(s ServiceAccount) (bool, error)
	// DeleteServiceAccount removes it.
	DeleteServiceAccount(id ident.UserID) error
	// UsableAPIKeys counts the API keys that the owner has and that are neither
	// revoked nor, at now, expired.
	UsableAPIKeys(owner ident.UserID, now time.Time) (int, error)
}

// ServiceAccounts lists the service accounts of the caller's organisation,
// newest first.
func (p *People) ServiceAccounts(ctx context.Context, c ident.Caller, page ident.Page) ([]ServiceAccount, error) {
	return p.Store.ServiceAccounts(ctx, c.Tenant(), page)
}

// ServiceAccount returns one of the caller's organisation. Any other is
// fault.NotFound; where it exists, the attempt is recorded.
func (p *People) ServiceAccount(ctx context.Context, c ident.Caller, id ident.UserID) (ServiceAccount, error) {
	s, err := p.Store.ServiceAccount(ctx, c.Tenant(), id)
	if err != nil {
		return ServiceAccount{}, p.refused(ctx, c, serviceTarget(ServiceAccount{ID: id}), err)
	}
	return s, nil
}

// NewServiceAccount is a service account to create.
type NewServiceAccount struct {
	Name        string // 1 to 200 characters
	Description string // at most 1000
	Role        string
}

// CreateServiceAccount adds a service account to the caller's organisation. Its
// role may permit no more than the caller has. A name that is taken is
// fault.Conflict.
func (p *People) CreateServiceAccount(ctx context.Context, c ident.Caller, n NewServiceAccount) (ServiceAccount, error) {
	change := ServiceAccountPatch{Name: &n.Name, Description: &n.Description}
	if err := change.check(); err != nil {
		return ServiceAccount{}, err
	}
	at := p.Now()
	s := ServiceAccount{
		ID: ident.NewServiceAccountID(at, p.Random), Name: *change.Name, Description: *change.Description,
		Role: n.Role, Status: Active, CreatedAt: at,
	}
	err := p.Store.InTx(ctx, func(tx Tx) error {
		org, err := tx.LockOrg(c.Tenant().Org())
		if err != nil {
			return err
		}
		if org.Status != Active {
			return fault.New(fault.Conflict, "The organisation is disabled.")
		}
		s.Org = org.ID
		permitted, err := p.permitted(tx, org.ID, n.Role)
		if err != nil {
			return err
		}
		if err := ceiling(c, permitted); err != nil {
			return err
		}
		if err := stored(tx.InsertServiceAccount(s)); err != nil {
			return err
		}
		e := audit.By(c, at, audit.ServiceCreated, serviceTarget(s))
		e.Org, e.Meta = s.Org, map[string]string{"role": s.Role}
		return tx.Record(e)
	})
	if err != nil {
		return ServiceAccount{}, p.refused(ctx, c, audit.Target{Type: "role", ID: n.Role}, err)
	}
	return s, nil
}

// stored makes a failure of a name that is taken.
func stored(done bool, err error) error {
	if err == nil && !done {
		return fault.New(fault.Conflict, "The organisation has a service account of this name already.")
	}
	return err
}

// cleanDescription returns a text in NFC without spaces around it. It may have
// several lines.
func cleanDescription(text string) (string, error) {
	text = strings.TrimSpace(norm.NFC.String(text))
	switch {
	case !utf8.ValidString(text):
		return "", fault.Refuse("description", "must be valid UTF-8")
	case utf8.RuneCountInString(text) > maxDescription:
		return "", fault.Refuse("description", "must have at most 1000 characters")
	case strings.ContainsFunc(text, func(r rune) bool { return r != '\n' && r != '\t' && unprintable(r) }):
		return "", fault.Refuse("description", "must not contain control characters")
	}
	return text, nil
}

func serviceTarget(s ServiceAccount) audit.Target {
	return audit.Target{Type: "service_account", ID: string(s.ID), Name: s.Name}
}

package gormstore

import (
	"context"
	"time"

	"gorm.io/gorm"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

type invitationRow struct {
	ID        string `gorm:"primaryKey"`
	Org       string `gorm:"column:org_id"`
	Email     string
	Canonical string
	Role      string
	Permits   string
	Inviter   string
	InvitedBy string
	State     string
	CreatedAt int64 `gorm:"autoCreateTime:false"`
	ExpiresAt int64
	OrgName   string `gorm:"->"` // of a joined table
}

func (invitationRow) TableName() string { return "invitations" }

func invitationRowOf(i accounts.Invitation) invitationRow {
	return invitationRow{
		ID: string(i.ID), Org: string(i.Org), Email: i.Email, Canonical: i.Canonical, Role: i.Role, Permits: i.Ceiling.String(),
		Inviter: string(i.Inviter), InvitedBy: i.InvitedBy, State: string(i.State), CreatedAt: micros(i.CreatedAt), ExpiresAt: micros(i.ExpiresAt),
	}
}

func (r invitationRow) domain() (accounts.Invitation, error) {
	permits, err := permissions(r.Permits)
	return accounts.Invitation{
		ID: ident.InvitationID(r.ID), Org: ident.OrgID(r.Org), OrgName: r.OrgName, Email: r.Email, Canonical: r.Canonical, Role: r.Role, Ceiling: permits,
		Inviter: ident.UserID(r.Inviter), InvitedBy: r.InvitedBy, State: accounts.InvitationState(r.State),
		CreatedAt: timeOf(r.CreatedAt), ExpiresAt: timeOf(r.ExpiresAt),
	}, err
}

type invitationLinkRow struct {
	Digest     []byte `gorm:"primaryKey"`
	Invitation string
}

func (invitationLinkRow) TableName() string { return "invitation_links" }

// namedInvitations reads invitations with the names of their organisations.
func namedInvitations(g *gorm.DB) *gorm.DB {
	return g.Table("invitations").Select("invitations.*, organisations.name AS org_name").Joins("JOIN organisations ON organisations.id = invitations.org_id")
}

func oneInvitation(q *gorm.DB) (accounts.Invitation, error) {
	var rows []invitationRow
	if err := q.Limit(1).Scan(&rows).Error; err != nil {
		return accounts.Invitation{}, unavailable(err)
	}
	if len(rows) == 0 {
		return accounts.Invitation{}, fault.NotFound
	}
	return rows[0].domain()
}

func (p people) Invitations(ctx context.Context, t ident.Tenant, page ident.Page) ([]accounts.Invitation, error) {
	q := namedInvitations(p.db.read.WithContext(ctx)).Where("invitations.org_id = ?", string(t.Org()))
	if page.Before != "" {
		q = q.Where("invitations.id < ?", page.Before)
	}
	var rows []invitationRow
	if err := q.Order("invitations.id DESC").Limit(page.Limit).Scan(&rows).Error; err != nil {
		return nil, unavailable(err)
	}
	out := make([]accounts.Invitation, len(rows))
	for n, r := range rows {
		var err error
		if out[n], err = r.domain(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (p people) OneInvitation(ctx context.Context, t ident.Tenant, id ident.InvitationID) (accounts.Invitation, error) {
	return oneInvitation(namedInvitations(p.db.read.WithContext(ctx)).Where("invitations.org_id = ? AND invitations.id = ?", string(t.Org()), string(id)))
}

func (p people) InvitationByLink(ctx context.Context, digest []byte) (accounts.Invitation, error) {
	q := namedInvitations(p.db.read.WithContext(ctx)).Joins("JOIN invitation_links ON invitation_links.invitation = invitations.id")
	return oneInvitation(q.Where("invitation_links.digest = ?", digest))
}

func (p people) InvitationExists(ctx context.Context, id ident.InvitationID) (bool, error) {
	var n int64
	err := p.db.read.WithContext(ctx).Model(&invitationRow{}).Where("id = ?", string(id)).Count(&n).Error
	return n > 0, unavailable(err)
}

// InsertInvitation adds an invitation.
func (t *tx) InsertInvitation(i accounts.Invitation) error {
	r := invitationRowOf(i)
	return conflict(t.g.Create(&r).Error)
}

// Invitation returns an invitation of the organisation.
func (t *tx) Invitation(org ident.OrgID, id ident.InvitationID) (accounts.Invitation, error) {
	return oneInvitation(namedInvitations(t.g).Where("invitations.org_id = ? AND invitations.id = ?", string(org), string(id)))
}

// OpenInvitation returns the open one for an address.
func (t *tx) OpenInvitation(org ident.OrgID, canonical string) (accounts.Invitation, error) {
	return oneInvitation(namedInvitations(t.g).Where("invitations.org_id = ? AND canonical = ? AND state = ?",
		string(org), canonical, string(accounts.InvitationOpen)))
}

// UpdateInvitation stores ceiling, inviter and expiry.
func (t *tx) UpdateInvitation(i accounts.Invitation) error {
	return unavailable(t.g.Model(&invitationRow{}).Where("id = ?", string(i.ID)).Updates(map[string]any{
		"permits": i.Ceiling.String(), "inviter": string(i.Inviter), "invited_by": i.InvitedBy, "expires_at": micros(i.ExpiresAt),
	}).Error)
}

// SettleInvitation ends an open invitation by one compare-and-swap.
func (t *tx) SettleInvitation(id ident.InvitationID, as accounts.InvitationState) (bool, error) {
	done := t.g.Model(&invitationRow{}).Where("id = ? AND state = ?", string(id), string(accounts.InvitationOpen)).Update("state", string(as))
	return done.RowsAffected == 1, unavailable(done.Error)
}

// InsertInvitationLink adds a link to an invitation.
func (t *tx) InsertInvitationLink(digest []byte, id ident.InvitationID) error {
	return conflict(t.g.Create(&invitationLinkRow{Digest: digest, Invitation: string(id)}).Error)
}

// AddInvitationLetter counts a letter.
func (t *tx) AddInvitationLetter(l accounts.InvitationLetter) error {
	r := invitationLetterRowOf(l)
	return unavailable(t.g.Create(&r).Error)
}

// InvitationLettersOf counts the organisation's letters since a time.
func (t *tx) InvitationLettersOf(org ident.OrgID, since time.Time) (int, time.Time, error) {
	var found struct{ N, First int64 }
	err := t.g.Raw("SELECT COUNT(*) AS n, COALESCE(MIN(created_at), 0) AS first FROM invitation_letters WHERE org_id = ? AND created_at > ?",
		string(org), micros(since)).Scan(&found).Error
	return int(found.N), timeOf(found.First), unavailable(err)
}

// MemberByEmail reports whether a member has the canonical address.
func (t *tx) MemberByEmail(org ident.OrgID, canonical string) (bool, error) {
	var n int64
	err := t.g.Raw("SELECT COUNT(*) FROM users u JOIN memberships m ON m.user_id = u.id WHERE u.canonical = ? AND m.org_id = ?", canonical, string(org)).Scan(&n).Error
	return n > 0, unavailable(err)
}

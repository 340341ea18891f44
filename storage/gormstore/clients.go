package gormstore

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/oauth"
	"github.com/tokenhouse/tokenhouse/tokens"
)

type clientRow struct {
	ID          string `gorm:"primaryKey"`
	Org         string `gorm:"column:org_id"`
	Name        string
	AuthMethod  string
	Status      string
	Grants      string
	Scopes      string
	Redirects   string `gorm:"column:redirect_uris"`
	PostLogout  string `gorm:"column:post_logout_redirect_uris"`
	Backchannel string `gorm:"column:backchannel_logout_uri"`
	JWKS        string `gorm:"column:jwks"`
	JWKSURI     string `gorm:"column:jwks_uri"`
	Created     int64  `gorm:"column:created_at"`
	CreatedBy   string
	Details     clientDetails `gorm:"embedded"`
}

type clientDetails struct {
	Settings            string // JSON
	BackchannelSession  bool   `gorm:"column:backchannel_logout_session"`
	Frontchannel        string `gorm:"column:frontchannel_logout_uri"`
	FrontchannelSession bool   `gorm:"column:frontchannel_logout_session"`
	OpenFrom            string
	Expires             int64 `gorm:"column:expires_at"`
}

type clientSecretRow struct {
	Client  string `gorm:"column:client_id;primaryKey"`
	Digest  []byte `gorm:"primaryKey"`
	Sealed  []byte `gorm:"nullable"` // see notNull
	Created int64  `gorm:"column:created_at"`
	Until   int64  `gorm:"column:valid_until"`
}

func (clientRow) TableName() string       { return "clients" }
func (clientSecretRow) TableName() string { return "client_secrets" }

func clientRowOf(c oauth.Registered) (clientRow, error) {
	settings, err := json.Marshal(c.Settings)
	return clientRow{
		ID: string(c.ID), Org: string(c.Org), Name: c.Name, AuthMethod: string(c.AuthMethod), Status: string(c.Status),
		Grants: strings.Join(c.Grants, " "), Scopes: strings.Join(c.Scopes, " "),
		Redirects: strings.Join(c.RedirectURIs, " "), PostLogout: strings.Join(c.Logout.RedirectURIs, " "), Backchannel: c.Logout.BackchannelURI,
		JWKS: string(c.JWKS), JWKSURI: c.JWKSURI, Created: micros(c.CreatedAt), CreatedBy: c.CreatedBy,
		Details: clientDetails{
			Settings: string(settings), BackchannelSession: c.Logout.BackchannelSession,
			Frontchannel: c.Logout.FrontchannelURI, FrontchannelSession: c.Logout.FrontchannelSession,
			OpenFrom: c.Settings.Dynamic.From, Expires: micros(c.Settings.Dynamic.ExpiresAt),
		},
	}, err
}

func (r clientRow) domain() (oauth.Registered, error) {
	c := oauth.Registered{
		ID: ident.ClientID(r.ID), Org: ident.OrgID(r.Org), Name: r.Name, AuthMethod: oauth.AuthMethod(r.AuthMethod), Status: oauth.ClientStatus(r.Status),
		Grants: words(r.Grants), Scopes: words(r.Scopes),
		RedirectURIs: words(r.Redirects), Logout: oauth.ClientLogout{
			RedirectURIs: words(r.PostLogout), BackchannelURI: r.Backchannel, BackchannelSession: r.Details.BackchannelSession,
			FrontchannelURI: r.Details.Frontchannel, FrontchannelSession: r.Details.FrontchannelSession,
		},
		JWKSURI: r.JWKSURI, CreatedAt: timeOf(r.Created), CreatedBy: r.CreatedBy,
	}
	if r.JWKS != "" {
		c.JWKS = []byte(r.JWKS)
	}
	if err := json.Unmarshal([]byte(r.Details.Settings), &c.Settings); err != nil {
		return c, fmt.Errorf("client %s: read its settings: %w", r.ID, err)
	}
	return c, nil
}

// words is the list that s holds; nil where that is empty.
func words(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, " ")
}

func (r clientSecretRow) domain() oauth.ClientSecret {
	return oauth.ClientSecret{Digest: r.Digest, Sealed: r.Sealed, CreatedAt: timeOf(r.Created), ValidUntil: timeOf(r.Until)}
}

// Clients returns the store of registered clients.
func (db *DB) Clients() oauth.ClientStore { return clients{db} }

type clients struct{ db *DB }

var (
	_ oauth.ClientStore = clients{}
	_ oauth.ClientTx    = (*tx)(nil)
)

func (s clients) InClientTx(ctx context.Context, fn func(oauth.ClientTx) error) error {
	return s.db.inTx(ctx, func(t *tx) error { return fn(t) })
}

func (s clients) AnyClient(ctx context.Context, id ident.ClientID) (oauth.Registered, error) {
	g := s.db.read.WithContext(ctx)
	var found struct {
		Row         clientRow `gorm:"embedded"`
		OrgDisabled bool
	}
	err := g.Model(&clientRow{}).Where("id = ?", string(id)).
		Select("clients.*, EXISTS (SELECT 1 FROM organisations o WHERE o.id = clients.org_id AND o.status <> 'active') AS org_disabled").Take(&found).Error
	if err != nil {
		return oauth.Registered{}, notFound(err)
	}
	if found.OrgDisabled {
		found.Row.Status = string(oauth.ClientDisabled)
	}
	c, err := withClientSecrets(g, []clientRow{found.Row})
	if err != nil {
		return oauth.Registered{}, err
	}
	return c[0], nil
}

func (s clients) Client(ctx context.Context, t ident.Tenant, id ident.ClientID) (oauth.Registered, error) {
	g := s.db.read.WithContext(ctx)
	return oneClient(g, g.Where("org_id = ? AND id = ?", string(t.Org()), string(id)))
}

func (s clients) Clients(ctx context.Context, t ident.Tenant, p ident.Page) ([]oauth.Registered, error) {
	g := s.db.read.WithContext(ctx)
	q := g.Where("org_id = ?", string(t.Org()))
	if p.Before != "" {
		q = q.Where("id < ?", p.Before)
	}
	var rows []clientRow
	if err := q.Order("id DESC").Limit(p.Limit).Find(&rows).Error; err != nil {
		return nil, unavailable(err)
	}
	return withClientSecrets(g, rows)
}

func (s clients) ExpiredClients(ctx context.Context, now time.Time, limit int) ([]oauth.Registered, error) {
	g := s.db.read.WithContext(ctx)
	var rows []clientRow
	if err := g.Where("expires_at > 0 AND expires_at <= ?", micros(now)).Order("expires_at, id").Limit(limit).Find(&rows).Error; err != nil {
		return nil, unavailable(err)
	}
	return withClientSecrets(g, rows)
}

// openClientsLock is a number that no other lock of ours has.
const openClientsLock = 7591

func (t *tx) CountOpenClients(from string, since time.Time) (living, recent int, err error) {
	var n struct{ Living, Recent int }
	if t.g.Name() == "postgres" {
		// Whoever counts waits for who counted before, and then sees what that
		// one added. SQLite has one writer at a time as it is.
		if err := t.g.Exec("SELECT pg_advisory_xact_lock(?)", openClientsLock).Error; err != nil {
			return 0, 0, unavailable(err)
		}
	}
	err = t.g.Raw(`SELECT (SELECT count(*) FROM clients WHERE open_from <> '') AS living,
		(SELECT count(*) FROM clients WHERE open_from <> '' AND open_from = ? AND created_at > ?) AS recent`, from, micros(since)).Scan(&n).Error
	return n.Living, n.Recent, unavailable(err)
}

func (t *tx) EndClientFamilies(client ident.ClientID, at, until time.Time, reason string) (int, error) {
	ended, err := t.endSessions(tokens.Ending{Client: client, Reason: reason, At: at, Until: until})
	return len(ended), err
}

func (t *tx) LockClient(tenant ident.Tenant, id ident.ClientID) (oauth.Registered, error) {
	q := t.g.Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate})
	return oneClient(t.g, q.Where("org_id = ? AND id = ?", string(tenant.Org()), string(id)))
}

func (t *tx) InsertClient(c oauth.Registered) error {
	row, err := clientRowOf(c)
	if err != nil {
		return err
	}
	if err := t.g.Create(&row).Error; err != nil {
		return conflict(err)
	}
	return t.PutClientSecrets(c.ID, c.Secrets)
}

func (t *tx) UpdateClient(c oauth.Registered) error {
	r, err := clientRowOf(c)
	if err != nil {
		return err
	}
	d := r.Details
	return unavailable(t.g.Model(&clientRow{}).Where("id = ?", r.ID).Updates(map[string]any{
		"name": r.Name, "status": r.Status, "grants": r.Grants, "scopes": r.Scopes,
		"redirect_uris": r.Redirects, "post_logout_redirect_uris": r.PostLogout, "backchannel_logout_uri": r.Backchannel,
		"jwks": r.JWKS, "jwks_uri": r.JWKSURI, "settings": d.Settings, "backchannel_logout_session": d.BackchannelSession,
		"frontchannel_logout_uri": d.Frontchannel, "frontchannel_logout_session": d.FrontchannelSession,
		"open_from": d.OpenFrom, "expires_at": d.Expires,
	}).Error)
}

func (t *tx) PutClientSecrets(id ident.ClientID, secrets []oauth.ClientSecret) error {
	if err := t.g.Where("client_id = ?", string(id)).Delete(&clientSecretRow{}).Error; err != nil {
		return unavailable(err)
	}
	if len(secrets) == 0 {
		return nil
	}
	rows := make([]clientSecretRow, len(secrets))
	for i, s := range secrets {
		rows[i] = clientSecretRow{Client: string(id), Digest: s.Digest, Sealed: s.Sealed, Created: micros(s.CreatedAt), Until: micros(s.ValidUntil)}
	}
	return unavailable(t.g.Create(&rows).Error)
}

func (t *tx) DeleteClient(id ident.ClientID) error {
	// Its secrets go with it, by their foreign key.
	return unavailable(t.g.Where("id = ?", string(id)).Delete(&clientRow{}).Error)
}

// oneClient reads the client that q finds, and its secrets through g.
func oneClient(g, q *gorm.DB) (oauth.Registered, error) {
	var r clientRow
	if err := q.Take(&r).Error; err != nil {
		return oauth.Registered{}, notFound(err)
	}
	found, err := withClientSecrets(g, []clientRow{r})
	if err != nil {
		return oauth.Registered{}, err
	}
	return found[0], nil
}

func withClientSecrets(g *gorm.DB, rows []clientRow) ([]oauth.Registered, error) {
	if len(rows) == 0 {
		return nil, nil
	}
	found := make([]oauth.Registered, len(rows))
	at := make(map[string]int, len(rows))
	ids := make([]string, len(rows))
	for i, r := range rows {
		c, err := r.domain()
		if err != nil {
			return nil, err
		}
		found[i], at[r.ID], ids[i] = c, i, r.ID
	}
	var secrets []clientSecretRow
	// The current secret has no end, which is 0 and so comes first.
	if err := g.Where("client_id IN ?", ids).Order("client_id, valid_until").Find(&secrets).Error; err != nil {
		return nil, unavailable(err)
	}
	for _, r := range secrets {
		c := &found[at[r.Client]]
		c.Secrets = append(c.Secrets, r.domain())
	}
	return found, nil
}

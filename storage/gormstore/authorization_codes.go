package gormstore

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/oauth"
)

// Authorizations returns the store of what users allowed: codes and consents.
func (db *DB) Authorizations() oauth.AuthorizationStore { return authorizations{db} }

type authorizations struct{ db *DB }

// authorizationTx is a transaction on codes and consents; it ends sessions too.
type authorizationTx struct{ sessionTx }

var (
	_ oauth.AuthorizationStore = authorizations{}
	_ oauth.AuthorizationTx    = authorizationTx{}
	_ oauth.CodeTx             = (*tx)(nil)
)

func (s authorizations) InAuthorizationTx(ctx context.Context, fn func(oauth.AuthorizationTx) error) error {
	return s.db.inTx(ctx, func(t *tx) error { return fn(authorizationTx{sessionTx{t}}) })
}

type codeRow struct {
	Digest        []byte `gorm:"primaryKey"`
	Client        string `gorm:"column:client_id"`
	User          string `gorm:"column:user_id"`
	Org           string `gorm:"column:org_id"`
	Browser       string `gorm:"column:browser_session_id"`
	Redirect      string `gorm:"column:redirect_uri"`
	Challenge     string `gorm:"column:code_challenge"`
	Authorization string
	Created       int64  `gorm:"column:created_at"`
	Expires       int64  `gorm:"column:expires_at"`
	Used          int64  `gorm:"column:used_at"`
	Session       string `gorm:"column:session_id"`
	Forget        int64  `gorm:"column:forget_at"`
}

func (codeRow) TableName() string { return "authorization_codes" }

func (r codeRow) domain() (oauth.Code, error) {
	c := oauth.Code{
		Digest: r.Digest, Client: ident.ClientID(r.Client), User: ident.UserID(r.User), Org: ident.OrgID(r.Org), Browser: ident.SessionID(r.Browser),
		RedirectURI: r.Redirect, Challenge: r.Challenge, CreatedAt: timeOf(r.Created), ExpiresAt: timeOf(r.Expires),
		UsedAt: timeOf(r.Used), Family: ident.SessionID(r.Session),
	}
	if err := json.Unmarshal([]byte(r.Authorization), &c.Authorization); err != nil {
		return c, fmt.Errorf("authorization code of %s: %w", r.Client, err)
	}
	return c, nil
}

func (s authorizations) Code(ctx context.Context, digest []byte) (oauth.Code, error) {
	var r codeRow
	if err := s.db.read.WithContext(ctx).Where("digest = ?", digest).Take(&r).Error; err != nil {
		return oauth.Code{}, notFound(err)
	}
	return r.domain()
}

func (s authorizations) DeleteExpiredCodes(ctx context.Context, before time.Time, limit int) (int, error) {
	return s.db.delete(ctx, `DELETE FROM authorization_codes WHERE digest IN
		(SELECT digest FROM authorization_codes WHERE forget_at < ? ORDER BY forget_at LIMIT ?)`, micros(before), limit)
}

func (t *tx) InsertCode(c oauth.Code) error {
	text, err := json.Marshal(c.Authorization)
	if err != nil {
		return err
	}
	r := codeRow{
		Digest: c.Digest, Client: string(c.Client), User: string(c.User), Org: string(c.Org), Browser: string(c.Browser),
		Redirect: c.RedirectURI, Challenge: c.Challenge, Authorization: string(text),
		Created: micros(c.CreatedAt), Expires: micros(c.ExpiresAt), Forget: micros(c.ExpiresAt),
	}
	return conflict(t.g.Create(&r).Error)
}

// UseCode is one compare-and-swap: of two who redeem a code, one changes the row.
func (t *tx) UseCode(digest []byte, family ident.SessionID, at, until time.Time) (bool, error) {
	done := t.g.Exec(`UPDATE authorization_codes SET used_at = ?, session_id = ?, forget_at = ? WHERE digest = ? AND used_at = 0`,
		micros(at), string(family), micros(until), digest)
	return done.Error == nil && done.RowsAffected == 1, unavailable(done.Error)
}

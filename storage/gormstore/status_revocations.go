package gormstore

import (
	"slices"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/tokens"
)

// revokePlaces announces the places of all tokens that this transaction
// revokes. Every revocation is announced, so none is forgotten, whoever makes
// it and why. Only the place of a single token must be announced by who
// revokes it: nothing remembers where that stands but the token itself.
func (t *tx) revokePlaces() error {
	r := revoking{tx: t}
	for _, c := range t.changes {
		switch c.Kind {
		case changes.SessionRevoked:
			r.sessions = append(r.sessions, c.Key)
		case changes.SubjectCutoff:
			r.subjects = append(r.subjects, c.Key)
			r.holders = append(r.holders, c.Key)
		case changes.APIKeyRevoked:
			r.holders = append(r.holders, c.Key)
		default:
			continue
		}
		if r.at.IsZero() || c.At.Before(r.at) {
			r.at = c.At
		}
	}
	// The order in which rows are locked is that of endSessions and of leases.
	for _, find := range []func() error{r.ofSessions, r.ofSubjects, r.ofHolders} {
		if err := find(); err != nil {
			return unavailable(err)
		}
	}
	t.changes = append(t.changes, tokens.RevokedPlaces(r.at, r.found)...)
	return nil
}

// revoking is what a transaction revokes, and the places found of it.
type revoking struct {
	tx       *tx
	at       time.Time // the first of its revocations
	sessions []string
	subjects []string // users and clients
	holders  []string // API keys, clients, and users who own API keys
	found    []tokens.LiveRange
}

type livePlaces struct {
	ID   string
	Live string
}

// ofSessions finds the places of sessions that ended: their rows are locked.
func (r *revoking) ofSessions() error {
	for chunk := range slices.Chunk(r.sessions, 500) {
		var rows []livePlaces
		if err := r.tx.g.Model(&sessionRow{}).Select("id", "live").Where("id IN ? AND live <> ''", chunk).Find(&rows).Error; err != nil {
			return err
		}
		r.take(rows)
	}
	return nil
}

// ofSubjects finds the places of sessions that go on, and empties them, so that
// no refresh gives out a place again that reads "invalid". A refresh that is
// under way begins anew.
func (r *revoking) ofSubjects() error {
	if len(r.subjects) == 0 {
		return nil
	}
	slices.Sort(r.subjects)
	var rows []livePlaces
	err := forUpdate(r.tx.g).Model(&sessionRow{}).Select("id", "live").
		Where("user_id IN ? AND revoked_at = 0 AND live <> ''", slices.Compact(r.subjects)).Order("id").Find(&rows).Error
	if err != nil {
		return err
	}
	r.take(rows)
	for chunk := range slices.Chunk(rows, 500) {
		ids := make([]string, len(chunk))
		for i, row := range chunk {
			ids[i] = row.ID
		}
		if err := r.tx.g.Exec("UPDATE sessions SET version = version + 1, live = '' WHERE id IN ?", ids).Error; err != nil {
			return err
		}
	}
	return nil
}

func (r *revoking) take(rows []livePlaces) {
	for _, row := range rows {
		r.found = append(r.found, tokens.Live(row.Live).Ranges(r.at)...)
	}
}

// ofHolders finds the blocks that were leased for what is revoked.
func (r *revoking) ofHolders() error {
	slices.Sort(r.holders)
	r.holders = slices.Compact(r.holders)
	for _, id := range r.holders {
		if err := r.tx.lockName("", id); err != nil {
			return err
		}
	}
	for chunk := range slices.Chunk(r.holders, 250) {
		var rows []statusLeaseRow
		err := r.tx.g.Where("(holder_id IN ? OR user_id <> '' AND user_id IN ?) AND ends_at > ?", chunk, chunk, micros(r.at)).Find(&rows).Error
		if err != nil {
			return err
		}
		for _, row := range rows {
			r.found = append(r.found, row.domain())
		}
	}
	return nil
}

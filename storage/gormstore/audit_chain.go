package gormstore

import (
	"context"
	"fmt"

	"gorm.io/gorm"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

type linkRow struct {
	ID       int64 `gorm:"primaryKey;autoIncrement:false"`
	Shard    string
	Position int64
	Seq      int64
	At       int64
	Class    string
	Body     []byte
	Hash     []byte
	Pruned   int64
}

func (linkRow) TableName() string { return "audit_links" }

func linkRowOf(l audit.Link) linkRow {
	return linkRow{
		ID: l.ID, Shard: string(l.Shard), Position: l.Position, Seq: l.Seq, At: micros(l.Time), Class: string(l.Class),
		Body: l.Body[:], Hash: l.Hash[:],
	}
}

func (r linkRow) domain() (audit.Link, error) {
	l := audit.Link{
		ID: r.ID, Shard: ident.OrgID(r.Shard), Position: r.Position, Seq: r.Seq, Time: timeOf(r.At), Class: audit.Class(r.Class), Pruned: r.Pruned != 0,
	}
	if len(r.Body) != len(l.Body) || len(r.Hash) != len(l.Hash) {
		return l, fmt.Errorf("audit link %d has a digest of another length", r.ID)
	}
	copy(l.Body[:], r.Body)
	copy(l.Hash[:], r.Hash)
	return l, nil
}

// Chain returns the chain of the audit log.
func (db *DB) Chain() audit.ChainStore { return chainStore{db} }

type chainStore struct{ db *DB }

func (c chainStore) Linked(ctx context.Context, after int64, limit int) ([]audit.Linked, error) {
	return c.linked(c.db.read.WithContext(ctx).Where("id > ?", after).Order("id").Limit(limit))
}

func (c chainStore) LinkedOf(ctx context.Context, shard ident.OrgID, after int64, limit int) ([]audit.Linked, error) {
	return c.linked(c.db.read.WithContext(ctx).Where("shard = ? AND position > ?", string(shard), after).Order("position").Limit(limit))
}

// linked reads links and then their events: an event that is pruned in between
// has a link that is not marked yet, and is marked here.
func (c chainStore) linked(q *gorm.DB) ([]audit.Linked, error) {
	var links []linkRow
	if err := q.Find(&links).Error; err != nil {
		return nil, unavailable(err)
	}
	seqs := make([]int64, 0, len(links))
	for _, l := range links {
		if l.Pruned == 0 {
			seqs = append(seqs, l.Seq)
		}
	}
	events, err := readEvents(c.db.read.WithContext(q.Statement.Context).Where("seq IN ?", seqs))
	if err != nil {
		return nil, err
	}
	bySeq := make(map[int64]audit.Event, len(events))
	for _, e := range events {
		bySeq[e.Seq] = e
	}
	out := make([]audit.Linked, len(links))
	for i, r := range links {
		if out[i].Link, err = r.domain(); err != nil {
			return nil, err
		}
		e, found := bySeq[r.Seq]
		out[i].Event, out[i].Pruned = e, !found
	}
	return out, nil
}

package gormstore

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// sealBatch is how many events get their places in one commit: few enough that
// who waits for SQLite's one writer does not notice.
const sealBatch = 500

type sealerRow struct {
	ID       int64 `gorm:"primaryKey"`
	Links    int64 // ID of the newest link
	Seq      int64 // events up to here were seen; on PostgreSQL of those without txid, -1 when there are none
	Snapshot string
}

func (sealerRow) TableName() string { return "audit_sealer" }

type shardRow struct {
	Shard      string `gorm:"primaryKey"`
	Position   int64
	Hash       []byte
	Signed     int64
	SignedAt   int64
	SignedHash []byte
	Base       int64
	BaseHash   []byte
	BaseJWS    string `gorm:"column:base_jws"`
}

func (shardRow) TableName() string { return "audit_shards" }

// found are events that have no places yet, and where the sealer stands when
// they have.
type found struct {
	events []eventRow
	next   sealerRow
	more   bool
}

// errOvertaken means that another process sealed meanwhile.
var errOvertaken = errors.New("another process sealed")

func (c chainStore) Seal(ctx context.Context) (sealed int, err error) {
	p := pass{db: c.db, postgres: c.db.read.Name() == "postgres"}
	for more := true; more; {
		var n int
		n, more, err = c.sealBatch(ctx, &p)
		switch {
		case errors.Is(err, errOvertaken):
			p, more = pass{db: c.db, postgres: p.postgres}, ctx.Err() == nil
		case err != nil:
			return sealed, err
		}
		sealed += n
	}
	return sealed, ctx.Err()
}

// sealBatch reads and hashes outside the transaction, which then only writes,
// if nobody sealed meanwhile.
func (c chainStore) sealBatch(ctx context.Context, p *pass) (int, bool, error) {
	g := c.db.read.WithContext(ctx)
	var at sealerRow
	if err := g.Take(&at).Error; err != nil {
		return 0, false, unavailable(err)
	}
	f, err := p.find(g, at)
	if errors.Is(err, errOvertaken) {
		return 0, false, err
	}
	if err != nil {
		return 0, false, unavailable(err)
	}
	if len(f.events) == 0 && !p.began {
		return 0, f.more, nil
	}
	p.began = true
	shards, err := headsOf(g, f.events)
	if err != nil {
		return 0, false, unavailable(err)
	}
	links := make([]linkRow, len(f.events))
	for i, r := range f.events {
		if links[i], err = shards.link(r, at.Links+int64(i)+1); err != nil {
			return 0, false, err
		}
	}
	f.next.Links = at.Links + int64(len(links))
	err = c.db.inTx(ctx, func(t *tx) error { return t.seal(at, f.next, links, shards) })
	return len(links), f.more, err
}

func (t *tx) seal(at, next sealerRow, links []linkRow, shards heads) error {
	done := t.g.Model(&sealerRow{}).Where("id = 1 AND links = ? AND seq = ? AND snapshot = ?", at.Links, at.Seq, at.Snapshot).
		Updates(map[string]any{"links": next.Links, "seq": next.Seq, "snapshot": next.Snapshot})
	switch {
	case done.Error != nil:
		return done.Error
	case done.RowsAffected == 0:
		return errOvertaken
	case len(links) == 0:
		return nil
	}
	if err := t.g.CreateInBatches(&links, 500).Error; err != nil {
		return fmt.Errorf("give events their places: %w", err)
	}
	rows := make([]shardRow, 0, len(shards))
	for _, h := range shards {
		rows = append(rows, shardRow{Shard: string(h.Shard), Position: h.Position, Hash: h.Hash[:], SignedHash: []byte{}, BaseHash: []byte{}})
	}
	return t.g.Clauses(clause.OnConflict{Columns: []clause.Column{{Name: "shard"}}, DoUpdates: clause.AssignmentColumns([]string{"position", "hash"})}).
		CreateInBatches(&rows, 500).Error
}

// heads are the heads of the shards of a batch.
type heads map[string]*audit.Head

func headsOf(g *gorm.DB, events []eventRow) (heads, error) {
	out := heads{}
	var names []string
	for _, e := range events {
		if out[e.Org] == nil {
			out[e.Org] = &audit.Head{Shard: ident.OrgID(e.Org)}
			names = append(names, e.Org)
		}
	}
	if len(names) == 0 {
		return out, nil
	}
	var rows []shardRow
	if err := g.Where("shard IN ?", names).Find(&rows).Error; err != nil {
		return nil, err
	}
	for _, r := range rows {
		h := out[r.Shard]
		h.Position = r.Position
		copy(h.Hash[:], r.Hash)
	}
	return out, nil
}

func (s heads) link(r eventRow, id int64) (linkRow, error) {
	e, err := r.domain()
	if err != nil {
		return linkRow{}, err
	}
	l := s[r.Org].Next(e)
	l.ID = id
	*s[r.Org] = l.Head()
	return linkRowOf(l), nil
}

// pass is one walk over the events that have no places.
type pass struct {
	db       *DB
	postgres bool
	began    bool   // it gave places
	target   string // PostgreSQL: what was visible when the walk began
	from     string // PostgreSQL: the snapshot it began from
	txid     string // of the last event that was found
	seq      int64
}

// candidate is an event that the sealer comes to, and whether it has a place
// already.
type candidate struct {
	Event  eventRow `gorm:"embedded"`
	ByTx   string
	Linked bool
}

// candidates reads the events that the condition names, in the order, a batch of
// them. Their places are looked up for the batch alone: asked for what has none,
// PostgreSQL would read the whole chain.
func candidates(g *gorm.DB, order, condition string, args ...any) (out []candidate, err error) {
	err = planned(g, func(g *gorm.DB) error {
		batch := g.Table("audit_events").Where(condition, args...).Order(order).Limit(sealBatch)
		return g.Table("(?) AS e", batch).Select("e.*, COALESCE(CAST(e.txid AS text), '') AS by_tx, l.there IS NOT NULL AS linked").
			Joins("LEFT JOIN LATERAL (SELECT 1 AS there FROM audit_links WHERE audit_links.seq = e.seq LIMIT 1) l ON true").
			Order("e." + strings.ReplaceAll(order, ", ", ", e.")).Scan(&out).Error
	})
	return out, err
}

// planned reads with statements that PostgreSQL plans for the size that the log
// has now. A plan it keeps from when the log was small reads all of a large one.
func planned(g *gorm.DB, read func(*gorm.DB) error) error {
	return g.Transaction(func(g *gorm.DB) error {
		if err := g.Exec("SET LOCAL plan_cache_mode = force_custom_plan").Error; err != nil {
			return err
		}
		return read(g)
	}, &sql.TxOptions{ReadOnly: true})
}

func (p *pass) find(g *gorm.DB, at sealerRow) (found, error) {
	f := found{next: at}
	if p.postgres {
		return p.findPostgres(g, f)
	}
	// SQLite has one writer at a time: numbers are given out in the order of commits.
	err := g.Where("seq > ?", at.Seq).Order("seq").Limit(sealBatch).Find(&f.events).Error
	if f.more = len(f.events) == sealBatch; len(f.events) > 0 {
		f.next.Seq = f.events[len(f.events)-1].Seq
	}
	return f, err
}

// findPostgres finds first what was there before events knew their
// transactions, then what the snapshot of the last walk could not see. What is
// committed during the walk may be found by this one and the next, which
// passes it over: it has its link.
func (p *pass) findPostgres(g *gorm.DB, f found) (found, error) {
	if f.next.Seq >= 0 {
		rows, err := candidates(g, "seq", "txid IS NULL AND seq > ?", f.next.Seq)
		if f.next.Seq, f.more = -1, true; len(rows) == sealBatch {
			f.next.Seq = rows[sealBatch-1].Event.Seq
		}
		p.began = true
		f.take(rows)
		return f, err
	}
	if p.target == "" || p.from != f.next.Snapshot {
		if err := p.begin(g, f.next.Snapshot); err != nil {
			return f, err
		}
	}
	rows, err := candidates(g, "txid, seq", "(txid, seq) > (CAST(CAST(? AS text) AS xid8), ?) AND NOT pg_visible_in_snapshot(txid, CAST(CAST(? AS text) AS pg_snapshot))",
		p.txid, p.seq, cmp.Or(p.from, noSnapshot))
	if n := len(rows); n > 0 {
		p.txid, p.seq = rows[n-1].ByTx, rows[n-1].Event.Seq
	}
	if f.more = len(rows) == sealBatch; !f.more {
		f.next.Snapshot = p.target
	}
	f.take(rows)
	return f, err
}

// take takes the candidates that have no places yet.
func (f *found) take(rows []candidate) {
	for _, r := range rows {
		if !r.Linked {
			f.events = append(f.events, r.Event)
		}
	}
}

// noSnapshot has seen nothing.
const noSnapshot = "1:1:"

// begin starts a walk. Where the last one was in another cluster, which gave
// higher numbers to its transactions, what was restored from there is looked
// through once more, and by its own numbers.
func (p *pass) begin(g *gorm.DB, from string) error {
	var now struct {
		Mid  string
		Xmin string
		Back bool
	}
	err := g.Raw(`SELECT s.now::text AS mid, pg_snapshot_xmin(s.last)::text AS xmin, pg_snapshot_xmax(s.last) > pg_snapshot_xmax(s.now) AS back
		FROM (SELECT pg_current_snapshot() AS now, CAST(CAST(? AS text) AS pg_snapshot) AS last) s`, cmp.Or(from, noSnapshot)).Scan(&now).Error
	if err != nil {
		return err
	}
	p.from, p.target, p.txid, p.seq = from, now.Mid, now.Xmin, 0
	if !now.Back {
		return nil
	}
	err = p.db.inTx(g.Statement.Context, func(t *tx) error {
		for _, step := range []string{
			"SET LOCAL statement_timeout = 0", // it may be the whole log
			"UPDATE audit_events SET txid = NULL WHERE txid >= pg_snapshot_xmax(pg_current_snapshot())",
			"UPDATE audit_sealer SET seq = 0, snapshot = ''",
		} {
			if err := t.g.Exec(step).Error; err != nil {
				return err
			}
		}
		return nil
	})
	return cmp.Or(err, errOvertaken)
}

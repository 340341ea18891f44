package gormstore

import (
	"context"
	"time"

	"gorm.io/gorm"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// AuditSearch returns what looks for events without reading the whole log.
func (db *DB) AuditSearch() audit.Searcher { return auditReader{db} }

// Search looks at a stretch of the log that an index gives in its order, and
// filters what is in it.
func (a auditReader) Search(ctx context.Context, t ident.Tenant, f audit.Filter, before int64, limit int) (audit.Found, error) {
	if f.Request != "" || f.Event != "" {
		events, err := a.Events(ctx, t, f, before, limit)
		return audit.Found{Events: events}, err
	}
	from, to, err := a.stretch(ctx, f)
	if err != nil {
		return audit.Found{}, unavailable(err)
	}
	if before > 0 && (to == 0 || before < to) {
		to = before
	}
	span := func(columns string, limit int) *gorm.DB {
		q := a.db.read.WithContext(ctx).Table("audit_events").Select(columns).Where("org_id = ? AND seq >= ?", string(t.Org()), from)
		if to > 0 {
			q = q.Where("seq < ?", to)
		}
		if f.User != "" {
			q = q.Where("user_id <> '' AND user_id = ?", string(f.User))
		}
		if f.Key != "" {
			q = q.Where("key_id <> '' AND key_id = ?", string(f.Key))
		}
		return q.Order("seq DESC").Limit(limit)
	}
	found := narrow(a.db.read.WithContext(ctx).Table("(?) AS audit_events", span("*", audit.SearchSpan)), f).Order("seq DESC").Limit(limit)
	if !selective(f) {
		found = narrow(span("*", limit), f)
	}
	events, err := readEvents(found)
	if err != nil {
		return audit.Found{}, err
	}
	if len(events) == limit {
		last := events[limit-1]
		return audit.Found{Events: events, Before: last.Seq, Back: last.Time}, nil
	}
	var edge struct{ N, Seq, At int64 }
	err = a.db.read.WithContext(ctx).Table("(?) AS s", span("seq, at", audit.SearchSpan)).Select("COUNT(*) AS n, COALESCE(MIN(seq), 0) AS seq, COALESCE(MIN(at), 0) AS at").Scan(&edge).Error
	if err != nil || edge.N < audit.SearchSpan {
		return audit.Found{Events: events}, unavailable(err)
	}
	return audit.Found{Events: events, Before: edge.Seq, Back: timeOf(edge.At)}, nil
}

// selective reports whether the filter asks for more than what an index gives.
func selective(f audit.Filter) bool {
	return f.Name != "" || len(f.Names) > 0 || f.Outcome != "" || f.Reason != "" || f.Actor != "" || f.Target != "" || f.Session != "" || f.IP.IsValid()
}

// aroundTime is how many events at an end of a time are asked for their places in
// the log, because they are not recorded in the order in which they happened.
const aroundTime = 1000

// stretch is where in the log events of a time are: from is inclusive, to
// exclusive, and 0 without an end.
func (a auditReader) stretch(ctx context.Context, f audit.Filter) (from, to int64, err error) {
	edge := func(best, where, order string, at time.Time) (seq int64) {
		if err != nil {
			return 0
		}
		ids := a.db.read.Table("audit_events").Select("seq").Where("id "+where, string(ident.FirstEventID(at))).Order("id " + order).Limit(aroundTime)
		err = a.db.read.WithContext(ctx).Table("(?) AS s", ids).Select("COALESCE(" + best + "(seq), 0)").Scan(&seq).Error
		return seq
	}
	if !f.Since.IsZero() {
		from = edge("MIN", ">= ?", "ASC", f.Since.Add(-afterRequest))
		if from == 0 {
			from = 1 << 62 // nothing is as young
		}
	}
	if !f.Until.IsZero() {
		to = edge("MAX", "< ?", "DESC", f.Until.Add(afterRequest)) + 1
	}
	return from, to, err
}

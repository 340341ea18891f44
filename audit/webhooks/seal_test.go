package webhooks_test

import (
	"database/sql"
	"strings"

	_ "github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"
)

// TEMPORARY until the sealer is there.
func (w *world) seal() {
	driver, dsn := "pgx", w.url
	if !strings.Contains(w.url, "://") {
		driver, dsn = "sqlite", "file:"+w.url+"?_pragma=busy_timeout(5000)"
	}
	db, err := sql.Open(driver, dsn)
	w.must(err)
	defer db.Close()
	zero := "decode(repeat('00', 32), 'hex')"
	if driver == "sqlite" {
		zero = "zeroblob(32)"
	}
	_, err = db.Exec(`INSERT INTO audit_links (id, shard, position, seq, at, class, body, hash, pruned)
	 SELECT e.seq, e.org_id, (SELECT count(*) FROM audit_events f WHERE f.org_id = e.org_id AND f.seq <= e.seq), e.seq, e.at, 'security', ` + zero + `, ` + zero + `, 0
	 FROM audit_events e WHERE NOT EXISTS (SELECT 1 FROM audit_links l WHERE l.seq = e.seq)`)
	w.must(err)
}

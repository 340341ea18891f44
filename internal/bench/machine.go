package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"database/sql"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/go-jose/go-jose/v4"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/crypto/argon2"
	_ "modernc.org/sqlite" // the driver that the server uses
)

// signatures is how many access tokens this machine can sign: go-jose, ES256,
// one goroutine for each worker and nothing else.
func signatures(workers int, d time.Duration) (figure, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return figure{}, err
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, (&jose.SignerOptions{}).WithType("at+jwt"))
	if err != nil {
		return figure{}, err
	}
	payload := make([]byte, 700)
	return measure("ES256 signatures", workers, d, func(int) error {
		jws, err := signer.Sign(payload)
		if err != nil {
			return err
		}
		_, err = jws.CompactSerialize()
		return err
	}), nil
}

// hashes is how many passwords this machine can check.
func hashes(workers int, d time.Duration) figure {
	return measure("Argon2id 19 MiB t=2", workers, d, func(int) error {
		argon2.IDKey([]byte("correct horse battery"), []byte("0123456789abcdef"), 2, 19*1024, 1, 32)
		return nil
	})
}

// plainGin is what gin and the load generator cost when the handler does nothing.
func plainGin(workers int, d time.Duration) (figure, error) {
	gin.SetMode(gin.ReleaseMode)
	r := gin.New()
	r.GET("/", func(c *gin.Context) { c.String(http.StatusOK, "hello") })
	url, stop, err := listen(r)
	if err != nil {
		return figure{}, err
	}
	defer stop()
	client := newClient(workers)
	return measure("plain gin", workers, d, func(int) error {
		return client.expect(http.StatusOK, request{method: "GET", url: url})
	}), nil
}

// sqliteCommits is how often this disk makes one inserted row durable.
func sqliteCommits(dir string, d time.Duration) (figure, error) {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "limit.db")+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_txlock=immediate")
	if err != nil {
		return figure{}, err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.Exec("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)"); err != nil {
		return figure{}, err
	}
	return measure("SQLite commits (one writer)", 1, d, func(int) error {
		_, err := db.Exec("INSERT INTO t (v) VALUES ('0123456789')")
		return err
	}), nil
}

// postgresCommits is how often PostgreSQL makes one changed row durable for so
// many connections.
func postgresCommits(ctx context.Context, url string, workers int, d time.Duration) (figure, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return figure{}, err
	}
	cfg.MaxConns = int32(workers)
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return figure{}, err
	}
	defer pool.Close()
	_, err = pool.Exec(ctx, "CREATE TABLE IF NOT EXISTS bench_limit (id int PRIMARY KEY, v bigint NOT NULL)")
	if err != nil {
		return figure{}, err
	}
	for w := range workers {
		if _, err := pool.Exec(ctx, "INSERT INTO bench_limit VALUES ($1, 0) ON CONFLICT DO NOTHING", w); err != nil {
			return figure{}, err
		}
	}
	return measure("PostgreSQL commits", workers, d, func(w int) error {
		_, err := pool.Exec(ctx, "UPDATE bench_limit SET v = v + 1 WHERE id = $1", w)
		return err
	}), nil
}

// listen serves h on a free loopback port.
func listen(h http.Handler) (url string, stop func(), err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
	go func() { _ = srv.Serve(ln) }()
	return fmt.Sprintf("http://%s", ln.Addr()), func() { _ = srv.Close() }, nil
}

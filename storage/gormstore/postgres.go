package gormstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
)

// channel carries wake-ups for followers of the log of changes.
const channel = "tokenhouse_changes"

// attempts is how often work is done before a deadlock is reported.
const attempts = 4

// OpenPostgres opens the database that url names. One pool serves gorm and the
// LISTEN connection.
func OpenPostgres(ctx context.Context, url string, opts Options) (*DB, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, errors.New("the database URL is not a valid PostgreSQL URL") // err would show the password
	}
	if cfg.ConnConfig.DefaultQueryExecMode == pgx.QueryExecModeSimpleProtocol { // it puts values into the text of statements (SEC-INJ-04)
		return nil, errors.New("the database URL asks for the simple protocol of PostgreSQL, which we do not speak; behind a pooler of connections use default_query_exec_mode=exec")
	}
	cfg.MaxConns = opts.MaxConns
	if cfg.MaxConns == 0 {
		cfg.MaxConns = 16
	}
	cfg.ConnConfig.ConnectTimeout = 5 * time.Second
	cfg.PingTimeout = pingTimeout
	setDefault(cfg.ConnConfig.RuntimeParams, "application_name", "tokenhouse")
	setDefault(cfg.ConnConfig.RuntimeParams, "statement_timeout", "10000")
	setDefault(cfg.ConnConfig.RuntimeParams, "lock_timeout", "5000")
	setDefault(cfg.ConnConfig.RuntimeParams, "idle_in_transaction_session_timeout", "10000")
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("open PostgreSQL: %w", err)
	}
	sqlDB := stdlib.OpenDBFromPool(pool)
	g, err := gorm.Open(postgres.New(postgres.Config{Conn: sqlDB}), config(false))
	if err != nil {
		pool.Close()
		return nil, fmt.Errorf("open PostgreSQL: %w", err)
	}
	if err := errors.Join(opts.Hooks.install(g, true), strict(g)); err != nil {
		pool.Close()
		return nil, fmt.Errorf("open PostgreSQL: %w", err)
	}
	l := newListener(cfg.ConnConfig)
	return &DB{
		read:   g,
		begin:  func(ctx context.Context, fn func(*gorm.DB) error) error { return transact(ctx, opts.Random, g, fn) },
		wait:   l.wait,
		close:  func() error { l.stop(); err := sqlDB.Close(); pool.Close(); return err },
		target: migrationTarget{dialect: "postgres", db: sqlDB},
		opts:   opts,
	}, nil
}

func setDefault(params map[string]string, k, v string) {
	if _, ok := params[k]; !ok {
		params[k] = v
	}
}

// transact runs fn in a transaction, again where PostgreSQL gave it up for another.
func transact(ctx context.Context, random io.Reader, g *gorm.DB, fn func(*gorm.DB) error) error {
	return again(ctx, random, func() error {
		return g.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
			return fn(tx.Session(&gorm.Session{NewDB: true, Context: ctx}))
		})
	})
}

// again repeats work that PostgreSQL gave up for another's: the victim of a
// deadlock or of a serialization conflict. The pauses grow, by 1 to 8 ms, and
// differ, so that two victims do not meet again.
func again(ctx context.Context, random io.Reader, work func() error) error {
	for n := 0; ; n++ {
		err := work()
		var pe *pgconn.PgError
		if !errors.As(err, &pe) || (pe.Code != "40001" && pe.Code != "40P01") || n == attempts-1 {
			return err
		}
		var jitter [1]byte
		if _, failed := io.ReadFull(random, jitter[:]); failed != nil {
			return errors.Join(err, failed)
		}
		pause := time.NewTimer(time.Millisecond<<n + time.Duration(jitter[0])*time.Millisecond<<n/256)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return err
		}
	}
}

// listener keeps one connection that LISTENs, and wakes whoever waits.
type listener struct {
	woken  chan struct{}
	cancel context.CancelFunc
	done   chan struct{}
}

func newListener(cfg *pgx.ConnConfig) *listener {
	ctx, cancel := context.WithCancel(context.Background())
	l := &listener{woken: make(chan struct{}, 1), cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(l.done)
		for ctx.Err() == nil {
			l.listen(ctx, cfg)
			retry := time.NewTimer(time.Second)
			select {
			case <-retry.C:
			case <-ctx.Done():
			}
			retry.Stop()
		}
	}()
	return l
}

// How a connection is found whose other end fell silent without closing it: one
// that was idle is asked for a sign of life before it is used, and the one that
// LISTENs now and then.
const (
	pingEvery   = 5 * time.Second
	pingTimeout = time.Second
)

// listen returns when the connection fails. Nothing is lost meanwhile: the
// follower polls the log itself.
func (l *listener) listen(ctx context.Context, cfg *pgx.ConnConfig) {
	conn, err := pgx.ConnectConfig(ctx, cfg.Copy())
	if err != nil {
		return
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if _, err := conn.Exec(ctx, "LISTEN "+channel); err != nil {
		return
	}
	for {
		quiet, cancel := context.WithTimeout(ctx, pingEvery)
		_, err := conn.WaitForNotification(quiet)
		over := err != nil && quiet.Err() != nil && ctx.Err() == nil
		cancel()
		if over && alive(ctx, conn) {
			continue
		}
		if err != nil {
			return
		}
		select {
		case l.woken <- struct{}{}:
		default: // a wake-up is pending already
		}
	}
}

// alive asks the connection for a sign of life.
func alive(ctx context.Context, conn *pgx.Conn) bool {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	return conn.Ping(ctx) == nil
}

func (l *listener) wait(ctx context.Context) error {
	select {
	case <-l.woken:
	case <-ctx.Done():
	}
	return nil
}

func (l *listener) stop() { l.cancel(); <-l.done }

package house

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/storage"
	"github.com/tokenhouse/tokenhouse/storage/gormstore"
)

// retryDatabase is how long to wait between two attempts to reach the database.
const retryDatabase = time.Second

// OpenDatabase opens the database alone and leaves its schema as it is.
func OpenDatabase(ctx context.Context, conf Config, env Env) (storage.Backend, error) {
	return openDatabase(ctx, conf, env, gormstore.Options{OnCommit: func([]audit.Event, []changes.Change) {}, Hooks: env.Hooks})
}

func openDatabase(ctx context.Context, conf Config, env Env, opts gormstore.Options) (storage.Backend, error) {
	opts.Whole = env.Serving
	opts.Random, opts.MaxConns = env.Random, int32(conf.Database.MaxConns) //nolint:gosec // 2 to 1000, see Check
	db, err := storage.Open(ctx, conf.DatabaseURL(), opts)
	if err != nil {
		return nil, err
	}
	err = db.Ping(ctx)
	for n := 0; err != nil && env.Patient && ctx.Err() == nil; n++ {
		if n%10 == 0 {
			env.Logger.WarnContext(ctx, "the database does not answer; trying again every second", "err", err)
		}
		retry := time.NewTimer(retryDatabase)
		select {
		case <-retry.C:
		case <-ctx.Done():
		}
		retry.Stop()
		err = db.Ping(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the database does not answer: %w", err), db.Close())
	}
	return db, nil
}

// timed adds the metrics of storage to the hooks.
func (h *House) timed() gormstore.Hooks {
	hooks := h.env.Hooks
	if hooks.Unwritten == nil {
		hooks.Unwritten = h.Metrics.AuditWriteFailed
	}
	if hooks.Timer != nil {
		return hooks
	}
	system := "sqlite" // by the names of OpenTelemetry
	if !strings.HasPrefix(h.conf.DatabaseURL(), "sqlite:") {
		system = "postgresql"
	}
	hooks.Timer = func(ctx context.Context, operation string) func(error) {
		began, traced := h.env.Now(), h.env.Tracer.Database(ctx, system, operation)
		return func(err error) {
			h.Metrics.StorageOperation(operation, err, h.env.Now().Sub(began))
			traced(err)
		}
	}
	return hooks
}

// Backend is "SQLite in data/tokenhouse.db" or the like: without a password.
func (h *House) Backend() string { return describe(h.conf.DatabaseURL()) }

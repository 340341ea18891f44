package gormstore

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"gorm.io/gorm"
)

// maxBatch bounds how many transactions share one commit, and so how long the
// first of them waits for the last.
const maxBatch = 128

// errStopped is the answer to a transaction begun after Close.
var errStopped = errors.New("the database is closed")

// writer is the one goroutine that writes to SQLite. It drains its queue into
// one transaction, a savepoint for each job, and commits them together
// (group commit). A job that fails is undone alone; the others commit.
type writer struct {
	db    *gorm.DB
	there func() error // asked before each transaction
	jobs  chan *job
	quit  chan struct{}
	done  chan struct{}
	once  sync.Once
}

type job struct {
	fn       func(*gorm.DB) error
	result   chan error
	state    atomic.Int32
	panicked any // what fn panicked with, and where; set before the result is sent
}

const (
	jobWaiting int32 = iota
	jobRunning
	jobGone // its caller left before it began
)

func newWriter(db *gorm.DB, there func() error) *writer {
	w := &writer{db: db, there: there, jobs: make(chan *job, maxBatch), quit: make(chan struct{}), done: make(chan struct{})}
	go w.loop()
	return w
}

// do runs fn in a transaction and returns after the commit. A caller that
// leaves before its job began takes it along; afterwards it waits for the end.
// A panic of fn goes on in its caller, as it would with PostgreSQL.
func (w *writer) do(ctx context.Context, fn func(*gorm.DB) error) error {
	j := &job{fn: fn, result: make(chan error, 1)}
	err := w.run(ctx, j)
	if j.panicked != nil {
		panic(j.panicked)
	}
	return err
}

func (w *writer) run(ctx context.Context, j *job) error {
	select {
	case w.jobs <- j:
	case <-ctx.Done():
		return ctx.Err()
	case <-w.quit:
		return errStopped
	}
	select {
	case err := <-j.result:
		return err
	case <-ctx.Done():
		if j.state.CompareAndSwap(jobWaiting, jobGone) {
			return ctx.Err()
		}
	case <-w.done:
	}
	select {
	case err := <-j.result:
		return err
	case <-w.done:
		select {
		case err := <-j.result:
			return err
		default:
			return errStopped
		}
	}
}

func (w *writer) stop() {
	w.once.Do(func() { close(w.quit) })
	<-w.done
}

func (w *writer) loop() {
	defer close(w.done)
	for {
		select {
		case j := <-w.jobs:
			w.commit(w.drain(j))
		case <-w.quit:
			for { // finish what is queued
				select {
				case j := <-w.jobs:
					w.commit(w.drain(j))
				default:
					return
				}
			}
		}
	}
}

// drain takes what is queued, without waiting for more.
func (w *writer) drain(first *job) []*job {
	batch := []*job{first}
	for len(batch) < maxBatch {
		select {
		case j := <-w.jobs:
			batch = append(batch, j)
		default:
			return batch
		}
	}
	return batch
}

// commit runs the batch in one transaction. The context is not a caller's: an
// interrupted statement would roll back everybody's work.
func (w *writer) commit(batch []*job) {
	if err := w.there(); err != nil {
		answer(batch, err)
		return
	}
	g := w.db.Begin()
	if g.Error != nil {
		answer(batch, g.Error)
		return
	}
	var kept []*job
	for i, j := range batch {
		if !j.state.CompareAndSwap(jobWaiting, jobRunning) {
			continue
		}
		err := savepoint(g, j)
		if errors.Is(err, errBroken) {
			g.Rollback()
			j.result <- err
			answer(kept, err)
			answer(batch[i+1:], err)
			return
		}
		if err != nil {
			j.result <- err
			continue
		}
		kept = append(kept, j)
	}
	answer(kept, g.Commit().Error)
}

func answer(jobs []*job, err error) {
	for _, j := range jobs {
		j.result <- err
	}
}

// errBroken means the whole transaction is lost, not one job: SQLite rolls
// back by itself when the disk is full or fails.
var errBroken = errors.New("the transaction was rolled back")

func savepoint(g *gorm.DB, j *job) error {
	ctx := context.Background()
	if _, err := g.Statement.ConnPool.ExecContext(ctx, "SAVEPOINT job"); err != nil {
		return fmt.Errorf("%w: %w", errBroken, err)
	}
	err := guarded(g, j)
	end := "RELEASE job"
	if err != nil {
		end = "ROLLBACK TO job"
	}
	if _, e := g.Statement.ConnPool.ExecContext(ctx, end); e != nil {
		return fmt.Errorf("%w: %w", errBroken, errors.Join(err, e))
	}
	return err
}

var errPanicked = errors.New("panic in a transaction")

// guarded keeps a panic for the job's caller: one bad job must not stop the writer.
func guarded(g *gorm.DB, j *job) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err, j.panicked = errPanicked, fmt.Sprintf("%v\n%s", p, debug.Stack())
		}
	}()
	return j.fn(g.Session(&gorm.Session{NewDB: true}))
}

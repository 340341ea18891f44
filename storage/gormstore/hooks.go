package gormstore

import (
	"context"
	"errors"

	"gorm.io/gorm"
)

// Hooks let the outside watch or disturb a database. Every hook may be nil.
type Hooks struct {
	// Before is asked before each statement, and before each commit as
	// "commit"; its error stands for the statement's. storage/faulty uses it.
	Before func(statement string) error
	// Timer is called when an operation ("transaction" or "read") begins, with the
	// context of whoever asks; what it returns is called with the result at the end.
	Timer func(ctx context.Context, operation string) func(error)
	// Unwritten is told how many audit events were lost together with the
	// transaction that made them.
	Unwritten func(events int)
}

// doneKey finds the end of a timed read in the statement.
const doneKey = "tokenhouse:done"

// install registers the hooks that are set with g.
func (h Hooks) install(g *gorm.DB, reads bool) error {
	type register func(name string, fn func(*gorm.DB)) error
	cb := g.Callback()
	if h.Before != nil {
		for statement, reg := range map[string]register{
			"create": cb.Create().Before("gorm:create").Register, "query": cb.Query().Before("gorm:query").Register,
			"update": cb.Update().Before("gorm:update").Register, "delete": cb.Delete().Before("gorm:delete").Register,
			"row": cb.Row().Before("gorm:row").Register, "raw": cb.Raw().Before("gorm:raw").Register,
		} {
			err := reg("tokenhouse:before", func(g *gorm.DB) {
				if err := h.Before(statement); err != nil {
					_ = g.AddError(err)
				}
			})
			if err != nil {
				return err
			}
		}
	}
	if h.Timer == nil || !reads {
		return nil
	}
	start := func(g *gorm.DB) { g.Statement.Settings.Store(doneKey, h.Timer(g.Statement.Context, "read")) }
	end := func(g *gorm.DB) {
		if done, ok := g.Statement.Settings.LoadAndDelete(doneKey); ok {
			err := g.Error
			if errors.Is(err, gorm.ErrRecordNotFound) {
				err = nil // an answer like any other
			}
			done.(func(error))(err)
		}
	}
	for _, err := range []error{
		cb.Query().Before("gorm:query").Register("tokenhouse:start", start), cb.Query().After("gorm:query").Register("tokenhouse:end", end),
		cb.Row().Before("gorm:row").Register("tokenhouse:start", start), cb.Row().After("gorm:row").Register("tokenhouse:end", end),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

// commit is the last chance to fail a transaction.
func (h Hooks) commit() error {
	if h.Before == nil {
		return nil
	}
	return h.Before("commit")
}

// failed tells of the audit events that a failed transaction took with it.
func (h Hooks) failed(events int) {
	if h.Unwritten != nil && events > 0 {
		h.Unwritten(events)
	}
}

// begun starts the timer of a transaction.
func (h Hooks) begun(ctx context.Context) func(error) {
	if h.Timer == nil {
		return func(error) {}
	}
	return h.Timer(ctx, "transaction")
}

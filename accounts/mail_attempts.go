package accounts

import (
	"context"
	"errors"
	"sync"
	"time"
)

// attemptDue begins every attempt that is due, mailBatch at a time, until none is
// or ctx ends. What was begun is brought to its end.
func attemptDue[T any](ctx context.Context, due func(context.Context) ([]T, error), attempt func(context.Context, T) error) error {
	for ctx.Err() == nil {
		batch, err := due(ctx)
		if err != nil || len(batch) == 0 {
			return err
		}
		var all sync.WaitGroup
		failures := make([]error, len(batch))
		for i, one := range batch {
			all.Go(func() { failures[i] = attempt(context.WithoutCancel(ctx), one) })
		}
		all.Wait()
		if err := errors.Join(failures...); err != nil {
			return err
		}
	}
	return nil
}

// outcomeOf says how an attempt ended, and how long to wait for the next.
func outcomeOf(failure error, attempts int) (MailResult, time.Duration) {
	switch {
	case failure == nil:
		return MailTaken, 0
	case !errors.Is(failure, ErrMailRefused) && attempts <= len(mailRetries):
		return MailRetried, mailRetries[attempts-1]
	}
	return MailFailed, 0
}

// failedFor is the reason in the event of a mail that was given up.
func failedFor(failure error) string {
	if errors.Is(failure, ErrMailRefused) {
		return "refused"
	}
	return "unreachable"
}

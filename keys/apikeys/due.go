package apikeys

import (
	"context"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
)

// dueBatch bounds how many keys are marked in one transaction.
const dueBatch = 100

// MarkDue records each secret that became due for rotation, once in the
// deployment however many replicas ask, and returns how many usable keys are due.
func (s *Service) MarkDue(ctx context.Context) (int, error) {
	now := s.Now()
	for {
		unmarked, due, err := s.Store.DueAPIKeys(ctx, now.Add(-s.rotateAfter()), now, dueBatch)
		if err != nil || len(unmarked) == 0 {
			return due, err
		}
		err = s.Store.InTx(ctx, func(tx Tx) error {
			for i := range unmarked {
				if err := markDue(tx, &unmarked[i], now); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
}

func markDue(tx Tx, k *Key, now time.Time) error {
	ours, err := tx.MarkAPIKeyDue(k.ID, k.Secrets[0].Generation, now)
	if err != nil || !ours {
		return err
	}
	return tx.Record(audit.Event{
		Time: now, Name: audit.APIKeyDue, Outcome: audit.Success, Actor: audit.Actor{Type: "system"},
		Targets: []audit.Target{targetOf(k)}, Key: k.ID, Org: k.Org,
		Meta: map[string]string{"since": k.Secrets[0].CreatedAt.UTC().Format(time.RFC3339)},
	})
}

func (s *Service) rotateAfter() time.Duration {
	if s.RotateAfter == 0 {
		return DefaultRotateAfter
	}
	return s.RotateAfter
}

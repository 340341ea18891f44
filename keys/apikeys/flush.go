package apikeys

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// flushBatch bounds how many counters one transaction stores.
const flushBatch = 200

// Flush stores what was counted since the last time: last-used times, the
// hourly buckets, the first use of each hour and every refusal as an audit
// event. What could not be stored is kept for the next time.
func (s *Service) Flush(ctx context.Context) error {
	return s.flush(ctx, s.Now().Truncate(time.Minute))
}

// Close is Flush with the aggregates of the minute that has not ended.
func (s *Service) Close(ctx context.Context) error {
	return s.flush(ctx, s.Now().Add(time.Minute))
}

func (s *Service) flush(ctx context.Context, before time.Time) error {
	s.flushing.Lock()
	defer s.flushing.Unlock()
	left := s.uses.take(before)
	for len(left.ids)+len(left.events) > 0 {
		n, m := min(flushBatch, len(left.ids)), min(flushBatch, len(left.events))
		if err := s.store(ctx, left.ids[:n], left.tallies, left.events[:m]); err != nil {
			s.uses.giveBack(left)
			return fmt.Errorf("store the usage of API keys: %w", err)
		}
		left.ids, left.events = left.ids[n:], left.events[m:]
	}
	return nil
}

// store commits a batch. The bucket of an hour tells the replica that stores
// the first success of the hour; that one records it.
func (s *Service) store(ctx context.Context, ids []useID, tallies map[useID]*tally, events []audit.Event) error {
	uses := make([]Uses, len(ids))
	for i, id := range ids {
		t := tallies[id]
		uses[i] = Uses{
			Key: id.key, Org: t.key.Org, Generation: id.generation, Hour: time.Unix(id.hour, 0).UTC(), OK: t.ok, Refused: t.refused, Limited: t.limited,
			Last: Use{At: t.lastAt, IP: t.last.IP, UserAgent: t.last.UserAgent},
		}
	}
	return s.Store.InTx(ctx, func(tx Tx) error {
		first, err := tx.CountAPIKeyUses(uses)
		if err != nil {
			return err
		}
		record := slices.Clone(events)
		for i, id := range ids {
			if first[i] && !s.RecordEach {
				record = append(record, tallies[id].event())
			}
		}
		for _, e := range record {
			if err := tx.Record(e); err != nil {
				return err
			}
		}
		return nil
	})
}

func (t *tally) event() audit.Event { return used(t.key, t.firstAt, t.first) }

// used tells that the key was used.
func used(k *Key, at time.Time, o ident.Origin) audit.Event {
	return audit.Event{
		Time: at, Name: audit.APIKeyUsed, Outcome: audit.Success, Actor: actorOf(k),
		Targets: []audit.Target{targetOf(k)}, Origin: o, Key: k.ID, Org: k.Org,
	}
}

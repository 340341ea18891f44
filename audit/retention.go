package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/ident"
)

const (
	// retentionStep is what retention goes by: events leave by the day (UTC), so
	// that the log tells of it once a day and not once an event.
	retentionStep = 24 * time.Hour
	// pruneBatch is how many events of one shard one commit removes.
	pruneBatch = 1000
	// compactFrom is how many links the beginning of a chain must have to be
	// worth a base.
	compactFrom = 1000
	// compactMost bounds how many links one commit removes.
	compactMost = 20_000
)

// Keep says how long events of a class are kept; 0 is for ever.
type Keep map[Class]time.Duration

// RetentionStore removes events.
type RetentionStore interface {
	ChainReader
	// Prunable returns a shard that has events of the class from before, whose
	// places are sealed; false where none has.
	Prunable(ctx context.Context, c Class, before time.Time) (ident.OrgID, bool, error)
	// PruneEvents removes at most limit such events of the shard. What they leave
	// are their links, and the event that tell returns for their number, in the
	// same commit.
	PruneEvents(ctx context.Context, p Pruning, limit int, tell func(n int) Event) (int, error)
	// Compactable returns up to where the chain of the shard has nothing but
	// links without events, and events about retention from before; what is kept
	// of it begins at a checkpoint or before.
	Compactable(ctx context.Context, shard ident.OrgID, before time.Time) (from Base, to int64, err error)
	// Compact removes the links up to the base with what belongs to them, unless
	// the chain begins after the position already.
	Compact(ctx context.Context, shard ident.OrgID, from int64, b Base) error
}

// Pruning is what is removed of a shard.
type Pruning struct {
	Shard  ident.OrgID
	Class  Class
	Before time.Time
}

// Retainer removes events whose time is over. Set the fields; several replicas
// may do it at once.
type Retainer struct {
	Store  RetentionStore
	Signer Signer
	Issuer string
	Keep   Keep
	Now    func() time.Time
}

// Prune removes what is older than its class is kept. The chain stays provable:
// the log tells what was removed.
func (r *Retainer) Prune(ctx context.Context) error {
	now := r.Now()
	touched := map[ident.OrgID]bool{}
	for _, c := range Classes() {
		if r.Keep[c] == 0 {
			continue
		}
		p := Pruning{Class: c, Before: now.Add(-r.Keep[c]).Truncate(retentionStep)}
		for ctx.Err() == nil {
			shard, found, err := r.Store.Prunable(ctx, c, p.Before)
			if err != nil {
				return fmt.Errorf("retention of the audit log: %w", err)
			}
			if !found {
				break
			}
			p.Shard = shard
			if _, err := r.Store.PruneEvents(ctx, p, pruneBatch, func(n int) Event { return pruned(p, n, now) }); err != nil {
				return fmt.Errorf("retention of the audit log: %w", err)
			}
			touched[shard] = true
		}
	}
	for shard := range touched {
		if err := r.compact(ctx, shard, now); err != nil {
			return fmt.Errorf("retention of the audit log: %w", err)
		}
	}
	return ctx.Err()
}

// pruned tells what retention removed.
func pruned(p Pruning, n int, now time.Time) Event {
	return Event{
		Time: now, Name: AuditPruned, Outcome: Success, Actor: Actor{Type: "system"}, Org: p.Shard,
		Meta: map[string]string{"class": string(p.Class), "before": p.Before.UTC().Format(time.RFC3339Nano), "count": strconv.Itoa(n)},
	}
}

// compact removes the links at the beginning of a chain that no event belongs
// to any more, and signs for where it begins instead.
func (r *Retainer) compact(ctx context.Context, shard ident.OrgID, now time.Time) error {
	var longest time.Duration
	for _, c := range Classes() {
		if r.Keep[c] == 0 {
			return nil // the events about what was removed are kept as long as the rest
		}
		longest = max(longest, r.Keep[c])
	}
	for ctx.Err() == nil {
		from, to, err := r.Store.Compactable(ctx, shard, now.Add(-longest).Truncate(retentionStep))
		if err != nil || to-from.Position < compactFrom {
			return err
		}
		if err := r.compactTo(ctx, shard, from, min(to, from.Position+compactMost)); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (r *Retainer) compactTo(ctx context.Context, shard ident.OrgID, from Base, to int64) error {
	open, err := r.openOf(from)
	if err != nil {
		return err
	}
	hash := from.Hash
	for at := from.Position; at < to; {
		links, err := r.Store.LinkedOf(ctx, shard, at, int(min(exportBatch, to-at)))
		if err != nil {
			return err
		}
		if len(links) == 0 {
			return nil // another replica was first
		}
		for _, l := range links {
			at, hash = l.Position, l.Hash
			count(open, l)
		}
	}
	claims := baseClaims{Issuer: r.Issuer, IssuedAt: r.Now().Unix(), Org: shard, Position: to, Hash: hash.String(), Open: open}
	jws, err := signed(ctx, r.Signer, claims, BaseType)
	if err != nil {
		return err
	}
	return r.Store.Compact(ctx, shard, from.Position, Base{Position: to, Hash: hash, JWS: jws})
}

// openOf returns what was removed up to the base and is told of after it.
func (r *Retainer) openOf(b Base) (map[Class]int64, error) {
	open := map[Class]int64{}
	if b.Position == 0 {
		return open, nil
	}
	var c baseClaims
	if err := readUnverified(b.JWS, &c); err != nil {
		return nil, err
	}
	for class, n := range c.Open {
		open[class] = n
	}
	return open, nil
}

// count keeps open what is removed and not told of yet.
func count(open map[Class]int64, l Linked) {
	if l.Pruned {
		open[l.Class]++
		return
	}
	class := Class(l.Event.Meta["class"])
	n, err := strconv.ParseInt(l.Event.Meta["count"], 10, 64)
	if l.Event.Name != AuditPruned || err != nil {
		return
	}
	if open[class] = max(open[class]-n, 0); open[class] == 0 {
		delete(open, class)
	}
}

// readUnverified reads what a statement of our own database says.
func readUnverified(jws string, claims any) error {
	s, err := parseStatement(jws)
	if err != nil {
		return err
	}
	return json.Unmarshal(s.UnsafePayloadWithoutVerification(), claims)
}

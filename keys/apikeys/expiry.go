package apikeys

import (
	"context"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
)

// Notice is one of the events that tell of the end of a key. The zero Lead is
// the end itself.
type Notice struct {
	Number int           // counts from 1; a later one makes an earlier one pointless
	Lead   time.Duration // before the key expires
}

// Notices are given for each key, each once. A key that does not live longer
// than a notice's lead has no use for it and does not get it.
var notices = []Notice{{1, 14 * 24 * time.Hour}, {2, 24 * time.Hour}, {3, 0}}

const (
	// ExpiryNotice is how long before its expiry a key counts as expiring.
	ExpiryNotice = 14 * 24 * time.Hour
	// noticeAge is how late a notice may be: of a key that expired earlier, before
	// this release knew of notices, nobody wants to hear.
	noticeAge = 30 * 24 * time.Hour
	// noticeBatch bounds how many keys are marked in one transaction.
	noticeBatch = 100
)

// NoticeStore finds the keys whose expiry, or age, is to be told.
type NoticeStore interface {
	// DueAPIKeys returns at most limit usable keys, at now, whose current secret
	// was created before and is not marked as due, oldest secret first; and how
	// many usable keys have such an old secret, marked or not.
	DueAPIKeys(ctx context.Context, before, now time.Time, limit int) (unmarked []Key, due int, err error)
	// APIKeysToNotice returns at most limit keys that are not revoked, expire
	// between after and now plus the notice's lead, live longer than that lead,
	// and were not given that notice or a later one; the end that is nearest first.
	APIKeysToNotice(ctx context.Context, n Notice, after, now time.Time, limit int) ([]Key, error)
	// CountExpiringAPIKeys counts the keys that are not revoked and expire between
	// now and before.
	CountExpiringAPIKeys(ctx context.Context, now, before time.Time) (int, error)
}

// NoticeTx marks keys.
type NoticeTx interface {
	// MarkAPIKeyNotice marks that the notice was given and reports whether neither
	// it nor a later one was given before, and the key is not revoked.
	MarkAPIKeyNotice(key Key, n Notice) (bool, error)
}

// MarkExpiring records for each key that it will expire soon, and that it has
// expired: each notice once in the deployment however many replicas ask. It
// returns how many keys expire within ExpiryNotice.
func (s *Service) MarkExpiring(ctx context.Context) (int, error) {
	now := s.Now()
	for i := len(notices) - 1; i >= 0; i-- { // the most urgent makes the others pointless
		if err := s.giveNotice(ctx, notices[i], now); err != nil {
			return 0, err
		}
	}
	return s.Store.CountExpiringAPIKeys(ctx, now, now.Add(ExpiryNotice))
}

func (s *Service) giveNotice(ctx context.Context, n Notice, now time.Time) error {
	after := now
	if n.Lead == 0 {
		after = now.Add(-noticeAge)
	}
	for {
		keys, err := s.Store.APIKeysToNotice(ctx, n, after, now, noticeBatch)
		if err != nil || len(keys) == 0 {
			return err
		}
		err = s.Store.InTx(ctx, func(tx Tx) error {
			for _, k := range keys {
				if err := notice(tx, k, n, now); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
}

func notice(tx Tx, k Key, n Notice, now time.Time) error {
	ours, err := tx.MarkAPIKeyNotice(k, n)
	if err != nil || !ours {
		return err
	}
	name, meta := audit.APIKeyExpired, map[string]string{"expires_at": k.ExpiresAt.UTC().Format(time.RFC3339), "owner": string(k.Owner)}
	if n.Lead > 0 {
		name, meta["notice"] = audit.APIKeyExpiring, n.Lead.String()
	}
	return tx.Record(audit.Event{
		Time: now, Name: name, Outcome: audit.Success, Actor: audit.Actor{Type: "system"},
		Targets: []audit.Target{targetOf(&k)}, Key: k.ID, Org: k.Org, Meta: meta,
	})
}

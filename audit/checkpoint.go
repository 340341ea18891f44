package audit

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// The typ headers of what is signed about the log.
const (
	CheckpointType = "tokenhouse-audit-checkpoint+jwt"
	BaseType       = "tokenhouse-audit-base+jwt"
	ClosingType    = "tokenhouse-audit-export+jwt"
)

const (
	// CheckpointEvery is after how many events of a shard there is a checkpoint
	// at the latest.
	CheckpointEvery = 1000
	// CheckpointAge is after how long there is one, where there are events.
	CheckpointAge = time.Minute
	// checkpointBatch bounds how many shards are read at once.
	checkpointBatch = 500
)

// Signer signs with the keys that the deployment publishes: signing.Ring.
type Signer interface {
	Sign(ctx context.Context, payload []byte, typ string) (string, error)
}

// checkpointClaims are what a checkpoint says: up to the position the chain of
// the organisation is the one that ends in the hash.
type checkpointClaims struct {
	Issuer   string      `json:"iss"`
	IssuedAt int64       `json:"iat"` // seconds since 1970
	Org      ident.OrgID `json:"org_id"`
	Position int64       `json:"position"`
	Hash     string      `json:"hash"`
	Previous string      `json:"prev,omitempty"` // SHA-256 of the previous checkpoint as it is written
}

// Sealer gives committed events their places and signs for them. Set the
// fields; several replicas may do it at once.
type Sealer struct {
	Store  ChainStore
	Signer Signer
	Issuer string
	Now    func() time.Time
}

// Seal gives every event that committed before the call its place, and signs
// what is due.
func (s *Sealer) Seal(ctx context.Context) error {
	if _, err := s.Store.Seal(ctx); err != nil {
		return fmt.Errorf("seal the audit log: %w", err)
	}
	return s.sign(ctx)
}

func (s *Sealer) sign(ctx context.Context) error {
	now := s.Now()
	for n := checkpointBatch; n == checkpointBatch && ctx.Err() == nil; {
		due, err := s.Store.Unsigned(ctx, CheckpointEvery, now.Add(-CheckpointAge), checkpointBatch)
		if err != nil {
			return err
		}
		for _, u := range due {
			if err := s.checkpoint(ctx, u, now); err != nil {
				return fmt.Errorf("checkpoint of the audit log: %w", err)
			}
		}
		n = len(due)
	}
	return ctx.Err()
}

// checkpoint signs for the shard at each thousandth event since the last one
// that was signed for, and at its head.
func (s *Sealer) checkpoint(ctx context.Context, u Unsigned, now time.Time) error {
	for u.Signed < u.Position {
		at := min(u.Signed+CheckpointEvery, u.Position)
		links, err := s.Store.LinkedOf(ctx, u.Shard, at-1, 1)
		if err != nil {
			return err
		}
		if len(links) == 0 || links[0].Position != at { // retention took it
			return errors.New("the link to be signed for is gone")
		}
		c := checkpointClaims{Issuer: s.Issuer, IssuedAt: now.Unix(), Org: u.Shard, Position: at, Hash: links[0].Hash.String()}
		if u.Signed > 0 {
			c.Previous = u.Previous.String()
		}
		jws, err := signed(ctx, s.Signer, c, CheckpointType)
		if err != nil {
			return err
		}
		added, err := s.Store.AddCheckpoint(ctx, Checkpoint{Shard: u.Shard, Position: at, Link: links[0].ID, Time: now, JWS: jws}, u.Signed)
		if err != nil || !added { // another replica signs for this shard
			return err
		}
		u.Signed, u.Previous = at, hashOf(jws)
	}
	return nil
}

func signed(ctx context.Context, by Signer, claims any, typ string) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	return by.Sign(ctx, payload, typ)
}

// String returns the hash in hexadecimal digits.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// parseHash is the inverse of Hash.String, and accepts nothing else.
func parseHash(s string) (Hash, bool) {
	var h Hash
	if len(s) != 2*len(h) {
		return h, false
	}
	b, err := hex.DecodeString(s)
	copy(h[:], b)
	return h, err == nil && h.String() == s
}

package apikeys

import (
	"context"
	"errors"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/keys/sealing"
)

// The results of a verification, for metrics and the audit log. The caller is
// told none of them.
const (
	resultOK            = "ok"
	resultMalformed     = "malformed"      // shape or checksum
	resultUnknown       = "unknown"        // no key has the lookup id
	resultMismatch      = "mismatch"       // the key has another secret
	resultRevoked       = "revoked"        //
	resultExpired       = "expired"        //
	resultSuperseded    = "superseded"     // an old secret after its grace
	resultOwnerInactive = "owner_inactive" // the owner, the organisation or the membership
	resultUnavailable   = "unavailable"    // the database did not answer
)

// verdict is what became of one credential.
type verdict struct {
	entry      *entry // nil where the key is not known
	generation int    // of the secret presented; 0 where none matched
	result     string
	standing   Standing // where the result is ok
}

// Verify tells who presents a credential, in the order of the specification:
// shape and checksum; lookup, in memory where the key is warm; comparison in
// constant time; status, expiry and owner; then what of the key's permissions
// its owner has now. Every refusal is the same fault.InvalidAPIKey. Where the
// database must be asked and does not answer, it is fault.Unavailable.
//
// The caller's permissions are shared: they must not be changed.
func (s *Service) Verify(ctx context.Context, presented string, o ident.Origin) (ident.Caller, error) {
	now := s.Now()
	v, err := s.judge(ctx, presented, now)
	if err != nil {
		s.observe(resultUnavailable)
		return ident.Caller{}, err
	}
	return s.answer(v, now, o)
}

// VerifyFor is Verify of a credential that was sent to the caller, a resource
// server. A key that does not exist, or belongs to another organisation, is
// fault.NotFound, and the caller's asking leaves no trace on it.
func (s *Service) VerifyFor(ctx context.Context, c ident.Caller, presented string) (ident.Caller, error) {
	now := s.Now()
	v, err := s.judge(ctx, presented, now)
	if err != nil {
		s.observe(resultUnavailable)
		return ident.Caller{}, err
	}
	foreign := v.entry != nil && v.entry.key.Org != c.Org
	if foreign || v.result == resultUnknown {
		s.observe(resultUnknown)
		return ident.Caller{}, fault.New(fault.NotFound, "There is no such API key.")
	}
	return s.answer(v, now, c.Origin)
}

// answer counts the verdict and tells it.
func (s *Service) answer(v verdict, now time.Time, o ident.Origin) (ident.Caller, error) {
	s.observe(v.result)
	s.uses.count(v, now, o)
	if v.result != resultOK {
		return ident.Caller{}, fault.New(fault.InvalidAPIKey, "The API key is not valid.")
	}
	k := &v.entry.key
	return ident.Caller{
		Kind: ident.APIKey, Org: k.Org, User: k.Owner, Email: v.standing.Email, Key: k.ID,
		Permissions: v.entry.effective(v.standing.Permissions, s.Catalogue), Origin: o,
	}, nil
}

func (s *Service) judge(ctx context.Context, presented string, now time.Time) (verdict, error) {
	lookup, ok := parse(presented)
	if !ok {
		s.spend()
		return verdict{result: resultMalformed}, nil
	}
	e, err := s.lookup(ctx, lookup)
	if errors.Is(err, errUnknown) {
		s.spend()
		return verdict{result: resultUnknown}, nil
	}
	if err != nil {
		return verdict{}, err
	}
	v := verdict{entry: e}
	sec := s.match(&e.key, presented)
	if sec == nil {
		v.result = resultMismatch
		return v, nil
	}
	v.generation = sec.Generation
	if v.result = refusal(&e.key, sec, now); v.result != "" {
		return v, nil
	}
	if v.standing, err = s.Owners.Standing(ctx, e.key.Owner, e.key.Org); err != nil {
		return verdict{}, err
	}
	v.result = resultOK
	if !v.standing.Active {
		v.result = resultOwnerInactive
	}
	return v, nil
}

// refusal says why the key, presented by a secret of its own, is no good at
// now; empty where it is good.
func refusal(k *Key, sec *Secret, now time.Time) string {
	switch {
	case !k.RevokedAt.IsZero():
		return resultRevoked
	case !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt):
		return resultExpired
	case !sec.ValidUntil.IsZero() && !now.Before(sec.ValidUntil):
		return resultSuperseded
	default:
		return ""
	}
}

// match returns the secret of k that was presented. It compares with each,
// whether or not one matched already.
func (s *Service) match(k *Key, presented string) *Secret {
	var found *Secret
	var digest []byte
	for i := range k.Secrets {
		sec := &k.Secrets[i]
		if i == 0 || sec.Pepper != k.Secrets[i-1].Pepper {
			pepper, ok := s.Peppers.ByID(sealing.APIKeyPepper, sec.Pepper)
			if !ok {
				digest = nil
				continue
			}
			digest = secret.MAC(pepper, presented)
		}
		if digest != nil && secret.Equal(digest, sec.Digest) {
			found = sec
		}
	}
	return found
}

// spend takes the time of a comparison, so that a key that does not exist
// answers no sooner than one that does.
func (s *Service) spend() {
	_, pepper := s.Peppers.Current(sealing.APIKeyPepper)
	secret.Equal(secret.MAC(pepper, dummy), pepper)
}

// dummy is as long as a credential with the default prefix.
const dummy = "th_live_0000000000000000000000000000000000000000000000"

func (s *Service) observe(result string) {
	if s.Observe != nil {
		s.Observe(result)
	}
}

package apikeys

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/keys/sealing"
)

// The results of a verification, for metrics and the audit log. The caller is
// told of the limits alone.
const (
	resultOK            = "ok"
	resultMalformed     = "malformed"      // shape or checksum
	resultUnknown       = "unknown"        // no key has the lookup id
	resultMismatch      = "mismatch"       // the key has another secret
	resultRevoked       = "revoked"        //
	resultHeld          = "quarantined"    //
	resultExpired       = "expired"        //
	resultSuperseded    = "superseded"     // an old secret after its grace
	resultOwnerInactive = "owner_inactive" // the owner, the organisation or the membership
	resultNetwork       = "network"        // it came from elsewhere than the key may be used
	resultLimited       = "rate_limited"   // the key has used up a limit
	resultThrottled     = "throttled"      // too many wrong keys came from the source
	resultUnavailable   = "unavailable"    // the database did not answer
)

// verdict is what became of one credential.
type verdict struct {
	entry      *entry // nil where the key is not known
	generation int    // of the secret presented; 0 where none matched
	result     string
	standing   Standing      // where the result is ok
	policy     Policy        // where the secret matched
	wait       time.Duration // where the source is throttled
}

// attempt is one presentation of a credential.
type attempt struct {
	credential string
	from       netip.Addr // where the key is used from
	source     netip.Prefix
	required   []scope.Permission
	now        time.Time
	paid       bool // the throttle counted it already
}

// Verify tells who presents a credential, in the order of the specification:
// shape and checksum; lookup, in memory where the key is warm; comparison in
// constant time; status, expiry and owner; the network it comes from; then what
// of the key's permissions its owner has now and the organisation's policy
// leaves, and whether that covers what is required; then the limits of the key. Every refusal of the key itself is the
// same fault.InvalidAPIKey; a lack of permissions is fault.InsufficientPermissions
// and comes with the caller; a limit that is used up is fault.RateLimited and
// comes with a Caller that is nobody but has the Allowance; so is, without one, a
// source of too many wrong keys. Where the database must be asked and does not
// answer, it is fault.Unavailable.
//
// The caller's permissions are shared: they must not be changed.
func (s *Service) Verify(ctx context.Context, presented string, o ident.Origin, required ...scope.Permission) (ident.Caller, error) {
	a := &attempt{credential: presented, from: o.IP, source: ident.NetworkOf(o.IP), required: required, now: s.Now()}
	v, err := s.judge(ctx, a)
	if err != nil {
		s.observe(resultUnavailable)
		return ident.Caller{}, err
	}
	return s.answer(ctx, v, a, o)
}

// Question is what a resource server asks about a key that it was sent.
type Question struct {
	Credential string
	// IP is the address of whoever sent the key. The networks of the key, and the
	// throttle of wrong keys, apply to it. A key that is limited to networks is
	// refused where it is not known.
	IP       netip.Addr
	Required []scope.Permission // what the key must permit
}

// Verified is the answer about a good key. With fault.InsufficientPermissions it
// is whole, with fault.RateLimited the Holder has an Allowance alone.
type Verified struct {
	Holder    ident.Caller
	ExpiresAt time.Time // zero: never
}

// VerifyFor is Verify of a credential that was sent to the caller, a resource
// server. A key that does not exist, or belongs to another organisation, is
// fault.NotFound, and the caller's asking leaves no trace on it. Each answer
// takes from the key's limits as any other use of it does.
func (s *Service) VerifyFor(ctx context.Context, c ident.Caller, q Question) (Verified, error) {
	a := &attempt{credential: q.Credential, from: q.IP, source: ident.NetworkOf(q.IP), required: q.Required, now: s.Now()}
	v, err := s.judge(ctx, a)
	if err != nil {
		s.observe(resultUnavailable)
		return Verified{}, err
	}
	foreign := v.entry != nil && v.entry.key.Org != c.Org
	if foreign || v.result == resultUnknown {
		s.observe(resultUnknown)
		return Verified{}, fault.New(fault.NotFound, "There is no such API key.")
	}
	holder, err := s.answer(ctx, v, a, c.Origin)
	answer := Verified{Holder: holder}
	if holder.Key != "" {
		answer.ExpiresAt = v.policy.end(v.entry.key.CreatedAt, v.entry.key.ExpiresAt)
	}
	return answer, err
}

// answer counts the verdict and tells it.
func (s *Service) answer(ctx context.Context, v verdict, a *attempt, o ident.Origin) (ident.Caller, error) {
	if v.result != resultOK {
		s.observe(v.result)
		s.uses.count(v, a.now, o)
		if v.result == resultThrottled {
			return ident.Caller{}, errThrottled(v.wait)
		}
		return ident.Caller{}, fault.New(fault.InvalidAPIKey, "The API key is not valid.")
	}
	k := &v.entry.key
	caller := ident.Caller{
		Kind: ident.APIKey, Org: k.Org, User: k.Owner, Email: v.standing.Email, Key: k.ID,
		Permissions: v.entry.effective(v.standing.Permissions, v.policy, s.Catalogue), Origin: o,
	}
	var err error
	if lacks := lacking(caller, a.required); len(lacks) > 0 {
		err = fault.Lacking(lacks.Strings()...)
	} else if k.Rules.limited() {
		if caller.Allowance, err = s.admit(ctx, k, a.now); err != nil {
			caller = ident.Caller{Allowance: caller.Allowance}
			v.result = resultLimited
		}
	}
	if s.RecordEach && v.result == resultOK {
		if failed := s.record(ctx, used(k, a.now, o)); failed != nil {
			err = failed
		}
	}
	if errors.Is(err, fault.Unavailable) {
		s.observe(resultUnavailable)
		return caller, err
	}
	s.observe(v.result)
	s.uses.count(v, a.now, o)
	return caller, err
}

func lacking(caller ident.Caller, required []scope.Permission) scope.Set {
	for _, p := range required {
		if !caller.May(p) {
			return caller.Permissions.Lacks(scope.Of(required...))
		}
	}
	return nil
}

// judge tells what became of the attempt, up to the networks of the key. A
// guess counts against its source; a key's own secret is none, whatever became
// of the key: its holder goes on to learn that it was revoked.
func (s *Service) judge(ctx context.Context, a *attempt) (verdict, error) {
	v, err := s.examine(ctx, a)
	switch {
	case errors.Is(err, fault.RateLimited): // the throttle let nobody ask
		return verdict{result: resultThrottled, wait: fault.Of(err).RetryAfter}, nil
	case a.paid && (err != nil || v.generation > 0):
		s.wrong.giveBack(a.source, s.Throttle.orDefault(), a.now)
	case !a.paid && err == nil && v.generation == 0:
		if wait := s.wrong.take(a.source, s.Throttle.orDefault(), a.now); wait > 0 {
			return verdict{result: resultThrottled, wait: wait}, nil
		}
	}
	return v, err
}

func (s *Service) examine(ctx context.Context, a *attempt) (verdict, error) {
	lookup, err := s.locate(ctx, a)
	if errors.Is(err, errMalformed) {
		s.spend()
		return verdict{result: resultMalformed}, nil
	}
	var e *entry
	if err == nil {
		e, err = s.lookupFor(ctx, lookup, a)
	}
	if errors.Is(err, errUnknown) {
		s.spend()
		return verdict{result: resultUnknown}, nil
	}
	if err != nil {
		return verdict{}, err
	}
	v := verdict{entry: e}
	sec := s.match(&e.key, a.credential)
	if sec == nil {
		v.result = resultMismatch
		return v, nil
	}
	v.generation = sec.Generation
	if v.policy, err = s.policyOf(ctx, e.key.Org); err != nil {
		return verdict{}, err
	}
	if v.result = refusal(&e.key, sec, v.policy, a.now); v.result != "" {
		return v, nil
	}
	if v.standing, err = s.Owners.Standing(ctx, e.key.Owner, e.key.Org); err != nil {
		return verdict{}, err
	}
	switch {
	case !v.standing.Active:
		v.result = resultOwnerInactive
	case !e.key.Rules.Admits(a.from):
		v.result = resultNetwork
	default:
		v.result = resultOK
	}
	return v, nil
}

// refusal says why the key, presented by a secret of its own, is no good at now
// under the policy; empty where it is good.
func refusal(k *Key, sec *Secret, p Policy, now time.Time) string {
	switch {
	case !k.RevokedAt.IsZero():
		return resultRevoked
	case !k.HeldAt.IsZero():
		return resultHeld
	case p.over(k, now):
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
	text := digested(presented)
	for i := range k.Secrets {
		sec := &k.Secrets[i]
		if i == 0 || sec.Pepper != k.Secrets[i-1].Pepper {
			pepper, ok := s.Peppers.ByID(sealing.APIKeyPepper, sec.Pepper)
			if !ok {
				digest = nil
				continue
			}
			digest = secret.MAC(pepper, text)
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

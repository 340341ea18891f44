package accounts

import (
	"context"
	"slices"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/keys/sealing"
)

// retryProof is what to wait where a provider cannot be asked.
const retryProof = 5 * time.Second

// spentProof is the kind of what is no counter: its key is a challenge that was
// answered.
const spentProof = "spent"

// What the audit log says of a proof that was shown.
const (
	proofAccepted = "accepted"
	proofRefused  = "refused" // forged, another identifier's, late, used, too little work, or the provider said no
)

// show takes the proof of t up, if it shows one that may be good: its attempt
// passes the pool, and nothing else.
func (a *Authenticator) show(t *attempt) {
	if t.level != stranger || t.Answer == "" || a.Proofs.Kind == "" {
		return
	}
	t.shown.says = proofRefused
	p, ok := parseProof(t.Answer)
	if ok && p.answers(a.Proofs.Kind, t.identifier, a.deviceKeys(), t.start) {
		t.shown.proof, t.shown.says, t.level = p, proofAccepted, proven
	}
}

// distrust makes t a stranger's without a proof.
func (a *Authenticator) distrust(t *attempt) {
	t.level, t.shown.says = stranger, proofRefused
	a.guard(t, "")
}

// admit says whether t may go on, as far as shows before any counter is locked.
// A proof that is no good is none.
func (a *Authenticator) admit(ctx context.Context, t *attempt) (ruling, error) {
	cs, err := a.Store.Counters(ctx, t.keys)
	if err != nil {
		return ruling{}, err
	}
	r := a.rule(t, cs)
	if t.level != proven {
		return r, nil
	}
	good := r.kind != ProofCounter
	if good && r.verdict == admitted {
		if good, err = a.accept(ctx, t); err != nil {
			return ruling{}, err
		}
	}
	if good {
		return r, nil
	}
	a.distrust(t)
	if cs, err = a.Store.Counters(ctx, t.keys); err != nil {
		return ruling{}, err
	}
	return a.rule(t, cs), nil
}

// rule asks the counters of t. Where a proof opens the pool, the wait is that of
// the others, and the pool decides only where they admit. A proof with less work
// than is asked for by now waits for the attempts under way.
func (a *Authenticator) rule(t *attempt, cs []Counter) ruling {
	r := a.Throttle.judge(cs, t.start, t.tag)
	switch {
	case a.asks(t, r):
		others := slices.DeleteFunc(slices.Clone(cs), func(c Counter) bool { return c.Kind == PoolCounter })
		if o := a.Throttle.judge(others, t.start, t.tag); o.verdict != admitted {
			return o
		}
	case t.level == proven && r.verdict == admitted:
		i := slices.IndexFunc(cs, func(c Counter) bool { return c.Kind == ProofCounter })
		if t.shown.proof.bits()+proofSlack < a.Proofs.work(cs[i], a.Throttle.limit(ProofCounter), t.start) {
			return ruling{crowded, ProofCounter, t.start.Add(retryCrowded)}
		}
	}
	return r
}

// asks reports whether r is a refusal that a proof undoes.
func (a *Authenticator) asks(t *attempt, r ruling) bool {
	return a.Proofs.Kind != "" && t.method == byPassword && t.level == stranger && r.verdict == locked && r.kind == PoolCounter
}

// accept uses the proof of t up and reports whether it was good.
func (a *Authenticator) accept(ctx context.Context, t *attempt) (bool, error) {
	first, err := a.spend(ctx, t)
	if err != nil || !first || a.Proofs.Kind == ProofOfWork {
		return first, err
	}
	// Not before it is spent: each challenge makes us ask the provider once.
	solved, err := a.Proofs.Captcha.Solved(ctx, t.shown.proof.answer)
	if err != nil {
		return false, fault.Wrap(err, fault.Unavailable, "The puzzle cannot be checked at the moment.").After(retryProof)
	}
	return solved, nil
}

// spend marks the challenge of t as used, for every replica, and reports whether
// it had not been. The mark is a row like those of the counters, since it needs
// the same lock and the same end.
func (a *Authenticator) spend(ctx context.Context, t *attempt) (first bool, err error) {
	_, pepper := a.Secrets.Current(sealing.LockoutPepper)
	p := t.shown.proof
	key := CounterKey{Kind: spentProof, Hash: [32]byte(secret.MAC(pepper, spentProof, string(p.challenge[:])))}
	err = a.Store.InLoginTx(ctx, func(tx LoginTx) error {
		cs, err := tx.LockCounters([]CounterKey{key})
		if err != nil {
			return err
		}
		if first = cs[0].Blank(); !first {
			return nil
		}
		return tx.SaveCounters([]Counter{{CounterKey: key, Since: t.start, Failures: 1, EndsAt: p.expires().Add(deviceSkew)}})
	})
	return first && err == nil, err
}

// refusal is r as the caller learns it, with what it asks for.
func (a *Authenticator) refusal(ctx context.Context, t *attempt, r ruling) error {
	f := r.fault(t.start)
	if !a.asks(t, r) {
		return f
	}
	return a.challenged(ctx, t, fault.New(fault.AccountLocked,
		"Too many failed login attempts; show a proof, log in from a known device, or wait.").Because("proof_required").After(fault.Of(f).RetryAfter), f)
}

// challenged is the refusal with a challenge, or otherwise where so many failed
// with proofs that no more are taken.
func (a *Authenticator) challenged(ctx context.Context, t *attempt, refusal *fault.Error, otherwise error) error {
	_, pepper := a.Secrets.Current(sealing.LockoutPepper)
	cs, err := a.Store.Counters(ctx, []CounterKey{poolKey(ProofCounter, pepper, t.identifier)})
	if err != nil {
		return err
	}
	l := a.Throttle.limit(ProofCounter)
	if v, _ := cs[0].judge(l, t.start, t.tag); v == locked {
		return otherwise
	}
	c, err := a.Proofs.challenge(a.Proofs.work(cs[0], l, t.start), t.identifier, a.deviceKeys(), t.start, a.Random)
	if err != nil {
		return err
	}
	return &ProofRequired{Challenge: c, Refusal: refusal}
}

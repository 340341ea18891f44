package accounts

import (
	"context"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/keys/sealing"
)

// Settle ends a successful attempt in the transaction that opens its session:
// the device and pair counters start anew, and a stale hash is replaced. It
// reports false where the user was disabled or the hash changed since it was
// checked: then open no session, let the transaction commit, and authenticate
// again. A login that raced a change of password must not survive it.
func (v *Verified) Settle(tx LoginTx, now time.Time) (bool, error) {
	t := v.attempt
	cs, err := tx.LockCounters(t.keys)
	if err != nil {
		return false, err
	}
	held, err := tx.HoldPassword(v.User.ID, v.User.PasswordHash, v.rehash)
	if err != nil {
		return false, err
	}
	change := func(c Counter, l Limit) Counter { return c.succeed(l, now, t.lease) }
	if !held {
		change = func(c Counter, l Limit) Counter { return c.release(l, now, t.lease) }
	}
	if err := tx.SaveCounters(v.throttle.each(cs, change)); err != nil {
		return false, err
	}
	if !held || v.rehash == "" {
		return held, nil
	}
	e := v.Event(audit.PasswordRehashed, now)
	return true, tx.Record(e)
}

// Event is an event of the verified user's.
func (v *Verified) Event(name audit.Name, now time.Time) audit.Event {
	t := v.attempt
	e := t.event(name, audit.Success, "")
	e.Time = now
	e.Actor = audit.Actor{Type: string(ident.Person), ID: string(v.User.ID), Name: v.User.Email, Org: t.home, Via: t.method}
	return e
}

// Decline ends a verified attempt without a session, because the person may
// not enter: reason says why. It counts nothing and answers
// fault.AccountDisabled, or what prevented the recording.
func (a *Authenticator) Decline(ctx context.Context, v *Verified, reason string) error {
	t := v.attempt
	if err := a.end(ctx, t, t.event(audit.LoginFailed, audit.Denied, reason)); err != nil {
		return err
	}
	return a.refused(ctx, t.start, fault.New(fault.AccountDisabled, "The account is disabled."))
}

// Abandon ends a verified attempt that failed for a reason of ours.
func (a *Authenticator) Abandon(ctx context.Context, v *Verified) error {
	return a.release(ctx, v.attempt)
}

// Prove checks the password that a signed-in person presents again. A session
// is trusted as the device it is on: strangers cannot lock it, and each has a
// counter of its own.
func (a *Authenticator) Prove(ctx context.Context, caller ident.Caller, password secret.Plain) error {
	now := a.Now()
	user, err := a.Users.User(ctx, caller.User)
	if err != nil {
		return err
	}
	p := Attempt{Identifier: user.Email, Password: password, Client: caller.Client, Origin: caller.Origin}
	if err := p.check(); err != nil {
		return err
	}
	t := &attempt{Attempt: p, start: now, identifier: user.Canonical, method: reauthentication}
	if caller.Session != "" {
		t.level = knownDevice
	}
	a.guard(t, string(caller.Session))
	v, err := a.verify(ctx, t)
	if err != nil {
		return a.refused(ctx, now, err)
	}
	var held bool
	err = a.Store.InLoginTx(ctx, func(tx LoginTx) (err error) {
		held, err = v.Settle(tx, now)
		return err
	})
	if err == nil && !held {
		err = fault.New(fault.InvalidCredentials, "Invalid email or password.")
	}
	return err
}

// Unlock forgets every failed login at a member of the caller's organisation.
// What their sources did to others stays. The operator of the whole deployment
// acts in the organisation the user logs in to. fault.NotFound: no such member.
func (a *Authenticator) Unlock(ctx context.Context, caller ident.Caller, user ident.UserID) error {
	now := a.Now()
	var err error
	if caller.Kind == ident.Operator && caller.Org == "" {
		if caller.Org, err = a.Users.Home(ctx, user); err != nil {
			return err
		}
	}
	m, err := a.Users.Member(ctx, caller.Tenant(), user)
	if err != nil {
		return err
	}
	_, pepper := a.Secrets.Current(sealing.LockoutPepper)
	return a.Store.InLoginTx(ctx, func(tx LoginTx) error {
		if _, err := tx.ForgetCounters(hashIdentifier(pepper, m.Canonical)); err != nil {
			return err
		}
		return tx.Record(audit.By(caller, now, audit.LoginUnlocked, audit.Target{Type: "user", ID: string(m.ID), Name: m.Email}))
	})
}

// pruned is how many counters one Prune removes at most, so that it never
// holds the database for long.
const pruned = 500

// Prune removes counters that no longer matter. Where it returns a full batch
// there may be more.
func (a *Authenticator) Prune(ctx context.Context) (removed int, more bool, err error) {
	now := a.Now()
	err = a.Store.InLoginTx(ctx, func(tx LoginTx) (err error) {
		removed, err = tx.PruneCounters(now, pruned)
		return err
	})
	return removed, removed == pruned, err
}

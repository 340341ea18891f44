package accounts

import (
	"context"
	"encoding/hex"
	"errors"
	"strconv"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/keys/sealing"
)

// How a password is presented.
const (
	byPassword       = "password"
	reauthentication = "reauthentication" // by who is signed in
)

// attempt is an Attempt on its way.
type attempt struct {
	Attempt
	start      time.Time
	identifier string // the one spelling
	owner      [32]byte
	tag        uint64
	level      trust
	method     string // byPassword or reauthentication
	shown      struct {
		proof shownProof
		says  string // what the audit log says of it; empty: none was shown
	}
	cookie string // the new device cookie, should the attempt succeed
	proof  string // what a valid device cookie proved; empty without
	keys   []CounterKey
	lease  Lease
	user   User        // zero where nobody has the identifier
	home   ident.OrgID // of user
}

// attempt works out which counters guard p.
func (a *Authenticator) attempt(p Attempt, now time.Time) *attempt {
	t := &attempt{Attempt: p, start: now, identifier: Identifier(p.Identifier), method: byPassword}
	keys := a.deviceKeys()
	cookie := parseDeviceCookie(p.Device, keys)
	if cookie.knows(t.identifier, keys, now) {
		t.level, t.proof = knownDevice, cookie.device
	}
	if cookie.device == "" {
		cookie.device = a.newDevice()
	}
	t.cookie = cookie.with(t.identifier, keys, now).value(keys)
	counted := cookie.device
	if mark := cookie.invitation(t.identifier, keys, now); mark != "" {
		t.level, counted = invited, counted+mark
	}
	a.show(t)
	a.guard(t, counted)
	return t
}

// DeviceProof returns what a device cookie proves its holder to have, the same
// for as long as the browser keeps one; empty where the cookie is not ours.
func (a *Authenticator) DeviceProof(cookie string) string {
	return parseDeviceCookie(cookie, a.deviceKeys()).device
}

func (a *Authenticator) deviceKeys() deviceKeys {
	return deviceKeys{
		current: func() (uint8, []byte) { return a.Secrets.Current(sealing.DeviceCookie) },
		byID:    func(id uint8) ([]byte, bool) { return a.Secrets.ByID(sealing.DeviceCookie, id) },
	}
}

// guard sets the counters of t for what it is trusted with.
func (a *Authenticator) guard(t *attempt, device string) {
	_, pepper := a.Secrets.Current(sealing.LockoutPepper)
	t.owner = hashIdentifier(pepper, t.identifier)
	t.tag = tagOf(t.owner)
	t.keys = a.Throttle.keys(pepper, t.identifier, t.level, t.Origin.IP, device)
	t.lease = Lease{Until: t.start.Truncate(time.Microsecond).Add(a.Throttle.lease()), Tag: t.tag}
}

// newDevice draws a device id. A source of randomness that fails leaves the
// zero id: such devices share one counter, which harms nobody else.
func (a *Authenticator) newDevice() string {
	b, err := secret.Bytes(a.Random, deviceID)
	if err != nil {
		b = make([]byte, deviceID)
	}
	return string(b)
}

// turnAway records an attempt that met a lock, and refuses it. No counter
// changes: who knocks at a locked door does not make it stay shut.
func (a *Authenticator) turnAway(ctx context.Context, t *attempt, r ruling) error {
	err := a.Store.InLoginTx(ctx, func(tx LoginTx) error { return tx.Record(t.refusal(r)) })
	if err != nil {
		return err
	}
	return a.refusal(ctx, t, r)
}

// reserve takes a place in every counter of t, or refuses. What is counted and
// what is under way are judged and written under one lock, so that no number
// of attempts at the same moment gets past a limit (INV-10).
func (a *Authenticator) reserve(ctx context.Context, t *attempt) error {
	var r ruling
	err := a.Store.InLoginTx(ctx, func(tx LoginTx) error {
		cs, err := tx.LockCounters(t.keys)
		if err != nil {
			return err
		}
		if r = a.rule(t, cs); r.verdict != admitted {
			if err := tx.Record(t.refusal(r)); err != nil {
				return err
			}
		} else {
			cs = a.Throttle.each(cs, func(c Counter, l Limit) Counter { return c.reserve(l, t.start, t.lease) })
		}
		return tx.SaveCounters(cs)
	})
	if err != nil {
		return err
	}
	if r.verdict != admitted {
		return a.refusal(ctx, t, r)
	}
	return nil
}

// fail counts a wrong password. The count does not depend on the caller still
// being there: hanging up early must not make a guess free.
func (a *Authenticator) fail(ctx context.Context, t *attempt) error {
	err := a.Store.InLoginTx(context.WithoutCancel(ctx), func(tx LoginTx) error {
		cs, err := tx.LockCounters(t.keys)
		if err != nil {
			return err
		}
		if err := tx.Record(t.event(audit.LoginFailed, audit.Failure, t.why())); err != nil {
			return err
		}
		for i, c := range cs {
			var lockedNow bool
			if cs[i], lockedNow = c.fail(a.Throttle.limit(c.Kind), t.start, t.lease); lockedNow {
				if err := errors.Join(tx.Record(t.lockEvent(cs[i])), a.tell(tx, t, cs[i])); err != nil {
					return err
				}
			}
		}
		return tx.SaveCounters(a.Throttle.each(cs, nil))
	})
	if err != nil {
		return err
	}
	wrong := fault.New(fault.InvalidCredentials, "Invalid email or password.")
	if t.level == proven { // the next attempt needs a proof too
		return a.challenged(context.WithoutCancel(ctx), t, wrong, wrong)
	}
	return wrong
}

// disabled refuses a right password. It is no guess, so it is not counted.
func (a *Authenticator) disabled(ctx context.Context, t *attempt) error {
	if err := a.end(ctx, t, t.event(audit.LoginFailed, audit.Denied, "disabled")); err != nil {
		return err
	}
	return fault.New(fault.AccountDisabled, "The account is disabled.")
}

// release gives the place back of an attempt that came to nothing.
func (a *Authenticator) release(ctx context.Context, t *attempt) error { return a.end(ctx, t) }

func (a *Authenticator) end(ctx context.Context, t *attempt, events ...audit.Event) error {
	return a.Store.InLoginTx(context.WithoutCancel(ctx), func(tx LoginTx) error {
		cs, err := tx.LockCounters(t.keys)
		if err != nil {
			return err
		}
		for _, e := range events {
			if err := tx.Record(e); err != nil {
				return err
			}
		}
		return tx.SaveCounters(a.Throttle.each(cs, func(c Counter, l Limit) Counter { return c.release(l, t.start, t.lease) }))
	})
}

// each changes every counter with its limit and says when it ends.
func (t Throttle) each(cs []Counter, change func(Counter, Limit) Counter) []Counter {
	out := make([]Counter, len(cs))
	for i, c := range cs {
		l := t.limit(c.Kind)
		if change != nil {
			c = change(c, l)
		}
		c.EndsAt = c.forgottenAt(l)
		out[i] = c
	}
	return out
}

// why is the true reason of a wrong password, which only the audit log learns.
func (t *attempt) why() string {
	switch {
	case t.user.ID == "":
		return "unknown_user"
	case t.user.PasswordHash == "":
		return "no_password"
	default:
		return "wrong_password"
	}
}

func (t *attempt) refusal(r ruling) audit.Event {
	e := t.event(audit.LoginRefused, audit.Denied, r.reason())
	e.Meta["scope"] = string(r.kind)
	return e
}

func (t *attempt) lockEvent(c Counter) audit.Event {
	e := t.event(audit.LoginLocked, audit.Denied, string(c.Kind))
	e.Meta["until"] = c.LockedUntil.UTC().Format(time.RFC3339)
	e.Meta["lock"] = strconv.Itoa(c.Level) // 1: the first since a quiet window
	return e
}

// event describes the attempt. What nobody has as identifier may be a password
// in the wrong field, so it is named by a keyed hash only.
func (t *attempt) event(name audit.Name, o audit.Outcome, reason string) audit.Event {
	e := audit.Event{
		Time: t.start, Name: name, Outcome: o, Reason: reason, Origin: t.Origin, Org: t.home,
		Actor: audit.Actor{Type: string(ident.Anonymous), Via: t.method},
		Meta:  map[string]string{"method": t.method, "identifier": hex.EncodeToString(t.owner[:8]), "device": trustNames[t.level]},
	}
	if t.shown.says != "" {
		e.Meta["proof"] = t.shown.says
	}
	if t.Client != "" {
		e.Meta["client"] = string(t.Client)
	}
	if t.user.ID != "" {
		e.Targets = []audit.Target{{Type: "user", ID: string(t.user.ID), Name: t.user.Email}}
	}
	return e
}

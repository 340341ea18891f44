package apikeys

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// LeakResponse is what becomes of a key that is reported as leaked.
type LeakResponse string

// The responses.
const (
	// RevokeLeaked ends the key for good.
	RevokeLeaked LeakResponse = "revoke"
	// QuarantineLeaked refuses the key until its owner releases or rotates it.
	QuarantineLeaked LeakResponse = "quarantine"
)

// MaxLeaked is how many keys one report may hold.
const MaxLeaked = 500

// reportThrottle bounds the keys that one source may report.
var reportThrottle = Throttle{Burst: 2000, PerSecond: 20}

// maxLeakText bounds what a report says of itself, in bytes.
const maxLeakText = 512

// leakReporter is who revoked a key that was reported.
const leakReporter = "leak-report"

// Leak is a report of keys that stand where everybody may read them.
type Leak struct {
	Credentials []string
	Source, URL string // who found them, and where; not believed, but recorded
}

// Leaked makes the keys of the report useless, as Settings.Leaked says, with
// every key that they made and every token that they were exchanged for. Who
// reports need not be known: possession is the proof, and who holds a key could
// do worse with it. What is no live key of ours is passed over, and the caller
// is not told which. A source of too many keys is fault.RateLimited, and the
// report is to be sent again.
func (s *Service) Leaked(ctx context.Context, l Leak, o ident.Origin) error {
	if len(l.Credentials) == 0 || len(l.Credentials) > MaxLeaked {
		return fault.Refuse("keys", "must hold 1 to 500 keys")
	}
	now, source := s.Now(), ident.NetworkOf(o.IP)
	for n := range l.Credentials {
		if wait := s.reports.take(source, reportThrottle, now); wait > 0 {
			for range n {
				s.reports.giveBack(source, reportThrottle, now)
			}
			missing := time.Duration(len(l.Credentials)-n) * time.Second / time.Duration(reportThrottle.PerSecond)
			return fault.New(fault.RateLimited, "Too many keys were reported from this address.").After(max(missing, time.Second))
		}
	}
	report := leakReport{leak: l, origin: o, now: now}
	seen := make(map[string]bool, len(l.Credentials))
	for _, c := range l.Credentials {
		if seen[c] {
			continue
		}
		seen[c] = true
		result, err := s.leaked(ctx, c, report)
		if err != nil {
			return err
		}
		if s.ObserveLeak != nil {
			s.ObserveLeak(result)
		}
	}
	return nil
}

type leakReport struct {
	leak   Leak
	origin ident.Origin
	now    time.Time
}

// The results of a report, for the metric.
const (
	leakRevoked     = "revoked"
	leakQuarantined = "quarantined"
	leakIgnored     = "ignored"
)

func (s *Service) leaked(ctx context.Context, credential string, r leakReport) (result string, err error) {
	a := &attempt{credential: credential, now: r.now, paid: true}
	lookup, err := s.locate(ctx, a)
	var e *entry
	if err == nil {
		e, err = s.lookupFor(ctx, lookup, a)
	}
	if errors.Is(err, errMalformed) || errors.Is(err, errUnknown) {
		return leakIgnored, nil
	}
	if err != nil {
		return "", err
	}
	if !s.exposed(&e.key, credential, r.now) {
		return leakIgnored, nil
	}
	// The credential says whose key it is; who reports it stays nobody.
	reporter := ident.Caller{Kind: ident.Anonymous, Org: e.key.Org, Origin: r.origin}
	err = s.Store.InTx(ctx, func(tx Tx) error {
		result = leakIgnored
		k, err := tx.LockAPIKey(reporter.Tenant(), e.key.ID)
		if err != nil {
			return err
		}
		if !s.exposed(&k, credential, r.now) {
			return nil
		}
		result, err = s.respond(tx, reporter, k, r)
		return err
	})
	return result, err
}

// exposed reports whether who holds the credential could use k, or could once
// it is released.
func (s *Service) exposed(k *Key, credential string, now time.Time) bool {
	sec := s.match(k, credential)
	if sec == nil {
		return false
	}
	// A policy may be widened again, so what it ended is exposed all the same.
	why := refusal(k, sec, Policy{}, now)
	return why == "" || why == resultHeld && s.Settings.Leaked != QuarantineLeaked
}

// respond records the report and does what the deployment does about leaks.
func (s *Service) respond(tx Tx, reporter ident.Caller, k Key, r leakReport) (string, error) {
	result := leakRevoked
	if s.Settings.Leaked == QuarantineLeaked {
		result = leakQuarantined
	}
	e := event(reporter, k, audit.APIKeyLeaked, r.now)
	e.Reason, e.Meta = result, map[string]string{}
	for name, text := range map[string]string{"source": r.leak.Source, "url": r.leak.URL} {
		if text = printable(text); text != "" {
			e.Meta[name] = text
		}
	}
	if err := tx.Record(e); err != nil {
		return "", err
	}
	if result == leakQuarantined {
		return result, holdFamily(tx, reporter, k, r.now)
	}
	e = event(reporter, k, audit.APIKeyRevoked, r.now)
	e.Reason = "leaked"
	if err := end(tx, reporter, k, e); err != nil {
		return "", err
	}
	return result, endDescendants(tx, reporter, k.ID, r.now)
}

// printable is what is recorded of a text that nobody vouches for.
func printable(s string) string {
	s = strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return -1
	}, strings.ToValidUTF8(s, ""))
	if len(s) > maxLeakText {
		s = strings.ToValidUTF8(s[:maxLeakText], "")
	}
	return s
}

// holdFamily quarantines k and what it made, a generation at a time.
func holdFamily(tx Tx, reporter ident.Caller, k Key, now time.Time) error {
	if err := hold(tx, reporter, k, "leaked", now); err != nil {
		return err
	}
	for makers := []ident.APIKeyID{k.ID}; len(makers) > 0; {
		children, err := tx.LockAPIKeysMadeBy(reporter.Tenant(), makers...)
		if err != nil {
			return err
		}
		makers = nil
		for _, child := range children {
			makers = append(makers, child.ID)
			if err := hold(tx, reporter, child, "maker_leaked", now); err != nil {
				return err
			}
		}
	}
	return nil
}

// hold refuses k until its owner decides, and its tokens for good.
func hold(tx Tx, reporter ident.Caller, k Key, reason string, now time.Time) error {
	if !k.HeldAt.IsZero() || !k.RevokedAt.IsZero() {
		return nil
	}
	k.HeldAt = now
	if err := tx.UpdateAPIKey(k); err != nil {
		return err
	}
	if err := tx.Announce(endOfTokens(k.ID, now)); err != nil {
		return err
	}
	e := event(reporter, k, audit.APIKeyQuarantined, now)
	e.Reason = reason
	return note(tx, reporter, k, e)
}

// Release lets a quarantined key be used again, where its owner knows that
// nobody else has it. It needs api-keys:rotate, and api-keys:manage where the
// key is not the caller's own. A key releases none: whoever has one leaked key
// may have others. What is not quarantined is fault.Conflict.
func (s *Service) Release(ctx context.Context, caller ident.Caller, id ident.APIKeyID) (Key, error) {
	now := s.Now()
	if !slices.Contains([]ident.Kind{ident.Person, ident.Operator}, caller.Kind) {
		return Key{}, fault.New(fault.InsufficientPermissions, "A person releases a key.")
	}
	if _, err := s.findOwn(ctx, caller, id, PermRotate, now); err != nil {
		return Key{}, err
	}
	policy, err := s.presentPolicy(ctx, caller.Tenant().Org())
	if err != nil {
		return Key{}, err
	}
	var k Key
	err = s.Store.InTx(ctx, func(tx Tx) (err error) {
		if k, err = tx.LockAPIKey(caller.Tenant(), id); err != nil {
			return err
		}
		if k.HeldAt.IsZero() || !k.RevokedAt.IsZero() {
			return fault.New(fault.Conflict, "The key is not quarantined.")
		}
		k.HeldAt = time.Time{}
		if err := tx.UpdateAPIKey(k); err != nil {
			return err
		}
		return note(tx, caller, k, event(caller, k, audit.APIKeyReleased, now))
	})
	if err != nil {
		return Key{}, err
	}
	return s.shown(k, policy, now), nil
}

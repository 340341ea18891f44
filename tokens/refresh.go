package tokens

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// tries is how often a refresh is judged against an unlocked family before it
// waits for the lock. Each lost race means that somebody else was served.
const tries = 3

// Refresh answers a refresh token (RFC 6749 §6, RFC 9700 §4.14.2). A refusal
// is fault.InvalidToken with Reason "expired", "idle", "revoked",
// "reuse_detected" or "stale"; without one where the token is none of ours.
// fault.Unavailable is never about the token.
func (s *Service) Refresh(ctx context.Context, p Presented) (Refreshed, error) {
	g, err := parse(p.Token, s.MACs)
	if err != nil {
		s.observe(Malformed)
		return Refreshed{}, err
	}
	r := &refresh{Service: s, id: g.Session, p: p, now: s.Now().Truncate(time.Microsecond), in: presentation{
		Generation: g.Generation, Origin: p.Origin, Network: networkOf(p.Origin.IP), Agent: textDigest(p.Origin.UserAgent),
		Proof: textDigest(p.Proof), RetryKey: textDigest(p.RetryKey),
	}}
	v, err := r.answer(ctx)
	if err != nil {
		return Refreshed{}, err
	}
	s.observe(v.Result)
	if !v.Result.Served() {
		return Refreshed{}, refusal(v.Result)
	}
	t, err := format(generationOf{v.Next.ID, v.Next.Chain.Generation}, s.MACs)
	if err != nil {
		return Refreshed{}, err
	}
	at, _ := v.Next.Chain.Live.Newest()
	return Refreshed{Family: v.Next, Token: t, ExpiresAt: s.ExpiryOf(v.Next), Result: v.Result, Place: at.Place}, nil
}

func (s *Service) observe(r Result) {
	if s.Observe != nil {
		s.Observe(r)
	}
}

// refresh is one presented token on its way to an answer.
type refresh struct {
	*Service
	id  ident.SessionID
	p   Presented
	in  presentation
	now time.Time
	at  Place // drawn for the access token, once it needs one of its own
}

// answer judges and applies until nothing changed in between. It never
// refuses: a refusal inside a transaction would undo the revocation of a
// stolen family.
func (r *refresh) answer(ctx context.Context) (verdict, error) {
	for range tries {
		f, err := r.Store.Family(ctx, r.id)
		if errors.Is(err, fault.NotFound) {
			return verdict{Result: Expired}, nil // the token is ours, so its family was cleaned up
		}
		if err != nil {
			return verdict{}, err
		}
		v := r.judge(f)
		if v.Result == Disputed || v.Result == Reused && v.Next != f {
			break
		}
		if v, err = r.placed(ctx, f, v); err != nil {
			return verdict{}, err
		}
		if done, err := r.swap(ctx, f, v); done || err != nil {
			return v, err
		}
	}
	return r.locked(ctx)
}

func (r *refresh) judge(f Family) verdict {
	if f.Client != r.p.Client {
		// RFC 6749 §6: a refresh token is bound to the client it was issued to.
		return verdict{Malformed, f}
	}
	return judge(f, r.in, r.now, r.Policy.withDefaults())
}

// swap applies v to the family it was judged on, and reports false where that
// has changed meanwhile.
func (r *refresh) swap(ctx context.Context, f Family, v verdict) (done bool, err error) {
	if !v.Result.Served() {
		return true, r.Store.InTx(ctx, func(tx Tx) error { return tx.Record(r.event(v, f)) })
	}
	var events []audit.Event
	routine := r.routine.first(f.ID, r.now)
	if routine || r.RecordEach || v.Result == Adopted {
		events = append(events, r.event(v, f))
	}
	if v.Next == f && len(events) == 0 {
		return true, nil
	}
	done, err = r.Store.Advance(ctx, f, v.Next, events...)
	if routine && (!done || err != nil) {
		r.routine.forget(f.ID)
	}
	return done, err
}

// locked judges and applies while nobody else can change the family.
func (r *refresh) locked(ctx context.Context) (v verdict, err error) {
	if err := r.draw(ctx); err != nil { // before the transaction, which would wait for itself
		return verdict{}, err
	}
	err = r.Store.InTx(ctx, func(tx Tx) error {
		f, err := tx.Family(r.id)
		if errors.Is(err, fault.NotFound) {
			v = verdict{Result: Expired}
			return nil
		}
		if err != nil {
			return err
		}
		if v, err = r.placed(ctx, f, r.judge(f)); err != nil {
			return err
		}
		if v.Next != f {
			if err := tx.SaveFamily(v.Next); err != nil {
				return err
			}
		}
		if f.Ended != v.Next.Ended {
			if err := tx.Announce(sessionRevoked(r.id, r.now, r.Until(r.now))); err != nil {
				return err
			}
		}
		if v.Result.Served() && v.Result != Disputed && v.Result != Adopted && !r.RecordEach {
			return nil // routine, and contended: another request has told of it
		}
		return tx.Record(r.event(v, f))
	})
	return v, err
}

// event tells what became of f by v.
func (r *refresh) event(v verdict, f Family) audit.Event {
	e := audit.Event{
		Time: r.now, Name: audit.RefreshRefused, Outcome: audit.Failure, Reason: string(v.Result),
		Actor:   audit.Actor{Type: string(ident.Person), ID: string(f.User), Org: f.Org, Via: "refresh_token"},
		Targets: []audit.Target{{Type: "session", ID: string(f.ID)}},
		Origin:  r.p.Origin, Session: f.ID, Org: f.Org,
		Meta: map[string]string{
			"generation": strconv.FormatUint(uint64(r.in.Generation), 10),
			"current":    strconv.FormatUint(uint64(f.Chain.Generation), 10),
		},
	}
	switch {
	case v.Result == Malformed:
		e.Reason = "wrong_client"
	case v.Result == Reused && v.Next.Ended != f.Ended:
		e.Name, e.Outcome = audit.RefreshReused, audit.Denied
	case v.Result.Served():
		e.Name, e.Outcome = audit.SessionRefreshed, audit.Success
	}
	return e
}

func sessionRevoked(id ident.SessionID, at, until time.Time) changes.Change {
	return changes.Change{Kind: changes.SessionRevoked, Key: string(id), At: at, Until: until}
}

// refusal is the failure a presenter is told. The texts are part of the
// interface.
func refusal(r Result) error {
	detail := map[Result]string{
		Expired: "Refresh token has expired",
		Idle:    "Refresh token has not been used for too long",
		Revoked: "Refresh token has been revoked",
		Reused:  "Refresh token has been revoked",
		Stale:   "Refresh token has been superseded",
	}[r]
	if detail == "" {
		return malformed()
	}
	return fault.New(fault.InvalidToken, detail).Because(string(r))
}

package accounts

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/keys/sealing"
)

// Secrets are the keys of a deployment. sealing.Secrets is one.
type Secrets interface {
	Current(p sealing.Purpose) (id uint8, key []byte)
	ByID(p sealing.Purpose, id uint8) (key []byte, ok bool)
}

// Authenticator checks passwords, under the one set of counters that guards
// every way to present one. Fields without a default are required.
type Authenticator struct {
	Store    LoginStore
	Users    LoginReader
	Hasher   *Hasher
	Secrets  Secrets
	Throttle Throttle // defaults where zero
	Proofs   Proofs   // what lets strangers past a full pool; none where zero
	// Answer, where set, returns at the given time, or early with an error where
	// ctx ends. Refusals pass it, so that their duration tells nothing.
	Answer func(ctx context.Context, at time.Time) error
	// RefusalTime is how long after its start a refusal is answered: longer than
	// a password takes to check. House default 250 ms; 0 does not wait.
	RefusalTime time.Duration
	// Mails is whether owners are told of locks by mail.
	Mails  bool
	Now    func() time.Time
	Random io.Reader // of device cookies
}

// Attempt is one presented password.
type Attempt struct {
	Identifier string // as typed
	Password   secret.Plain
	Device     string // value of the device cookie; empty where there is none
	Answer     string // to a Challenge; empty where none was asked for
	Client     ident.ClientID
	Origin     ident.Origin
}

// maxIdentifier is the longest identifier that is looked at, in bytes. No
// account has one as long.
const maxIdentifier = 1024

// Verified is a right password of an active user whose attempt is still to be
// settled: within 30 seconds, in the transaction that opens the session (see
// Settle), or by Authenticator.Decline.
type Verified struct {
	User User
	Home ident.OrgID // empty where the user belongs nowhere
	// Device is the new value of the device cookie.
	Device string
	// Proof is what the presented device cookie proved (see DeviceProof); empty
	// where the user was not known on the device.
	Proof string

	attempt  *attempt
	throttle Throttle
	rehash   string // what replaces User.PasswordHash; empty: keep it
}

// Authenticate checks the password of an attempt. It costs two reads, one
// commit and one hash; the other commit is the one that settles. It answers
//   - fault.InvalidCredentials: no such user, no password, or a wrong one;
//   - fault.AccountLocked or fault.RateLimited with RetryAfter: the password
//     was not looked at; as ProofRequired where a proof would let it through;
//   - fault.AccountDisabled: the password was right;
//   - fault.Unavailable with RetryAfter: the hashing pool is full, and nothing
//     was counted;
//   - fault.Invalid: the password or identifier is too long or no UTF-8.
//
// Identifiers that nobody has get the same reads, writes, hashes and replies.
func (a *Authenticator) Authenticate(ctx context.Context, p Attempt) (*Verified, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	now := a.Now()
	v, err := a.verify(ctx, a.attempt(p, now))
	if err != nil {
		return nil, a.refused(ctx, now, err)
	}
	return v, nil
}

// refused returns err, when it is a refusal not before its time.
func (a *Authenticator) refused(ctx context.Context, start time.Time, err error) error {
	switch fault.Of(err).Code {
	case fault.InvalidCredentials, fault.AccountLocked, fault.AccountDisabled, fault.RateLimited:
	default:
		return err
	}
	if a.Answer == nil || a.RefusalTime <= 0 {
		return err
	}
	if gone := a.Answer(ctx, start.Add(a.RefusalTime)); gone != nil {
		return fault.Wrap(errors.Join(gone, err), fault.Unavailable, "The request was given up.")
	}
	return err
}

func (p Attempt) check() error {
	var fields []fault.Field
	switch {
	case p.Identifier == "":
		fields = append(fields, fault.Field{Name: "email", Detail: "must not be empty"})
	case len(p.Identifier) > maxIdentifier:
		fields = append(fields, fault.Field{Name: "email", Detail: "must have at most 1024 bytes"})
	}
	if err := Presentable("password", p.Password.Reveal()); err != nil {
		fields = append(fields, fault.Of(err).Fields...)
	}
	if len(fields) > 0 {
		return fault.Refusals(fields)
	}
	return nil
}

// verify runs an attempt up to the point where it must be settled or has been.
func (a *Authenticator) verify(ctx context.Context, t *attempt) (*Verified, error) {
	// Who is locked out is told so before they take a place in the hashing pool:
	// a flood of refused attempts must not crowd out the others.
	r, err := a.admit(ctx, t)
	if err != nil {
		return nil, err
	}
	if r.verdict != admitted {
		return nil, a.turnAway(ctx, t, r)
	}
	if err := a.find(ctx, t); err != nil {
		return nil, err
	}
	ticket, err := a.Hasher.Admit(ctx)
	if err != nil {
		return nil, err
	}
	defer ticket.Release()
	if err := a.reserve(ctx, t); err != nil {
		return nil, err
	}
	ok, stale, err := a.compare(ctx, ticket, t)
	if err != nil {
		return nil, errors.Join(err, a.release(ctx, t))
	}
	switch {
	case !ok:
		return nil, a.fail(ctx, t)
	case t.user.Status != Active:
		return nil, a.disabled(ctx, t)
	}
	v := &Verified{User: t.user, Home: t.home, Device: t.cookie, Proof: t.proof, attempt: t, throttle: a.Throttle}
	if stale {
		// Computed while the place is held, so that no transaction waits for it.
		if v.rehash, err = ticket.Hash(ctx, t.Password.Reveal()); err != nil {
			return nil, errors.Join(err, a.release(ctx, t))
		}
	}
	return v, nil
}

// find reads who the identifier is. Nobody is read as often as somebody.
func (a *Authenticator) find(ctx context.Context, t *attempt) (err error) {
	if t.user, err = a.Users.UserByCanonical(ctx, t.identifier); err != nil && !errors.Is(err, fault.NotFound) {
		return err
	}
	if t.home, err = a.Users.Home(ctx, t.user.ID); err != nil && !errors.Is(err, fault.NotFound) {
		return err
	}
	return nil
}

// compare checks the password against the user's hash, or against one that
// nothing matches.
func (a *Authenticator) compare(ctx context.Context, ticket *Ticket, t *attempt) (ok, stale bool, err error) {
	stored := t.user.PasswordHash
	if stored == "" {
		if stored, err = a.Hasher.Dummy(); err != nil {
			return false, false, err
		}
	}
	return ticket.Verify(ctx, stored, t.Password.Reveal())
}

package accounts

import (
	"context"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// ChangePassword replaces the caller's password and ends all their other
// sessions, in every organisation. API keys stay: they are not derived from the
// password and have their own rotation.
func (p *People) ChangePassword(ctx context.Context, c ident.Caller, current, next secret.Plain) error {
	if c.Kind != ident.Person {
		return fault.New(fault.InsufficientPermissions, "Only a signed-in person can change their password.")
	}
	if err := Presentable("current_password", current.Reveal()); err != nil {
		return err
	}
	before, err := p.Store.User(ctx, c.User)
	if err != nil {
		return err
	}
	if err := p.judgeNext(ctx, c, before, current, next); err != nil {
		return err
	}
	if err := p.Prover.Prove(ctx, c, current); err != nil {
		return err
	}
	hash, err := p.Hasher.Hash(ctx, next.Reveal())
	if err != nil {
		return err
	}
	return p.Store.InTx(ctx, func(tx Tx) error {
		u, err := tx.LockUser(c.User)
		if err != nil {
			return err
		}
		if u.Status != Active {
			return fault.New(fault.AccountDisabled, "The account is disabled.")
		}
		// What was proved is the password that has just been replaced.
		if !u.PasswordChangedAt.Equal(before.PasswordChangedAt) {
			return fault.New(fault.Conflict, "The password was changed meanwhile.")
		}
		at := p.Now()
		if _, err := tx.ReplaceHash(u.ID, u.PasswordHash, hash, at); err != nil {
			return err
		}
		end := Ending{User: u.ID, Except: c.Session, Reason: "password_changed", At: at, Until: p.until(at)}
		if _, err := tx.EndSessions(end); err != nil {
			return err
		}
		return tx.Record(audit.By(c, at, audit.PasswordChanged, userTarget(u)))
	})
}

// judgeNext refuses a new password that the policy refuses or that is the
// present one.
func (p *People) judgeNext(ctx context.Context, c ident.Caller, u User, current, next secret.Plain) error {
	org, err := p.Store.Org(ctx, c.Tenant().Org())
	if err != nil {
		return err
	}
	if err := p.Policy.Check("new_password", next.Reveal(), u.Email, u.Name, org.Name); err != nil {
		return err
	}
	if next.Reveal() == current.Reveal() {
		return fault.Refuse("new_password", "must differ from the present password")
	}
	return nil
}

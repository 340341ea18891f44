package accounts

import (
	"context"
	"errors"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/keys/sealing"
)

// UnlockLinkTTL is how long an unlock link can be used, and how long the browser
// it was used in may pass the locks.
const UnlockLinkTTL = 15 * time.Minute

// unlockPrefix marks the token of an unlock link, for scanners.
const unlockPrefix = "th_unlock_"

// UnlockLink lets the owner of an account past the locks that strangers caused,
// in one browser, once. It opens nothing else: the password is still asked.
type UnlockLink struct {
	Digest     []byte // SHA-256 of the token
	Identifier [32]byte
	User       ident.UserID
	ExpiresAt  time.Time
}

// UnlockLinkValid reports whether UseUnlockLink would accept the token now. It
// uses nothing up: programs that look at links in mails before people do must
// not use them.
func (a *Authenticator) UnlockLinkValid(ctx context.Context, token secret.Plain) (bool, error) {
	_, err := a.unlockLink(ctx, token, a.Now())
	if errors.Is(err, fault.NotFound) {
		return false, nil
	}
	return err == nil, err
}

// unlockLink returns whose link it is; fault.NotFound where it is no good.
func (a *Authenticator) unlockLink(ctx context.Context, token secret.Plain, now time.Time) (User, error) {
	link, err := a.Store.UnlockLink(ctx, secret.Sum(token.Reveal()), now)
	if err != nil {
		return User{}, err
	}
	user, err := a.Users.User(ctx, link.User)
	if err != nil {
		return User{}, err
	}
	_, pepper := a.Secrets.Current(sealing.LockoutPepper)
	if user.Status != Active || hashIdentifier(pepper, user.Canonical) != link.Identifier {
		return User{}, fault.NotFound // the mail went to an address that is the user's no more
	}
	return user, nil
}

// UseUnlockLink gives the browser whose device cookie is given another one, with
// which its attempts at the account pass the locks of its network and of the
// account for UnlockLinkTTL. They have a counter of their own. Of several uses of
// a link one succeeds; every other is fault.InsufficientPermissions, whatever was
// wrong with it.
func (a *Authenticator) UseUnlockLink(ctx context.Context, token secret.Plain, device string, o ident.Origin) (cookie string, err error) {
	now := a.Now()
	user, err := a.unlockLink(ctx, token, now)
	if errors.Is(err, fault.NotFound) {
		return "", a.refuseUnlock(ctx, o, now)
	}
	if err != nil {
		return "", err
	}
	home, err := a.Users.Home(ctx, user.ID)
	if err != nil && !errors.Is(err, fault.NotFound) {
		return "", err
	}
	var won bool
	err = a.Store.InLoginTx(ctx, func(tx LoginTx) error {
		if won, err = tx.UseUnlockLink(secret.Sum(token.Reveal()), now); err != nil || !won {
			return err
		}
		return tx.Record(unlocked(user, home, o, now))
	})
	switch {
	case err != nil:
		return "", err
	case !won:
		return "", a.refuseUnlock(ctx, o, now)
	}
	keys := a.deviceKeys()
	c := parseDeviceCookie(device, keys)
	if c.device == "" {
		c.device = a.newDevice()
	}
	return c.invite(user.Canonical, keys, now).value(keys), nil
}

// unlocked is the event of a link that was used.
func unlocked(user User, home ident.OrgID, o ident.Origin, now time.Time) audit.Event {
	return audit.Event{
		Time: now, Name: audit.UnlockLinkUsed, Outcome: audit.Success, Origin: o, Org: home,
		Actor:   audit.Actor{Type: string(ident.Person), ID: string(user.ID), Name: user.Email, Org: home, Via: "unlock_link"},
		Targets: []audit.Target{{Type: "user", ID: string(user.ID), Name: user.Email}},
	}
}

// refuseUnlock records and words the one refusal of a link.
func (a *Authenticator) refuseUnlock(ctx context.Context, o ident.Origin, now time.Time) error {
	err := a.Store.InLoginTx(ctx, func(tx LoginTx) error {
		return tx.Record(audit.Event{
			Time: now, Name: audit.UnlockLinkRefused, Outcome: audit.Denied, Reason: "invalid_link", Origin: o,
			Actor: audit.Actor{Type: string(ident.Anonymous), Via: "unlock_link"},
		})
	})
	if err != nil {
		return err
	}
	return fault.New(fault.InsufficientPermissions, "This link is not valid: it was used, has expired, or never existed.").Because("invalid_link")
}

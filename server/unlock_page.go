package server

import (
	"context"
	"errors"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/server/pages"
)

// unlockPage is where a mailed unlock link leads. It lies below the login page,
// where browsers send the cookie of the device.
const unlockPage = loginPage + "/unlock"

// showUnlock serves GET /login/unlock. It uses nothing up.
func (s *Server) showUnlock(ctx context.Context, v visitor) (step, error) {
	good, err := s.Services.Logins.UnlockLinkValid(ctx, secret.Of(v.params["token"]))
	switch {
	case err != nil:
		return step{}, err
	case !good:
		return show(pages.NoUnlock{}), nil
	}
	return show(pages.Unlock{Form: s.pageForm(v, formUnlock, ""), Link: v.params["token"]}), nil
}

// unlock serves POST /login/unlock, which only our own page sends. One that was
// open for too long, or is another browser's, asks again.
func (s *Server) unlock(ctx context.Context, v visitor) (step, error) {
	if !s.genuine(v, formUnlock, v.params["form_token"]) {
		return s.showUnlock(ctx, v)
	}
	device, err := s.Services.Logins.UseUnlockLink(ctx, secret.Of(v.params["token"]), v.device, v.origin)
	if errors.Is(err, fault.InsufficientPermissions) {
		return show(pages.NoUnlock{}), nil
	}
	if err != nil {
		return step{}, err
	}
	next := show(pages.Unlocked{For: pages.Wait(accounts.UnlockLinkTTL)})
	next.device = device
	return next, nil
}

package server

import (
	"context"
	"net/http"
	"slices"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/oauth"
)

// maxRetryKey is the longest Idempotency-Key looked at, in bytes.
const maxRetryKey = 255

// refreshRequest takes the refresh token from the body or, where that has
// none, from the cookie.
type refreshRequest struct {
	RefreshToken string `json:"refresh_token"`

	fromJar  bool // the token came in the cookie
	hasJar   bool // a refresh cookie was sent, used or not
	device   string
	retryKey string
}

func (*refreshRequest) bodyOptional() {}

func (r *refreshRequest) read(i *input) error {
	if i.s.presentsKey(i.c.Request) {
		return fault.New(fault.InvalidToken, "API keys are not refreshed: they are good until they are revoked or expire.")
	}
	jar := i.s.jar()
	kept, err := i.cookie(jar.refresh)
	if err != nil {
		return err
	}
	if r.hasJar = kept != ""; r.RefreshToken == "" {
		r.RefreshToken, r.fromJar = kept, r.hasJar
	}
	if r.RefreshToken == "" {
		return fault.New(fault.Unauthenticated, "A refresh token is required, in the body or in the cookie.")
	}
	if r.device, err = i.cookie(jar.device); err != nil {
		return err
	}
	r.retryKey, err = i.header("Idempotency-Key", maxRetryKey)
	return err
}

// presentsKey reports whether the request carries an API key.
func (s *Server) presentsKey(r *http.Request) bool {
	p, err := s.credential(r)
	return len(r.Header.Values("X-Api-Key")) > 0 || err == nil && p.kind == kindAPIKey
}

// signedOut are the reasons after which a browser's session is over. For every
// other refusal the cookies stay: a client must not lose its session to a
// stale tab or to a database that does not answer.
var signedOut = []string{"expired", "revoked", "reuse_detected"}

// refresh serves POST /api/v1/auth/refresh.
func (s *Server) refresh(ctx context.Context, caller ident.Caller, req refreshRequest) (tokenReply, error) {
	got, err := s.Services.OAuth.Exchange(ctx, oauth.GrantRefreshToken, s.Services.API, oauth.Request{
		Params: oauth.Params{"refresh_token": req.RefreshToken},
		Origin: caller.Origin, Device: req.device, RetryKey: req.retryKey,
	})
	if err != nil {
		if f := fault.Of(err); req.fromJar && f.Code == fault.InvalidToken && slices.Contains(signedOut, f.Reason) {
			err = forgetting{err}
		}
		return tokenReply{}, err
	}
	out := tokenReplyOf(got)
	// A browser that refreshed by body must not keep an older token in its jar:
	// presented later, it would look stale.
	out.cookies = req.hasJar
	return out, nil
}

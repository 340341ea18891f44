package demo

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/tokenhouse/tokenhouse/tokens/verify"
)

// maxReply is how much of a refusal of tokenhouse's is passed on, in bytes.
const maxReply = 64 << 10

// admission lets requests in: a JWT is verified here and offline, every other
// credential by tokenhouse.
type admission struct {
	resource *Resource
	base     string
	client   *http.Client
	verifier *verify.Verifier
}

// tenant is the organisation a request belongs to. It comes from the credential
// and never from the request.
type tenant string

// action answers an admitted request.
type action func(w http.ResponseWriter, r *http.Request, t tenant)

// require admits requests whose credential carries the permission.
func (a *admission) require(permission string, next action) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, err := a.token(r)
		switch {
		case err != nil:
			verify.WriteError(w, err)
		case token == "":
			a.ask(w, r, permission, next)
		default:
			c, err := a.verifier.Verify(r.Context(), token)
			if err == nil && !c.Allows(permission) {
				err = verify.Lacking(permission)
			}
			if err != nil {
				verify.WriteError(w, err)
				return
			}
			next(w, r, tenant(c.OrgID))
		}
	})
}

// token returns the JWT of a request, or nothing where the credential is one
// that only tokenhouse understands. A bearer token wins over a cookie.
func (a *admission) token(r *http.Request) (string, error) {
	if len(r.Header.Values("X-Api-Key")) > 0 {
		return "", nil
	}
	token, err := verify.BearerToken(r)
	switch {
	case err == nil && !strings.Contains(token, "."):
		return "", nil // opaque: an API key of a client that can send nothing else
	case err == nil || !errors.Is(err, verify.ErrMissing) || r.Header.Get("Authorization") != "":
		return token, err
	}
	for _, name := range a.resource.Cookies {
		if c, err := r.Cookie(name); err == nil && c.Value != "" {
			return c.Value, nil
		}
	}
	return "", verify.ErrMissing
}

// ask puts the credential to tokenhouse's forward-authentication endpoint and
// passes its refusal on as it is.
func (a *admission) ask(w http.ResponseWriter, r *http.Request, permission string, next action) {
	ctx := context.WithValue(r.Context(), arrivedKey{}, arrival{r.RemoteAddr, r.Header.Values("X-Forwarded-For")})
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.base+"/api/v1/auth/verify?permission="+url.QueryEscape(permission), nil)
	if err != nil {
		verify.WriteError(w, err)
		return
	}
	for _, name := range []string{"Authorization", "X-Api-Key", "User-Agent"} {
		req.Header[name] = r.Header.Values(name)
	}
	req.Header["X-Forwarded-For"] = append(r.Header.Values("X-Forwarded-For"), host(r.RemoteAddr))
	res, err := a.client.Do(req)
	if err != nil {
		verify.WriteError(w, verify.ErrUnavailable)
		return
	}
	defer func() { _ = res.Body.Close() }()
	org := res.Header.Get("X-Auth-Org")
	hand(w, res, "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset", "RateLimit-Policy")
	switch {
	case res.StatusCode < 200 || res.StatusCode > 299:
		relay(w, res)
	case org == "" || !carries(res.Header.Get("X-Auth-Permissions"), permission):
		verify.WriteError(w, verify.Lacking(permission))
	default:
		next(w, r, tenant(org))
	}
}

// carries reads the permissions that tokenhouse answered: concrete ones, or a
// wildcard that covers what is asked for.
func carries(header, permission string) bool {
	return verify.Claims{Permissions: strings.Fields(strings.ReplaceAll(header, ",", " "))}.Allows(permission)
}

// hand passes headers of tokenhouse's answer on.
func hand(w http.ResponseWriter, res *http.Response, names ...string) {
	for _, name := range names {
		if v := res.Header.Get(name); v != "" {
			w.Header().Set(name, v)
		}
	}
}

func relay(w http.ResponseWriter, res *http.Response) {
	hand(w, res, "Content-Type", "WWW-Authenticate", "Retry-After", "Cache-Control")
	w.WriteHeader(res.StatusCode)
	_, _ = io.Copy(w, io.LimitReader(res.Body, maxReply))
}

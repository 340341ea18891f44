package server

import (
	"context"
	"net/http"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
)

// maxRequired is how many permissions one question may name.
const maxRequired = 32

// forwardRequest is the question of a reverse proxy (nginx auth_request,
// Traefik forwardAuth, Caddy, Envoy): may the bearer of this credential do all
// of this?
type forwardRequest struct{ required []scope.Permission }

func (r *forwardRequest) read(i *input) error {
	names, err := i.values("permission")
	if err != nil {
		return err
	}
	if len(names) > maxRequired {
		return fault.Refuse("permission", "may be given at most 32 times")
	}
	for _, n := range names {
		p, err := scope.ParsePermission(n)
		if err != nil {
			return fault.Refuse("permission", err.Error())
		}
		r.required = append(r.required, p)
	}
	if i.in.viaJar {
		return i.s.judgeForwarded(i.c.Request)
	}
	return nil
}

// judgeForwarded applies the forgery check to the request that the proxy asks
// about: the question itself is a GET, whatever it is about.
func (s *Server) judgeForwarded(r *http.Request) error {
	for _, name := range []string{"X-Forwarded-Method", "X-Original-Method"} {
		if m := r.Header.Get(name); m != "" {
			about := r.Clone(r.Context())
			about.Method = m
			return s.origins.judge(about)
		}
	}
	return nil
}

// verify serves GET /api/v1/auth/verify.
func (s *Server) verify(ctx context.Context, caller ident.Caller, req forwardRequest) (identity, error) {
	lacking := caller.Permissions.Lacks(scope.Of(req.required...))
	if len(lacking) == 0 {
		return identity{caller}, nil
	}
	s.denied(ctx, caller, lacking...)
	return identity{}, fault.Lacking(lacking.Strings()...)
}

// identity is the caller in headers, for a reverse proxy to hand on. It always
// holds every header, so that none of the client's own survives a proxy that
// copies what it finds.
type identity struct{ caller ident.Caller }

func (i identity) head(_ *Server, h http.Header) {
	setAll(h,
		field{"X-Auth-User", string(i.caller.User)},
		field{"X-Auth-Email", headerText(i.caller.Email)},
		field{"X-Auth-Org", string(i.caller.Org)},
		field{"X-Auth-Key", string(i.caller.Key)},
		field{"X-Auth-Permissions", i.caller.Permissions.String()},
	)
}

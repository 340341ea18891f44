package server

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
)

// maxRequired is how many permissions one question may name.
const maxRequired = 32

// verifyPath is where reverse proxies ask. Below it, the next segment may name
// permissions, and what follows is the path of the request that is asked about.
const verifyPath = "/api/v1/auth/verify"

// anyPermission stands in the path for no permission at all.
const anyPermission = "any"

// aboutAnother returns the question of a reverse proxy as the route has it. Some
// proxies (Envoy ext_authz) ask with the method of the request that they ask
// about, and append its path and its query to ours: neither is part of the
// question. What is asked about is judged as the method that came; see protect.
func aboutAnother(r *http.Request) *http.Request {
	rest, ok := strings.CutPrefix(r.URL.EscapedPath(), verifyPath)
	if !ok || rest != "" && rest[0] != '/' || !slices.Contains(forwardedMethods, r.Method) {
		return r
	}
	asked := *r
	asked.Method, asked.Body, asked.ContentLength = http.MethodGet, http.NoBody, 0
	permissions, _, appended := strings.Cut(strings.TrimPrefix(rest, "/"), "/")
	if appended && permissions != "" {
		asked.URL = &url.URL{Path: verifyPath + "/" + permissions}
	}
	return &asked
}

// forwardedMethods are the methods with which a proxy may ask.
var forwardedMethods = []string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions,
}

// forwardRequest is the question of a reverse proxy (nginx auth_request,
// Traefik forwardAuth, Caddy, Envoy, HAProxy): may the bearer of this credential
// do all of this?
type forwardRequest struct{ required []scope.Permission }

func (r *forwardRequest) read(i *input) error {
	names, err := i.values("permission")
	if err != nil {
		return err
	}
	return r.require(i, names)
}

func (r *forwardRequest) require(i *input, names []string) error {
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

// forwardPathRequest is the same question with the permissions in the path,
// separated by commas.
type forwardPathRequest struct{ forwardRequest }

func (r *forwardPathRequest) read(i *input) error {
	named := i.c.Param("permissions")
	if named == anyPermission {
		return r.require(i, nil)
	}
	return r.require(i, strings.Split(named, ","))
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

// verifyAbout serves GET /api/v1/auth/verify/:permissions.
func (s *Server) verifyAbout(ctx context.Context, caller ident.Caller, req forwardPathRequest) (identity, error) {
	return s.verify(ctx, caller, req.forwardRequest)
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

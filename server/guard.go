package server

import (
	"context"
	"errors"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
	"github.com/tokenhouse/tokenhouse/oauth"
)

// guard says who may call a route. Every line of routes has one.
type guard struct {
	kind       string // "public", "own", "self", "person", "page" or "permission"
	permission scope.Permission
}

var (
	// public answers anybody; what it takes is in the request itself.
	public = guard{kind: "public"}
	// ownJudge is a route that judges the credential itself, because it takes one
	// of several or belongs to another handler.
	ownJudge = guard{kind: "own"}
	// self takes any good credential: the answer is about that credential.
	self = guard{kind: "self"}
	// person takes the access token of a login at our own doors: API keys have
	// none, and what a user allowed some client is not their whole account.
	person = guard{kind: "person"}
)

// require takes a credential that carries the permission.
func require(p scope.Permission) guard { return guard{kind: "permission", permission: p} }

// enforce establishes the caller, who stays anonymous on a public route.
func (s *Server) enforce(g guard) gin.HandlerFunc {
	return func(c *gin.Context) {
		in := inboundOf(c.Request.Context())
		in.route = c.FullPath()
		if err := s.timely(in.route); err != nil {
			s.fail(c.Writer, c.Request, err)
			c.Abort()
			return
		}
		if g == public || g == ownJudge || g.kind == "page" { // whose failures are pages
			return
		}
		caller, err := s.authenticate(c.Writer.Header(), c.Request, g.required(c)...)
		if err == nil || caller.Kind == ident.APIKey && errors.Is(err, fault.InsufficientPermissions) {
			in.caller = caller
			err = s.authorize(c, g, caller)
		}
		if err != nil {
			s.fail(c.Writer, c.Request, err)
			c.Abort()
		}
	}
}

// timely fails while our clock cannot be believed, but for what is the same at any
// time.
func (s *Server) timely(route string) error {
	switch {
	case s.Clock == nil, strings.HasPrefix(route, "/assets/"), strings.HasPrefix(route, "/docs"), route == "/openapi.json",
		route == "/.well-known/jwks.json", route == "/.well-known/openid-configuration", route == "/.well-known/oauth-authorization-server":
		return nil
	}
	return s.Clock()
}

// required is what an API key must permit before its limits are looked at: what
// the route takes, or what a reverse proxy asks for.
func (g guard) required(c *gin.Context) []scope.Permission {
	switch {
	case g.kind == "permission":
		return []scope.Permission{g.permission}
	case !strings.HasPrefix(c.FullPath(), "/api/v1/auth/verify"):
		return nil
	}
	names := c.QueryArray("permission")
	if in := c.Param("permissions"); in != "" {
		names = strings.Split(in, ",")
	}
	var out []scope.Permission
	for _, name := range names[:min(len(names), maxRequired)] {
		if p, err := scope.ParsePermission(name); err == nil { // the handler refuses the others
			out = append(out, p)
		}
	}
	return out
}

func (s *Server) authorize(c *gin.Context, g guard, caller ident.Caller) error {
	switch {
	case g.kind == "person" && caller.Kind != ident.Person:
		return fault.New(fault.InsufficientPermissions, "This needs the access token of a session; an API key has none.")
	case g.kind == "person" && !oauth.FirstParty(caller.Client):
		return fault.New(fault.InsufficientPermissions, "This is for the user alone, and for no client that acts for them.")
	case g.kind != "permission" || caller.May(g.permission):
		return nil
	}
	s.denied(c.Request.Context(), caller, g.permission)
	return fault.Lacking(string(g.permission))
}

// denied records that a known caller may not. The answer is a refusal whether
// the record succeeds or not.
func (s *Server) denied(ctx context.Context, caller ident.Caller, lacking ...scope.Permission) {
	in := inboundOf(ctx)
	e := audit.By(caller, in.at, audit.PermissionDenied)
	e.Outcome, e.Reason = audit.Denied, "insufficient_permissions"
	e.Meta = map[string]string{"required": scope.Of(lacking...).String(), "route": in.route}
	if err := s.Services.Recorder.RecordAll(ctx, e); err != nil {
		s.Log.ErrorContext(ctx, "a refusal could not be recorded", "request_id", in.id, "err", err)
	}
}

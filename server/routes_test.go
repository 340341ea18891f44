package server

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/scope"
)

// operation is what the description says of one route.
type operation struct {
	Security    *[]map[string][]string     `json:"security"`
	Permission  scope.Permission           `json:"x-permission"`
	OperationID string                     `json:"operationId"`
	Body        json.RawMessage            `json:"requestBody"`
	Responses   map[string]json.RawMessage `json:"responses"`
}

// takes reports whether the operation takes that kind of credential; "" is none at all.
func (o operation) takes(scheme string) bool {
	return slices.ContainsFunc(*o.Security, func(s map[string][]string) bool {
		_, ok := s[scheme]
		return ok || scheme == "" && len(s) == 0
	}) || scheme == "" && len(*o.Security) == 0
}

func described(t *testing.T) map[string]operation {
	t.Helper()
	var doc struct {
		Paths map[string]map[string]operation `json:"paths"`
	}
	if err := json.Unmarshal(description, &doc); err != nil {
		t.Fatal(err)
	}
	out := map[string]operation{}
	for path, methods := range doc.Paths {
		for method, op := range methods {
			out[strings.ToUpper(method)+" "+path] = op
		}
	}
	return out
}

// braced writes a path of ours as OpenAPI does.
func braced(path string) string {
	parts := strings.Split(path, "/")
	for i, p := range parts {
		if name, ok := strings.CutPrefix(p, ":"); ok {
			parts[i] = "{" + name + "}"
		}
	}
	return strings.Join(parts, "/")
}

// SEC-KEY-06: every route names a permission that exists, or says that it takes
// none. There is no other way in.
func TestEveryRouteSaysWhoMayCallIt(t *testing.T) {
	ours := accounts.Permissions()
	seen := map[string]bool{}
	for _, r := range (&Server{}).routes() {
		id := r.method + " " + r.path
		if seen[id] {
			t.Errorf("%s: twice", id)
		}
		seen[id] = true
		switch r.guard {
		case public, ownJudge, self, person:
		default:
			if r.guard.kind != "permission" || !slices.Contains(ours, r.guard.permission) {
				t.Errorf("%s: guard %+v", id, r.guard)
			}
		}
	}
}

// TestPublicRoutes is the whole list of what strangers may call. Adding to it is
// a decision, and this is where it is seen.
func TestPublicRoutes(t *testing.T) {
	want := []string{
		"POST /auth/login", "POST /api/v1/auth/login", "POST /api/v1/auth/register", "POST /api/v1/auth/refresh", "POST /api/v1/leaked-keys",
		"GET /assets/style.css", "HEAD /assets/style.css", "GET /assets/proof.js", "HEAD /assets/proof.js", "GET /assets/work.js", "HEAD /assets/work.js", "GET /assets/submit.js", "HEAD /assets/submit.js", "GET /assets/console/:name", "HEAD /assets/console/:name",
		"GET /.well-known/jwks.json", "HEAD /.well-known/jwks.json", "GET /.well-known/revocations", "HEAD /.well-known/revocations",
		"GET /oauth2/status-lists", "HEAD /oauth2/status-lists", "GET /oauth2/status-lists/:id", "HEAD /oauth2/status-lists/:id",
		"GET /.well-known/openid-configuration", "HEAD /.well-known/openid-configuration",
		"GET /.well-known/oauth-authorization-server", "HEAD /.well-known/oauth-authorization-server", "GET /openapi.json", "HEAD /openapi.json", "GET /docs", "HEAD /docs",
	}
	var got, judges []string
	for _, r := range (&Server{}).routes() {
		switch r.guard {
		case public:
			got = append(got, r.method+" "+r.path)
		case ownJudge:
			judges = append(judges, r.method+" "+r.path)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if !slices.Equal(judges, []string{
		"POST /api/v1/auth/logout", "GET /", "GET /oauth2/authorize", "POST /oauth2/authorize", "GET /login", "POST /login", "GET /login/unlock", "POST /login/unlock", "GET /login/again", "POST /login/again", "GET /invitation", "POST /invitation", "GET /consent", "POST /consent",
		"GET /oauth2/logout", "POST /oauth2/logout", "POST /oauth2/logout/confirm",
		"POST /oauth2/token", "POST /oauth2/introspect", "GET /oauth2/userinfo", "POST /oauth2/userinfo", "POST /oauth2/revoke",
		"POST /oauth2/register", "GET /oauth2/register/:client_id", "PUT /oauth2/register/:client_id", "DELETE /oauth2/register/:client_id",
	}) {
		t.Errorf("routes that judge for themselves: %q", judges)
	}
}

// O44: the description and the routes are the same list, with the same guards.
func TestTheDescriptionIsThatOfTheRoutes(t *testing.T) {
	doc := described(t)
	ids := map[string]string{}
	for _, r := range (&Server{}).routes() {
		name := r.method + " " + braced(r.path)
		op, ok := doc[name]
		if !ok {
			t.Errorf("%s is not described", name)
			continue
		}
		delete(doc, name)
		if op.Security == nil || op.OperationID == "" {
			t.Errorf("%s: no security or no operationId", name)
			continue
		}
		if other := ids[op.OperationID]; other != "" {
			t.Errorf("%s and %s are both %s", name, other, op.OperationID)
		}
		ids[op.OperationID] = name
		anybody := r.guard == public || r.guard == ownJudge
		if op.takes("") != anybody {
			t.Errorf("%s: guard %q, security %v", name, r.guard.kind, *op.Security)
		}
		if key := r.guard.kind == "permission" || r.guard == self; op.takes("apiKey") != key {
			t.Errorf("%s: guard %q and API keys", name, r.guard.kind)
		}
		if op.Permission != r.guard.permission {
			t.Errorf("%s: described with %q, takes %q", name, op.Permission, r.guard.permission)
		}
	}
	for name := range doc {
		t.Errorf("%s is described and does not exist", name)
	}
}

func TestTheDescriptionListsEveryCode(t *testing.T) {
	var doc struct {
		Components struct {
			Schemas struct {
				Problem struct {
					Properties struct {
						Code struct {
							Enum []string `json:"enum"`
						} `json:"code"`
					} `json:"properties"`
				}
			} `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(description, &doc); err != nil {
		t.Fatal(err)
	}
	listed := doc.Components.Schemas.Problem.Properties.Code.Enum
	for c, row := range wires {
		if !slices.Contains(listed, row.code) {
			t.Errorf("%s: %s is not described", c, row.code)
		}
	}
}

func TestTemplatesAreWrittenOnce(t *testing.T) {
	got := RouteTemplates()
	if !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) || !slices.Contains(got, "/api/v1/api-keys/:id") {
		t.Errorf("%q", got)
	}
}

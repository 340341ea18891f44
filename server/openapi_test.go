package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"
)

// The published description, made strict: an object has no member that is not
// described. Every reply that the tests of this package see is held against it.
var strict = sync.OnceValues(func() (routers.Router, error) {
	text, err := os.ReadFile("openapi.json")
	if err != nil {
		return nil, err
	}
	var raw map[string]any
	if err := json.Unmarshal(text, &raw); err != nil {
		return nil, err
	}
	shut(raw["components"])
	delete(raw, "servers")
	if text, err = json.Marshal(raw); err != nil {
		return nil, err
	}
	doc, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		return nil, err
	}
	openapi3filter.RegisterBodyDecoder("application/revocations+jwt", plainText)
	openapi3filter.RegisterBodyDecoder("application/statuslist+jwt", plainText)
	for _, kind := range []string{"text/html", "text/css", "text/javascript", "application/x-ndjson"} {
		openapi3filter.RegisterBodyDecoder(kind, plainText)
	}
	return legacy.NewRouter(doc)
})

// shut adds additionalProperties: false to every object that lists its members.
func shut(v any) {
	switch v := v.(type) {
	case map[string]any:
		_, listed := v["properties"]
		if _, said := v["additionalProperties"]; listed && !said {
			v["additionalProperties"] = false
		}
		for _, x := range v {
			shut(x)
		}
	case []any:
		for _, x := range v {
			shut(x)
		}
	}
}

func plainText(body io.Reader, _ http.Header, _ *openapi3.SchemaRef, _ openapi3filter.EncodingFn) (any, error) {
	b, err := io.ReadAll(body)
	return string(b), err
}

// conforms holds an exchange against the description: the status is described,
// the reply has the described form, and so had the request if it was accepted.
func conforms(t testing.TB, req *http.Request, sent []byte, a answer) {
	t.Helper()
	router, err := strict()
	if err != nil {
		t.Fatal(err)
	}
	route, params, err := router.FindRoute(req)
	if err != nil {
		return // not a route of ours: mounted, or refused as no route at all
	}
	if !fresh(req, sent, a) {
		return
	}
	in := &openapi3filter.RequestValidationInput{
		Request: req, PathParams: params, Route: route,
		Options: &openapi3filter.Options{IncludeResponseStatus: true, AuthenticationFunc: openapi3filter.NoopAuthenticationFunc},
	}
	if a.status < 300 {
		req.Body = io.NopCloser(bytes.NewReader(sent))
		if err := openapi3filter.ValidateRequest(context.Background(), in); err != nil {
			t.Errorf("%s %s was accepted: %v", req.Method, req.URL.Path, err)
		}
	}
	out := &openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: a.status, Header: a.header, Options: in.Options}
	out.SetBodyBytes(a.body)
	if err := openapi3filter.ValidateResponse(context.Background(), out); err != nil {
		t.Errorf("%s %s: %v\n%s", req.Method, req.URL.Path, err, a.body)
	}
}

// judged holds the exchanges that were looked at, because validation is slow
// and crawls see the same refusal a thousand times.
var judged sync.Map

func fresh(req *http.Request, sent []byte, a answer) bool {
	text := strings.ReplaceAll(string(a.body), a.text("request_id"), "")
	_, seen := judged.LoadOrStore(strings.Join([]string{req.Method, req.URL.Path, strconv.Itoa(a.status), text, string(sent)}, "\x00"), true)
	return !seen
}

func TestTheDescriptionIsValidOpenAPI(t *testing.T) {
	doc, err := openapi3.NewLoader().LoadFromFile("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(context.Background()); err != nil {
		t.Error(err)
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Errorf("version %s", doc.OpenAPI)
	}
}

// call is one operation of the description.
type call struct {
	method, path, template string
	secured                bool
	optional               bool // it answers without a credential too, by its own rules
	permission             string
	tags                   []string
}

// page reports whether people look at what it answers.
func (c call) page() bool {
	return slices.Contains(c.tags, "pages") && !strings.HasPrefix(c.path, "/assets/")
}

// calls lists every operation, with well-formed identifiers that name nothing.
func calls(t testing.TB) []call {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromFile("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	none := strings.Repeat("0", 26)
	var out []call
	for _, path := range doc.Paths.InMatchingOrder() {
		for method, op := range doc.Paths.Value(path).Operations() {
			c := call{method: method, template: path, tags: op.Tags, path: strings.NewReplacer(
				"/api-keys/{id}", "/api-keys/key_"+none, "/users/{id}", "/users/user_"+none, "/service-accounts/{id}", "/service-accounts/svc_"+none, "/sessions/{id}", "/sessions/sess_"+none,
				"/auth/verify/{permissions}", "/auth/verify/agents:read", "/status-lists/{id}", "/status-lists/no-such-list", "/signing-keys/{id}", "/signing-keys/no-such-key", "/organizations/{id}", "/organizations/org_"+none, "/clients/{id}", "/clients/cli_"+none, "/webhooks/{id}", "/webhooks/hook_"+none, "/invitations/{id}", "/invitations/inv_"+none, "{client_id}", "cli_"+none, "{request_id}", "req_"+none, "{user_id}", "user_"+none, "{name}", "no-such-role",
			).Replace(path)}
			if strings.Contains(c.path, "{") {
				t.Fatalf("no value for the parameters of %s", path)
			}
			c.permission, _ = op.Extensions["x-permission"].(string)
			for _, s := range *op.Security {
				c.secured = true
				c.optional = c.optional || len(s) == 0
			}
			out = append(out, c)
		}
	}
	return out
}

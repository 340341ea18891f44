package server

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"slices"
	"strings"
	"sync"
)

//go:embed docs.html
var docsTemplate string

//go:embed docs.css
var docsStyle string

// manual is what the page of /docs shows of the description.
type manual struct {
	Title, About, Issuer string
	Style                template.CSS
	Groups               []manualGroup
	Codes                []string
}

type manualGroup struct {
	Name       string
	Operations []manualOperation
}

type manualOperation struct {
	Method, Path, Summary, About string
	Takes                        string // whom it answers
	Parameters                   []manualField
	Body                         []manualField
	Optional                     bool // the body may be left out
	Statuses                     []string
}

type manualField struct {
	Name, Where, About string
	Required           bool
}

// api is the part of the description that the page shows.
type api struct {
	Info struct {
		Title       string `json:"title"`
		Description string `json:"description"`
	} `json:"info"`
	Tags []struct {
		Name string `json:"name"`
	} `json:"tags"`
	Paths      map[string]map[string]apiOperation `json:"paths"`
	Components struct {
		Schemas map[string]apiSchema `json:"schemas"`
	} `json:"components"`
}

type apiOperation struct {
	Summary     string                `json:"summary"`
	Description string                `json:"description"`
	Tags        []string              `json:"tags"`
	Permission  string                `json:"x-permission"`
	Security    []map[string][]string `json:"security"`
	Parameters  []struct {
		Name        string `json:"name"`
		In          string `json:"in"`
		Description string `json:"description"`
		Required    bool   `json:"required"`
	} `json:"parameters"`
	Body struct {
		Required bool                                  `json:"required"`
		Content  map[string]struct{ Schema apiSchema } `json:"content"`
	} `json:"requestBody"`
	Responses map[string]json.RawMessage `json:"responses"`
}

type apiSchema struct {
	Ref         string               `json:"$ref"`
	Description string               `json:"description"`
	Required    []string             `json:"required"`
	Properties  map[string]apiSchema `json:"properties"`
	Enum        []any                `json:"enum"`
}

// ourAPI is the description, read once.
var ourAPI = sync.OnceValues(func() (a api, err error) {
	if err := json.Unmarshal(description, &a); err != nil {
		return a, fmt.Errorf("openapi.json: %w", err)
	}
	return a, nil
})

// docsPage is the page, parsed once.
var docsPage = sync.OnceValues(func() (*template.Template, error) { return template.New("docs").Parse(docsTemplate) })

// docs renders the description as one page of plain HTML, and says which
// content security policy it needs: its own stylesheet by digest, and nothing else.
func docs(issuer string) (page []byte, policy string, err error) {
	a, err := ourAPI()
	if err != nil {
		return nil, "", err
	}
	t, err := docsPage()
	if err != nil {
		return nil, "", err
	}
	var out bytes.Buffer
	if err := t.Execute(&out, a.manual(issuer)); err != nil {
		return nil, "", err
	}
	digest := sha256.Sum256([]byte(docsStyle))
	policy = "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(digest[:]) + "'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
	return out.Bytes(), policy, nil
}

func (a api) manual(issuer string) manual {
	m := manual{Title: a.Info.Title, About: a.Info.Description, Issuer: issuer, Style: template.CSS(docsStyle)} //nolint:gosec // embedded, not from a request
	for _, tag := range a.Tags {
		g := manualGroup{Name: tag.Name}
		for _, path := range slices.Sorted(maps.Keys(a.Paths)) {
			for _, method := range slices.Sorted(maps.Keys(a.Paths[path])) {
				if op := a.Paths[path][method]; method != "head" && slices.Contains(op.Tags, tag.Name) {
					g.Operations = append(g.Operations, a.operation(method, path, op))
				}
			}
		}
		m.Groups = append(m.Groups, g)
	}
	for _, c := range a.Components.Schemas["Problem"].Properties["code"].Enum {
		m.Codes = append(m.Codes, fmt.Sprint(c))
	}
	return m
}

func (a api) operation(method, path string, op apiOperation) manualOperation {
	out := manualOperation{
		Method: strings.ToUpper(method), Path: path, Summary: op.Summary, About: op.Description, Takes: op.takes(),
		Optional: !op.Body.Required, Statuses: slices.Sorted(maps.Keys(op.Responses)),
	}
	for _, p := range op.Parameters {
		out.Parameters = append(out.Parameters, manualField{p.Name, p.In, p.Description, p.Required})
	}
	for _, content := range op.Body.Content {
		schema := a.Components.Schemas[strings.TrimPrefix(content.Schema.Ref, "#/components/schemas/")]
		for _, name := range slices.Sorted(maps.Keys(schema.Properties)) {
			out.Body = append(out.Body, manualField{name, "body", schema.Properties[name].Description, slices.Contains(schema.Required, name)})
		}
	}
	return out
}

// takes says in words whom the operation answers.
func (o apiOperation) takes() string {
	if len(o.Security) == 0 {
		return "anybody"
	}
	words := map[string]string{"accessToken": "an access token", "apiKey": "an API key", "accessCookie": "the access cookie", "refreshCookie": "the refresh cookie"}
	var kinds []string
	for _, s := range o.Security {
		for name := range s {
			kinds = append(kinds, words[name])
		}
	}
	out := strings.Join(kinds, ", ")
	if o.Permission != "" {
		out += "; needs " + o.Permission
	}
	return out
}

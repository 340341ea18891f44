package pages

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"net/url"
	"slices"
	"strings"
)

//go:embed templates
var templates embed.FS

//go:embed assets/style.css
var stylesheet []byte

//go:embed assets/submit.js
var submitScript []byte

//go:embed assets/proof.js
var proofScript []byte

//go:embed assets/work.js
var workScript []byte

var parsed = template.Must(template.ParseFS(templates, "templates/*.html"))

// Asset is a file that pages load.
type Asset struct {
	Path string // "/assets/style.css"
	Kind string // media type
	Body []byte
}

// Assets lists every file that pages load; they load nothing else.
func Assets() []Asset {
	return []Asset{
		{"/assets/style.css", "text/css; charset=utf-8", stylesheet},
		{"/assets/submit.js", "text/javascript; charset=utf-8", submitScript},
		{"/assets/proof.js", "text/javascript; charset=utf-8", proofScript},
		{"/assets/work.js", "text/javascript; charset=utf-8", workScript},
	}
}

// View is a page: a template and what goes into it.
type View struct {
	Status int
	name   string // of the template
	data   any
	sends  []string // sources that its forms may lead to besides ourselves, for the policy
	frames []string // sources that it frames
	script bool
	proof  *Proof // that the page asks for
	only   bool   // its form goes to sends alone
}

// Render returns the page as HTML.
func (v View) Render() ([]byte, error) {
	var page bytes.Buffer
	if err := parsed.ExecuteTemplate(&page, v.name, v.data); err != nil {
		return nil, fmt.Errorf("render %s: %w", v.name, err)
	}
	return page.Bytes(), nil
}

// Policy is the Content-Security-Policy of the page: it loads our stylesheet,
// sends forms to us and to where the view says, and nothing else. Nothing
// inline is allowed, and nobody may frame it.
func (v View) Policy() string {
	to := "'self'"
	if v.only {
		to = ""
	}
	for _, s := range v.sends {
		to = strings.TrimSpace(to + " " + s)
	}
	more := ""
	if v.script {
		more = "script-src 'self'; "
	}
	if len(v.frames) > 0 {
		more += "frame-src " + strings.Join(v.frames, " ") + "; "
	}
	if v.proof != nil {
		return "default-src 'none'; " + v.proof.policy() + "form-action " + to + "; frame-ancestors 'none'; base-uri 'none'"
	}
	return "default-src 'none'; style-src 'self'; " + more + "form-action " + to + "; frame-ancestors 'none'; base-uri 'none'"
}

// sources are the origins of addresses as a policy lists them. Browsers hold
// form-action against the redirects that follow a form as well, so a page whose
// form ends at a client must allow the client's.
func sources(addresses ...string) []string {
	var out []string
	for _, a := range addresses {
		if s := source(a); s != "" && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// source is empty for what is no address. What a policy cannot say more
// narrowly, an IPv6 address or the address of an app, is allowed by its scheme.
func source(address string) string {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Scheme == "":
		return ""
	case u.Host == "" || strings.HasPrefix(u.Host, "[") || u.Scheme != "https" && u.Scheme != "http":
		return u.Scheme + ":"
	case strings.ContainsAny(u.Host, " ;,'\"*"):
		return ""
	default:
		return u.Scheme + "://" + u.Host
	}
}

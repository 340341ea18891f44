package pages

import (
	"net/http"
	"net/url"
	"strings"
)

// Consent asks whether an application may have what it asks for.
type Consent struct {
	Form
	Guest   Guest
	User    string // who is signed in
	Org     string // in which organisation
	Host    string // where the answer goes, as far as people read it
	Links   Links
	Grants  []Grant
	Unknown bool // the application registered itself and nobody vouched for it
}

// Links are what an application says about itself. Only links that lead to a
// web page are shown.
type Links struct{ Home, Policy, Terms string }

// Grant is one thing that is asked for, in words.
type Grant struct {
	Scope string // as the protocol has it
	Text  string
	New   bool // not allowed before
}

// View shows the page.
func (c Consent) View() View {
	c.Links = Links{webPage(c.Links.Home), webPage(c.Links.Policy), webPage(c.Links.Terms)}
	return View{Status: http.StatusOK, name: "consent.html", data: c, sends: sources(c.Guest.Redirects...)}
}

// webPage returns the address if it is one of a web page, else nothing: what an
// application says about itself is not to run anything (SEC-WEB-13).
func webPage(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return ""
	}
	return address
}

// Host says where an address leads, in a form that people can judge: the host,
// or for an app's own scheme the scheme.
func Host(address string) string {
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return ""
	case u.Host == "":
		return "the app " + u.Scheme
	case u.Hostname() == "localhost" || strings.HasPrefix(u.Hostname(), "127.") || u.Hostname() == "::1":
		return "this computer (" + u.Host + ")"
	default:
		return u.Host
	}
}

// inWords says the scopes of OpenID Connect in plain words (Core 1.0 §5.4, §11).
var inWords = map[string]string{
	"openid":         "Know who you are",
	"profile":        "See your name",
	"email":          "See your e-mail address",
	"offline_access": "Keep this access while you are away",
}

// actions say the permissions, which are a thing and what is done to it.
var actions = map[string]string{
	"read": "See", "create": "Create", "update": "Change", "delete": "Delete", "manage": "Manage", "execute": "Run", "rotate": "Replace",
	"revoke": "Revoke", "acknowledge": "Acknowledge", "disable": "Disable", "*": "Do everything with",
}

// InWords says what a scope allows. A permission that has no word of its own is
// said as it is.
func InWords(scope string) string {
	if text, ok := inWords[scope]; ok {
		return text
	}
	thing, action, ok := strings.Cut(scope, ":")
	word, known := actions[action]
	switch {
	case !ok || !known:
		return scope
	case thing == "*" && action == "*":
		return "Do everything that you may do"
	case thing == "*":
		return word + " everything that you may"
	default:
		return word + " " + strings.NewReplacer("-", " ", "_", " ", "api", "API").Replace(thing)
	}
}

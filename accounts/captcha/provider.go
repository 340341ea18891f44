// Package captcha asks the providers of puzzles for people whether an answer is
// right. Of the three it knows each works alike: a script of the provider shows
// the puzzle in a form and adds what was answered to it as one more field, and
// the provider tells us, who show the answer with a secret, what it is worth.
package captcha

import (
	"net/url"
	"slices"
)

// Provider is whose puzzles are asked.
type Provider struct {
	Kind   string // "turnstile"
	Verify string // address that judges an answer
	Script string // address of what shows the puzzle
	Class  string // of the element in which it is shown
	Field  string // of the form, which the script adds

	// What a page that shows the puzzle must let it load, as sources of a
	// Content-Security-Policy (CSP Level 3 §2.3).
	Scripts, Frames, Styles, Connections []string
}

// hCaptcha's own list, for everything it loads.
var hcaptchaSources = []string{"https://hcaptcha.com", "https://*.hcaptcha.com"}

var providers = []Provider{
	{
		Kind: "hcaptcha", Verify: "https://api.hcaptcha.com/siteverify", Script: "https://js.hcaptcha.com/1/api.js",
		Class: "h-captcha", Field: "h-captcha-response",
		Scripts: hcaptchaSources, Frames: hcaptchaSources, Styles: hcaptchaSources, Connections: hcaptchaSources,
	},
	{
		Kind: "turnstile", Verify: "https://challenges.cloudflare.com/turnstile/v0/siteverify", Script: "https://challenges.cloudflare.com/turnstile/v0/api.js",
		Class: "cf-turnstile", Field: "cf-turnstile-response",
		Scripts: []string{"https://challenges.cloudflare.com"}, Frames: []string{"https://challenges.cloudflare.com"},
	},
	{
		Kind: "recaptcha", Verify: "https://www.google.com/recaptcha/api/siteverify", Script: "https://www.google.com/recaptcha/api.js",
		Class: "g-recaptcha", Field: "g-recaptcha-response",
		Scripts: []string{"https://www.google.com/recaptcha/", "https://www.gstatic.com/recaptcha/"},
		Frames:  []string{"https://www.google.com/recaptcha/", "https://recaptcha.google.com/recaptcha/"},
	},
}

// Kinds lists the providers.
func Kinds() []string {
	out := make([]string, len(providers))
	for i, p := range providers {
		out[i] = p.Kind
	}
	return out
}

// ProviderOf returns the provider of a kind, and whether there is one.
func ProviderOf(kind string) (Provider, bool) {
	i := slices.IndexFunc(providers, func(p Provider) bool { return p.Kind == kind })
	if i < 0 {
		return Provider{}, false
	}
	return providers[i], true
}

// At is the provider where an operator has it at other addresses. Empty ones
// stay as they are. A script from elsewhere may load from there and nowhere else.
func (p Provider) At(verify, script string) Provider {
	if verify != "" {
		p.Verify = verify
	}
	if u, err := url.Parse(script); script != "" && err == nil {
		from := []string{u.Scheme + "://" + u.Host}
		p.Script = script
		p.Scripts, p.Frames, p.Styles, p.Connections = from, from, from, from
	}
	return p
}

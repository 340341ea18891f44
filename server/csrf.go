package server

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/tokenhouse/tokenhouse/internal/fault"
)

// origins are the web origins that may use a browser's cookies with us: our
// own, and those the operator listed.
type origins struct {
	own    string   // of the issuer
	listed []string // exact; a scheme such as chrome-extension:// is allowed
	https  bool
	check  *http.CrossOriginProtection
}

func originsOf(issuer *url.URL, listed []string) (origins, error) {
	o := origins{own: issuer.Scheme + "://" + issuer.Host, listed: listed, https: issuer.Scheme == "https", check: http.NewCrossOriginProtection()}
	for _, t := range append([]string{o.own}, listed...) {
		if err := o.check.AddTrustedOrigin(t); err != nil {
			return origins{}, err
		}
	}
	return o, nil
}

// forOtherSites are the paths to which other sites send forms by design. What
// answers there changes nothing by itself.
var forOtherSites = []string{authorizePath, logoutPath}

// ownPages are for people to look at. A page of a listed origin may use the API
// for whoever is signed in, but neither read our pages nor answer them: there it
// is people who say what they allow.
var ownPages = []string{authorizePath, loginPage, unlockPage, againPage, consentPage, logoutPath, confirmPath}

// isOwnPage reports whether a path is one of our pages; those of the console are.
func isOwnPage(path string) bool {
	for _, root := range []string{"/console", "/settings"} {
		if path == root || strings.HasPrefix(path, root+"/") {
			return true
		}
	}
	return slices.Contains(ownPages, path)
}

// lists reports whether a page of that origin may read our answers.
func (o origins) lists(origin string) bool { return slices.Contains(o.listed, origin) }

// refuseForgery refuses a change that another site asks a browser for. It looks
// at requests that carry no token and no key in a header, because a browser
// sends only cookies (and Basic credentials) on its own; a login is among them, so that nobody can be
// logged in to a stranger's account either. A request that names neither its
// origin nor its site comes from no browser of the last years, and a page could
// not have made it send our cookies (SameSite=Lax).
func (o origins) refuseForgery(r *http.Request) error {
	scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "Bearer") || r.Header.Get("X-Api-Key") != "" || isCookieless(r.URL.Path) {
		return nil
	}
	return o.judge(r)
}

func (o origins) judge(r *http.Request) error {
	if safe(r.Method) || slices.Contains(forOtherSites, r.URL.Path) {
		return nil
	}
	if err := o.check.Check(r); err != nil {
		return fault.Wrap(err, fault.CrossOrigin, "")
	}
	// Check compares hosts only where Sec-Fetch-Site is missing, so a cleartext
	// page of our own host would pass.
	from := r.Header.Get("Origin")
	if from == "" {
		return o.judgeReferer(r)
	}
	if from != o.own && o.lists(from) && isOwnPage(r.URL.Path) {
		return fault.CrossOrigin
	}
	if r.Header.Get("Sec-Fetch-Site") == "" && o.https && from != o.own && !o.lists(from) {
		return fault.CrossOrigin
	}
	return nil
}

// judgeReferer is for browsers that send neither Origin nor Sec-Fetch-Site.
func (o origins) judgeReferer(r *http.Request) error {
	referer := r.Header.Get("Referer")
	if referer == "" || r.Header.Get("Sec-Fetch-Site") != "" {
		return nil
	}
	u, err := url.Parse(referer)
	if err != nil {
		return fault.CrossOrigin
	}
	if from := u.Scheme + "://" + u.Host; from != o.own && !o.lists(from) && (o.https || u.Host != r.Host) {
		return fault.CrossOrigin
	}
	return nil
}

// safe is RFC 9110 §9.2.1, as far as we answer such methods.
func safe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

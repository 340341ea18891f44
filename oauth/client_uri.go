package oauth

import (
	"net/netip"
	"net/url"
	"strings"
)

// maxURI is the longest address that is registered, in bytes.
const maxURI = 2000

// What is wrong with an address that is refused.
const (
	uriForm     = "must be an absolute address of at most 2000 printable ASCII characters, without a blank or any of \\ * \" < > ^ ` { | }"
	uriFragment = "must not have a fragment (RFC 6749 §3.1.2)"
	uriUserinfo = "must not name a user"
	uriDots     = "must not have . or .. as part of its path"
	uriScheme   = "must begin with https://, with http:// and localhost, 127.0.0.1 or [::1], or with a scheme of one's own that has a dot, as in com.example.app:/callback (RFC 8252 §7.1)"
	uriWeb      = "must begin with https://, or with http:// and localhost, 127.0.0.1 or [::1]"
	uriHTTPS    = "must begin with https://"
	uriApp      = "must begin with https:// or http:// for a web application; another scheme is for application_type native (OpenID Connect Registration 1.0 §2)"
	uriHash     = "must have after its # nothing but the SHA-256 of what is there, in base64url (OpenID Connect Core 1.0 §6.2)"
	uriResource = "must be an absolute URI of at most 2000 printable ASCII characters, without a fragment (RFC 8707 §2)"
	uriHost     = "must name a host, in lower case, and a port that exists"
)

// redirectTrouble says what is wrong with an address that people are sent back
// to; empty where nothing is. What passes means the same to every reader: it is
// later compared character by character (RFC 9700 §2.1 and §4.1).
func redirectTrouble(s string) string {
	u, trouble := address(s)
	switch {
	case trouble != "":
		return trouble
	case u.Scheme == "https" || u.Scheme == "http":
		return webTrouble(s)
	case !strings.Contains(u.Scheme, "."):
		return uriScheme // javascript:, data: and file: among others
	case u.Opaque != "" || u.Host == "" && u.Path == "" || u.Host != "" && !hostOK(u):
		return uriScheme
	}
	return ""
}

// webTrouble is redirectTrouble for addresses of web servers only.
func webTrouble(s string) string {
	u, trouble := address(s)
	switch {
	case trouble != "":
		return trouble
	case u.Scheme != "https" && u.Scheme != "http":
		return uriWeb
	case !strings.HasPrefix(s, u.Scheme+"://") || !hostOK(u):
		return uriHost
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return uriWeb
	}
	return ""
}

// redirectTroubleOf is redirectTrouble for an address of this client, which may
// be for web pages or for applications only.
func redirectTroubleOf(r Registered, s string) string {
	if trouble := redirectTrouble(s); trouble != "" {
		return trouble
	}
	if r.Settings.ApplicationType == "web" && !web(s) {
		return uriApp
	}
	return ""
}

// web reports whether an address that passed redirectTrouble is a web server's.
func web(s string) bool { return strings.HasPrefix(s, "https://") || strings.HasPrefix(s, "http://") }

// webTrouble is webTrouble for an address that we or a browser fetch: clear
// HTTP is for development.
func (j clientRules) webTrouble(s string) string {
	trouble := webTrouble(s)
	if trouble == "" && !j.development && !strings.HasPrefix(s, "https://") || trouble == uriWeb && !j.development {
		return uriHTTPS
	}
	return trouble
}

// requestTrouble is webTrouble for a request_uri, whose fragment may be the
// hash of what is there.
func (j clientRules) requestTrouble(s string) string {
	s, hash, _ := strings.Cut(s, "#")
	if strings.ContainsFunc(hash, func(c rune) bool {
		return c != '-' && c != '_' && c != '=' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z')
	}) {
		return uriHash
	}
	return j.webTrouble(s)
}

// resourceTrouble says what is wrong with the name of a resource server, which
// is compared and never fetched.
func resourceTrouble(s string) string {
	u, trouble := address(s)
	if trouble != "" || !u.IsAbs() || u.Opaque == "" && u.Host == "" {
		return uriResource
	}
	return ""
}

// address parses what is safe to parse: everything that readers of addresses
// are known to disagree about is refused before.
func address(s string) (*url.URL, string) {
	if s == "" || len(s) > maxURI || strings.ContainsAny(s, "\\*\"<>^`{|}") ||
		strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return nil, uriForm
	}
	if strings.Contains(s, "#") {
		return nil, uriFragment
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme == "" || !strings.HasPrefix(s, u.Scheme+":") { // url.Parse lowers the scheme
		return nil, uriForm
	}
	if u.User != nil {
		return nil, uriUserinfo
	}
	for part := range strings.SplitSeq(u.Path, "/") { // as it is after decoding
		if name, _, _ := strings.Cut(part, ";"); name == "." || name == ".." {
			return nil, uriDots
		}
	}
	// Encoded separators would be dot segments to who decodes them twice.
	if low := strings.ToLower(u.EscapedPath()); strings.Contains(low, "%2f") || strings.Contains(low, "%5c") || strings.Contains(low, "%25") || strings.Contains(low, "%00") {
		return nil, uriDots
	}
	return u, ""
}

// hostOK accepts a name in lower case or an address without a zone.
func hostOK(u *url.URL) bool {
	host := u.Hostname()
	if host == "" || strings.HasPrefix(host, ".") || strings.Contains(host, "..") || strings.ContainsAny(host, "%,;_!$&'()+=~@") {
		return false
	}
	if strings.HasSuffix(u.Host, ":") || strings.HasPrefix(u.Port(), "0") || len(u.Port()) > 5 || len(u.Port()) == 5 && u.Port() > "65535" {
		return false
	}
	return host == strings.ToLower(host)
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback() && !a.Is4In6()
}

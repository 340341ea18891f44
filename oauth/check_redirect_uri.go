package oauth

import (
	"context"
	"slices"
	"strconv"
	"strings"
)

// checkRedirectURI proves the address outside of a request object, where there
// is one. From then on the client can be told what is wrong.
func checkRedirectURI(_ context.Context, q *authorizing) error {
	q.to.Mode = modeOf(q.params["response_mode"])
	uri := q.params["redirect_uri"]
	if uri == "" {
		return nil // an object may bring it
	}
	if !q.client.mayRedirectTo(uri) {
		return refusePage("invalid_redirect_uri", "The address to go back to is not registered for this application.")
	}
	q.to.RedirectURI = uri
	return nil
}

// checkFinalRedirectURI proves the address that counts.
func checkFinalRedirectURI(ctx context.Context, q *authorizing) error {
	q.to.RedirectURI = ""
	if err := checkRedirectURI(ctx, q); err != nil {
		return err
	}
	switch {
	case q.to.RedirectURI != "":
		q.wants.sentRedirect = true
	case asksOpenID(q.params):
		// OpenID Connect Core 1.0 §3.1.2.1: required, even if only one is registered.
		return refusePage("invalid_request", "The parameter redirect_uri is required.")
	case len(q.client.RedirectURIs) != 1:
		return refusePage("invalid_request", "The parameter redirect_uri is required.")
	default:
		q.to.RedirectURI = q.client.RedirectURIs[0] // RFC 6749 §3.1.2.3
	}
	return nil
}

// modeOf is how replies travel: by query where nothing we know is asked for.
func modeOf(asked string) ResponseMode {
	if m := ResponseMode(asked); m == ModeFragment || m == ModeFormPost {
		return m
	}
	return ModeQuery
}

// mayRedirectTo reports whether the address was registered, character by
// character (RFC 9700 §2.1); the port of a loopback address literal is not
// compared (RFC 8252 §7.3).
func (r Registered) mayRedirectTo(uri string) bool {
	if slices.Contains(r.RedirectURIs, uri) {
		return true
	}
	if redirectTrouble(uri) != "" {
		return false
	}
	bare, ok := withoutPort(uri)
	return ok && slices.ContainsFunc(r.RedirectURIs, func(known string) bool {
		k, ok := withoutPort(known)
		return ok && k == bare
	})
}

// loopbackLiterals begin the addresses whose port may differ. A name is none:
// what localhost resolves to is not ours to know (RFC 8252 §8.3).
var loopbackLiterals = []string{"http://127.0.0.1", "http://[::1]"}

// withoutPort is a loopback address without its port, and whether it is one.
func withoutPort(uri string) (string, bool) {
	for _, begin := range loopbackLiterals {
		rest, ok := strings.CutPrefix(uri, begin)
		if !ok {
			continue
		}
		if after, found := strings.CutPrefix(rest, ":"); found {
			end := strings.IndexAny(after, "/?")
			if end < 0 {
				end = len(after)
			}
			if n, err := strconv.ParseUint(after[:end], 10, 16); err != nil || n == 0 {
				return "", false
			}
			rest = after[end:]
		}
		if rest == "" || rest[0] == '/' || rest[0] == '?' {
			return begin + rest, true
		}
	}
	return "", false
}

package oauth

import (
	"context"
	"net/url"
	"slices"
	"strings"

	"github.com/tokenhouse/tokenhouse/tokens"
)

// maxFrames bounds how many clients one page tells of a logout.
const maxFrames = 50

// frames are the addresses that a page loads to tell the clients of sessions
// that ended (OpenID Connect Front-Channel Logout 1.0 §3): each once. The
// sessions have ended whatever comes of it, so a client that cannot be looked up
// now is left out.
func (l *Logouts) frames(ctx context.Context, ended []tokens.Family) []string {
	var out []string
	for _, f := range ended {
		r, err := l.Clients.Lookup(ctx, f.Client)
		if err != nil || r.Logout.FrontchannelURI == "" {
			continue
		}
		address := r.Logout.FrontchannelURI
		if r.Logout.FrontchannelSession {
			address = withQuery(address, Param{"iss", l.Issuer}, Param{"sid", string(f.ID)})
		}
		if !slices.Contains(out, address) && len(out) < maxFrames {
			out = append(out, address)
		}
	}
	return out
}

// withQuery adds parameters to an address; what it has stays as it is, to the
// character.
func withQuery(address string, params ...Param) string {
	var b strings.Builder
	b.WriteString(address)
	sep := "?"
	if strings.Contains(address, "?") {
		sep = "&"
	}
	for _, p := range params {
		b.WriteString(sep + p.Name + "=" + url.QueryEscape(p.Value))
		sep = "&"
	}
	return b.String()
}

package server

import (
	"net/http"
	"slices"

	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// RouteTemplates lists the path of every route of ours, as metrics name them;
// mounted routes come on top.
func RouteTemplates() []string {
	var out []string
	for _, r := range new(Server).routes() {
		out = append(out, r.path)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// OriginOf says where a request came from. It is for the handlers of a Mount.
func OriginOf(r *http.Request) ident.Origin { return inboundOf(r.Context()).origin }

// AccessCookie is the name of the cookie that carries an access token; it
// depends on whether the issuer is https.
func AccessCookie(https bool) string { return jarOf(https).access }

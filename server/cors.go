package server

import (
	"net/http"
	"slices"
	"strings"
)

// What a page of a listed origin may send and read.
const (
	corsMethods = "GET, HEAD, POST, PUT, PATCH, DELETE"
	corsHeaders = "Authorization, Content-Type, X-API-Key, Idempotency-Key"
	corsExposed = "Retry-After, WWW-Authenticate, X-Request-Id"
	corsMaxAge  = "600"
)

// cookieless are the endpoints that look at no cookie, whoever asks: a client
// in a browser proves who it is, or nothing, in the request itself. Pages of any
// origin may use them and read the answers, without cookies.
var cookieless = []string{"/oauth2/token", "/oauth2/revoke", "/oauth2/userinfo", registerPath}

func isCookieless(path string) bool {
	return slices.Contains(cookieless, path) || strings.HasPrefix(path, registerPath+"/")
}

// cors lets pages of the listed origins read our answers, with cookies (O30).
// The published documents may be read by anybody: their handlers say so.
func (s *Server) cors(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, from := w.Header(), r.Header.Get("Origin")
		h.Add("Vary", "Origin")
		open := from != "" && isCookieless(r.URL.Path)
		listed := open || from != "" && s.origins.lists(from) && !isOwnPage(r.URL.Path)
		switch {
		case open:
			h.Set("Access-Control-Allow-Origin", "*")
			h.Set("Access-Control-Expose-Headers", corsExposed)
		case listed:
			h.Set("Access-Control-Allow-Origin", from)
			h.Set("Access-Control-Allow-Credentials", "true")
			h.Set("Access-Control-Expose-Headers", corsExposed)
		}
		if r.Method != http.MethodOptions || from == "" || r.Header.Get("Access-Control-Request-Method") == "" {
			next.ServeHTTP(w, r)
			return
		}
		if listed {
			h.Set("Access-Control-Allow-Methods", corsMethods)
			h.Set("Access-Control-Allow-Headers", corsHeaders)
			h.Set("Access-Control-Max-Age", corsMaxAge)
		}
		w.WriteHeader(http.StatusNoContent)
	})
}

package server

import (
	"encoding/base64"
	"strings"

	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// The forms of our pages. A token for one is no good in another.
const (
	formLogin      = "login"
	formConsent    = "consent"
	formLogout     = "logout"
	formUnlock     = "unlock"
	formInvitation = "invitation"
	formAgain      = "again"
)

// formToken is what a form of ours carries so that no other site can send it
// (SEC-WEB-05, SEC-OAU-53): a MAC over the browser, the form and the session of
// the browser. Another browser's, or one from before a login, is worth nothing.
func (s *Server) formToken(v visitor, form string) string {
	id, key := s.Pages.Forms.Current()
	return base64.RawURLEncoding.EncodeToString(append([]byte{id}, formMAC(key, v, form)...))
}

// genuine reports whether the token was made for this visitor and form.
func (s *Server) genuine(v visitor, form, token string) bool {
	if strings.ContainsAny(token, "\r\n") { // which base64 would skip
		return false
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(raw) < 1 {
		return false
	}
	key, ok := s.Pages.Forms.ByID(raw[0])
	return ok && !v.fresh && secret.Equal(raw[1:], formMAC(key, v, form))
}

func formMAC(key []byte, v visitor, form string) []byte {
	return secret.MAC(key, v.browser, form, v.cookie)
}

package server

import (
	"mime"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/oauth"
)

// userInfoPath is the UserInfo endpoint.
const userInfoPath = "/oauth2/userinfo"

// userInfo is the answer about a user: a JSON object or a JWT.
type userInfo struct{ oauth.UserInfo }

func (u userInfo) encode() (kind string, body any) {
	if u.JWT != "" {
		return "application/jwt", u.JWT // OpenID Connect Core 1.0 §5.3.2
	}
	return "application/json", u.Claims
}

// serveUserInfo serves GET and POST /oauth2/userinfo (OpenID Connect Core 1.0
// §5.3.1). It is a resource: its failures are those of RFC 6750 §3.
func (s *Server) serveUserInfo(c *gin.Context) {
	var got oauth.UserInfo
	token, err := userInfoToken(c.Writer, c.Request)
	if err == nil {
		got, err = s.Services.Inspector.UserInfo(c.Request.Context(), token)
		if s.Observe.Credential != nil {
			s.Observe.Credential(kindToken, result(err))
		}
	}
	if err != nil {
		if f := fault.Of(err); wires[f.Code].status < http.StatusUnauthorized { // RFC 6750 §3: a refusal says how to ask
			c.Writer.Header().Set("WWW-Authenticate", `Bearer realm="tokenhouse", error="invalid_request"`)
		}
		s.fail(c.Writer, c.Request, err)
		return
	}
	s.answer(c, http.StatusOK, userInfo{got})
}

// userInfoToken finds the access token in the header or in a form (RFC 6750
// §2.1, §2.2), in one of the two. The query is not looked at (RFC 9700 §4.3.2).
func userInfoToken(w http.ResponseWriter, r *http.Request) (string, error) {
	auths, sent := r.Header.Values("Authorization"), ""
	if r.Method == http.MethodPost && isForm(r) {
		f, err := readForm(w, r)
		if err != nil {
			return "", err
		}
		sent = f.params["access_token"]
	}
	switch {
	case len(auths) > 1 || len(auths) == 1 && sent != "":
		return "", fault.New(fault.Malformed, "Send the access token once: in the Authorization header or in the form.")
	case len(auths) == 1:
		return bearer(auths[0])
	case sent == "":
		return "", fault.Unauthenticated
	default:
		return sent, nil
	}
}

// isForm reports whether the body says that it is a form. A request that has
// its token in the header may have any body, or none.
func isForm(r *http.Request) bool {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && kind == "application/x-www-form-urlencoded"
}

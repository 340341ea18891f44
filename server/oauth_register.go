package server

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/gin-gonic/gin"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/oauth"
)

// registerPath is the client registration endpoint (RFC 7591 §3). Below it is
// the configuration endpoint of each client (RFC 7592 §3).
const registerPath = "/oauth2/register"

// clientInformation is a client as it is told about itself (RFC 7591 §3.2.1,
// RFC 7592 §3). A secret is told once, when it is made.
type clientInformation struct {
	ID              ident.ClientID `json:"client_id"`
	Secret          string         `json:"client_secret,omitempty"`
	IssuedAt        int64          `json:"client_id_issued_at"`
	SecretExpiresAt *int64         `json:"client_secret_expires_at,omitempty"` // 0: never; only where there is a secret
	Token           string         `json:"registration_access_token"`
	URI             string         `json:"registration_client_uri"`
	oauth.ClientMetadata
}

func (s *Server) clientInformation(r oauth.Registered, value secret.Plain, token string) clientInformation {
	out := clientInformation{
		ID: r.ID, Secret: value.Reveal(), IssuedAt: r.CreatedAt.Unix(), Token: token,
		URI: s.Config.Issuer + registerPath + "/" + string(r.ID), ClientMetadata: oauth.ClientMetadataOf(r),
	}
	if r.AuthMethod.UsesSecret() {
		var expires int64
		if at := r.Settings.Dynamic.ExpiresAt; !at.IsZero() {
			expires = at.Unix()
		}
		out.SecretExpiresAt = &expires
	}
	return out
}

// registration is a request to register a client, or about a registered one.
type registration struct {
	caller ident.Caller // who registers; anonymous where no credential came
	client ident.ClientID
	token  string // the registration access token (RFC 7592 §2)
	body   []byte
}

// registrationFunc is one of the endpoints: no HTTP in it.
type registrationFunc[Resp any] func(context.Context, registration) (Resp, error)

// handleRegistration adapts such an endpoint. It looks at no cookie.
func handleRegistration[Resp any](s *Server, status int, fn registrationFunc[Resp]) gin.HandlerFunc {
	return func(c *gin.Context) {
		req, err := s.readRegistration(c)
		var resp Resp
		if err == nil {
			resp, err = fn(c.Request.Context(), req)
		}
		if err != nil {
			s.failRegistration(c.Writer, c.Request, err)
			return
		}
		s.answer(c, status, resp)
	}
}

func (s *Server) readRegistration(c *gin.Context) (req registration, err error) {
	r, in := c.Request, inboundOf(c.Request.Context())
	req.caller = in.caller
	if id := c.Param("client_id"); id != "" {
		req.client = ident.ClientID(id)
		auths := r.Header.Values("Authorization")
		if len(auths) != 1 {
			return req, fault.New(fault.Unauthenticated, "The registration access token is required.")
		}
		if req.token, err = bearer(auths[0]); err != nil {
			return req, err
		}
	} else if len(r.Header.Values("Authorization"))+len(r.Header.Values("X-Api-Key")) > 0 {
		if req.caller, err = s.authenticate(c.Writer.Header(), r); err != nil {
			return req, err
		}
		in.caller = req.caller
	}
	if req.client == "" { // whoever may not is not read to the end
		if err = s.Services.Registrations.MayRegister(req.caller); err != nil {
			return req, err
		}
	}
	if r.Method == http.MethodPost || r.Method == http.MethodPut {
		if req.body, err = readBody(c.Writer, r); err == nil && req.body == nil {
			err = fault.New(fault.InvalidClientMetadata, "A JSON body is required.")
		}
	}
	return req, err
}

// registerClient serves POST /oauth2/register (RFC 7591 §3.1).
func (s *Server) registerClient(ctx context.Context, req registration) (clientInformation, error) {
	m, err := oauth.ReadClientMetadata(req.body)
	if err != nil {
		return clientInformation{}, err
	}
	got, err := s.Services.Registrations.Register(ctx, req.caller, m)
	if err != nil {
		return clientInformation{}, err
	}
	return s.clientInformation(got.Client, got.Secret, got.Token.Reveal()), nil
}

// readRegistered serves GET /oauth2/register/:client_id (RFC 7592 §2.1).
func (s *Server) readRegistered(ctx context.Context, req registration) (clientInformation, error) {
	r, err := s.Services.Registrations.Read(ctx, req.client, req.token)
	if err != nil {
		return clientInformation{}, err
	}
	return s.clientInformation(r, secret.Plain{}, req.token), nil
}

// replaceRegistered serves PUT /oauth2/register/:client_id (RFC 7592 §2.2).
func (s *Server) replaceRegistered(ctx context.Context, req registration) (clientInformation, error) {
	m, err := oauth.ReadClientMetadata(req.body)
	if err != nil {
		return clientInformation{}, err
	}
	r, err := s.Services.Registrations.Replace(ctx, req.caller.Origin, req.client, req.token, m)
	if err != nil {
		return clientInformation{}, err
	}
	return s.clientInformation(r, secret.Plain{}, req.token), nil
}

// removeRegistered serves DELETE /oauth2/register/:client_id (RFC 7592 §2.3).
func (s *Server) removeRegistered(ctx context.Context, req registration) (none, error) {
	return none{}, s.Services.Registrations.Remove(ctx, req.caller.Origin, req.client, req.token)
}

// failRegistration is failOAuth where a bearer token is the credential (RFC
// 6750 §3.1) and metadata the body (RFC 7591 §3.2.2).
func (s *Server) failRegistration(w http.ResponseWriter, r *http.Request, err error) {
	f, in := fault.Of(err), inboundOf(r.Context())
	row, known := wires[f.Code]
	bearerTrouble := f.Code == fault.InsufficientPermissions || known && row.status == http.StatusUnauthorized
	if !bearerTrouble {
		s.failOAuth(w, r, err)
		return
	}
	body := oauthFailure{Error: row.oauth, Description: quotable(row.detail), RequestID: string(in.id)}
	if f.Detail != "" {
		body.Description = quotable(f.Detail)
	}
	challenge := `Bearer realm="tokenhouse"`
	if f.Code != fault.Unauthenticated { // RFC 6750 §3.1: without a credential, no error code
		challenge += `, error="` + row.oauth + `"`
	}
	text, _ := json.Marshal(body) // strings: cannot fail
	setAll(w.Header(), field{"WWW-Authenticate", challenge}, field{"Cache-Control", "no-store"}, field{"Content-Type", "application/json"}, field{"Content-Length", strconv.Itoa(len(text))})
	in.code = row.code
	w.WriteHeader(row.status)
	_, _ = w.Write(text) // the client may be gone
}

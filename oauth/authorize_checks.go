package oauth

import (
	"context"
	"errors"

	"github.com/tokenhouse/tokenhouse/internal/fault"
)

// check is one rule of the authorization endpoint. It fills in what it
// understood, and refuses with a refusal; any other error is trouble of ours.
type check struct {
	name string
	run  func(context.Context, *authorizing) error
}

// checks is every rule of the authorization endpoint, in order. Those up to
// the first redirect_uri are answered on a page of ours, since nobody yet knows
// whose address it is (RFC 9700 §4.11.2); the others tell the client. What no
// check reads is ignored (RFC 6749 §3.1): claims_locales, ui_locales and
// display among others.
var checks = []check{
	{"client_id", checkClient},
	{"redirect_uri", checkRedirectURI},
	{"registration", checkRegistration},
	{"request, request_uri", checkRequestObject},
	{"redirect_uri, as the request object has it", checkFinalRedirectURI},
	{"response_mode", checkResponseMode},
	{"response_type", checkResponseType},
	{"scope", checkScope},
	{"resource", checkResource},
	{"code_challenge, code_challenge_method", checkPKCE},
	{"nonce", checkNonce},
	{"prompt", checkPrompt},
	{"max_age", checkMaxAge},
	{"acr_values", checkACR},
	{"claims", checkClaims},
	{"id_token_hint", checkHint},
}

// refusal is an error of the authorization endpoint (RFC 6749 §4.1.2.1, OpenID
// Connect Core 1.0 §3.1.2.6).
type refusal struct {
	code        string
	description string
	page        bool // never for the client, whatever was proved
}

func (r refusal) Error() string { return r.code + ": " + r.description }

func refuse(code, description string) error { return refusal{code: code, description: description} }

// refusePage refuses on a page of ours.
func refusePage(reason, description string) error { return refusal{reason, description, true} }

// pageFault is err as a page of ours shows it.
func pageFault(err error) error {
	var r refusal
	if errors.As(err, &r) {
		return fault.New(fault.Malformed, r.description).Because(r.code)
	}
	return err
}

func checkRegistration(_ context.Context, q *authorizing) error {
	if q.params["registration"] != "" {
		return refuse("registration_not_supported", "Clients are registered beforehand.")
	}
	return nil
}

func checkResponseMode(_ context.Context, q *authorizing) error {
	if m := q.params["response_mode"]; m != "" && string(q.to.Mode) != m {
		return refuse("invalid_request", "The response_mode must be query, fragment or form_post.")
	}
	return nil
}

func checkResponseType(_ context.Context, q *authorizing) error {
	switch {
	case q.params["response_type"] == "":
		return refuse("invalid_request", "The parameter response_type is required.")
	case q.params["response_type"] != "code": // OAuth 2.1 §1.8: nothing else is left
		return refuse("unsupported_response_type", "The only response_type is code.")
	case !q.client.MayUse(GrantAuthorizationCode):
		return refuse("unauthorized_client", "The client is not registered for authorization_code.")
	}
	return nil
}

// maxNonce is the longest nonce that is kept, in bytes.
const maxNonce = 2048

func checkNonce(_ context.Context, q *authorizing) error {
	nonce := q.params["nonce"]
	if len(nonce) > maxNonce {
		return refuse("invalid_request", "The nonce is too long.")
	}
	q.wants.authorization.Nonce = nonce
	return nil
}

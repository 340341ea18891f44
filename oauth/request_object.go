package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Limits of a request object.
const (
	maxRequestObject = 16 << 10 // bytes
	// objectTTL is how old a request object may be, and how long it may live (RFC
	// 9101 §10.2: it is no standing permission).
	objectTTL = time.Hour
)

// RequestObjectAlgorithms lists what request objects may be signed with, as
// discovery documents show them. none is not among them.
func RequestObjectAlgorithms() []string {
	var out []string
	for _, a := range keyAlgorithms {
		out = append(out, string(a))
	}
	return out
}

// checkRequestObject makes the parameters of a request object those of the
// request (RFC 9101 §5, OpenID Connect Core 1.0 §6). What it says wins. In a
// request of OpenID Connect the others outside count too; by RFC 9101 §6.3
// they do not, but for client_id.
func checkRequestObject(ctx context.Context, q *authorizing) error {
	value, uri := q.params["request"], q.params["request_uri"]
	if value == "" && uri == "" || q.aside.Object {
		return nil
	}
	if value != "" && uri != "" {
		return refuse("invalid_request", "Of request and request_uri only one may be given.")
	}
	if uri != "" {
		fetched, err := q.fetchObject(ctx, uri)
		if err != nil {
			return err
		}
		value = fetched
	}
	inside, err := q.verifyObject(ctx, value, uri != "")
	if err != nil {
		return err
	}
	outside := Params{"client_id": q.params["client_id"]}
	if asksOpenID(q.params) {
		if inside["response_type"] != "" && inside["response_type"] != q.params["response_type"] { // OpenID Connect Core 1.0 §6.1
			return badObject("The response_type inside and outside of the request object differ.")
		}
		outside = maps.Clone(q.params)
	}
	delete(outside, "request")
	delete(outside, "request_uri")
	maps.Copy(outside, inside)
	q.params, q.aside.Object = outside, true
	return nil
}

// fetchObject gets a request object from where the client registered that it is.
func (q *authorizing) fetchObject(ctx context.Context, uri string) (string, error) {
	switch {
	case q.Objects == nil:
		return "", refuse("request_uri_not_supported", "Send the request object itself.")
	case !slices.Contains(q.client.Settings.RequestURIs, uri):
		return "", refuse("invalid_request_uri", "The request_uri is not registered for this client.")
	}
	bare, _, _ := strings.Cut(uri, "#") // which may hold a hash, for caches (OpenID Connect Core 1.0 §6.2)
	body, err := q.Objects.Fetch(ctx, bare)
	if err != nil { // their server's trouble, or an address that we do not ask
		return "", refuse("invalid_request_uri", "The request object could not be fetched.")
	}
	return strings.TrimSpace(string(body)), nil
}

func badObject(description string) error { return refuse("invalid_request_object", description) }

// verifyObject returns the parameters of a request object that the client
// signed, for us, and lately.
func (q *authorizing) verifyObject(ctx context.Context, compact string, fetched bool) (Params, error) {
	if len(compact) > maxRequestObject {
		return nil, badObject("The request object is too large.")
	}
	algorithms := keyAlgorithms
	if only := q.client.Settings.Signing.RequestObject; only != "" {
		algorithms = []jose.SignatureAlgorithm{jose.SignatureAlgorithm(only)}
		if !slices.Contains(keyAlgorithms, algorithms[0]) { // none, or a secret's
			return nil, badObject("The client is registered for an algorithm that we do not accept.")
		}
	}
	jws, err := jose.ParseSignedCompact(compact, algorithms)
	if err != nil || len(jws.Signatures) != 1 {
		return nil, badObject("The request object is not a JWT, or not signed with an algorithm of the client.")
	}
	if typ := jws.Signatures[0].Header.ExtraHeaders[jose.HeaderType]; typ != nil && !objectType(typ) {
		return nil, badObject("The JWT is of another type (RFC 9101, section 10.8).")
	}
	ok, err := q.Keys.signedByKey(ctx, q.client, jws)
	switch {
	case errors.As(err, new(refusedClient)):
		return nil, badObject("The keys of the client could not be fetched.")
	case err != nil:
		return nil, err
	case !ok:
		return nil, badObject("The signature is not of a key of the client.")
	}
	return q.readObject(jws.UnsafePayloadWithoutVerification(), fetched) // verified just now
}

func objectType(typ any) bool {
	text, _ := typ.(string)
	text = strings.TrimPrefix(strings.ToLower(text), "application/")
	return text == "jwt" || text == "oauth-authz-req+jwt"
}

// readObject reads a payload that the client signed.
func (q *authorizing) readObject(payload []byte, fetched bool) (Params, error) {
	var about objectClaims
	var members map[string]json.RawMessage
	if json.Unmarshal(payload, &about) != nil || json.Unmarshal(payload, &members) != nil {
		return nil, badObject("The request object cannot be read.")
	}
	if trouble := about.trouble(q, fetched); trouble != "" {
		return nil, badObject(trouble)
	}
	out := Params{}
	for name, raw := range members {
		if slices.Contains(objectOwn, name) {
			continue
		}
		if value, ok := paramOf(name, raw); ok && value != "" {
			out[name] = value
		}
	}
	if out["request"] != "" || out["request_uri"] != "" {
		return nil, badObject("A request object holds no other (RFC 9101, section 4).")
	}
	if id := out["client_id"]; id != "" && id != string(q.client.ID) {
		return nil, badObject("The client_id inside and outside of the request object differ.")
	}
	return out, nil
}

// objectOwn are the claims that are about the request object itself.
var objectOwn = []string{"iss", "aud", "exp", "nbf", "iat", "jti", "sub"}

// paramOf is a member of a request object as a parameter: texts as they are,
// numbers by their digits, resource also as a list, claims as JSON.
func paramOf(name string, raw json.RawMessage) (string, bool) {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text, true
	}
	var number int64
	var list []string
	switch {
	case name == "claims":
		return string(raw), true
	case json.Unmarshal(raw, &number) == nil:
		return strconv.FormatInt(number, 10), true
	case name == "resource" && json.Unmarshal(raw, &list) == nil:
		return strings.Join(list, " "), true
	}
	return "", false
}

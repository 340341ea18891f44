package oauth

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/scope"
)

// Limits of what is registered.
const (
	MaxClientName   = 100 // characters
	MaxRedirectURIs = 20
	MaxClientScopes = 100
)

// registrable are the grant types that a client may be registered for. Those
// that only tokenhouse itself uses are not among them.
var registrable = []string{GrantAuthorizationCode, GrantRefreshToken, GrantClientCredentials, GrantTokenExchange}

// identityScopes are the scopes that are no permissions (OpenID Connect Core
// 1.0 §5.4 and §11).
var identityScopes = []string{ScopeOpenID, ScopeProfile, ScopeEmail, ScopeOfflineAccess}

// judgeClient says what is wrong with a client as it would be stored: each
// value by itself, then what contradicts what (RFC 7591 §2).
func (j clientRules) judgeClient(r Registered) []fault.Field {
	var f refusals
	f.refuse("name", nameTrouble(r.Name))
	f.unless(slices.Contains(AuthMethods(), r.AuthMethod), "auth_method",
		"must be one of none, client_secret_basic, client_secret_post, client_secret_jwt and private_key_jwt")
	f.unless(r.Status == ClientActive || r.Status == ClientDisabled, "status", "must be active or disabled")
	for i, g := range r.Grants {
		f.unless(slices.Contains(registrable, g), at("grants", i), "must be one of "+strings.Join(registrable, ", "))
	}
	for i, u := range r.RedirectURIs {
		f.refuse(at("redirect_uris", i), redirectTroubleOf(r, u))
	}
	f.unless(len(r.RedirectURIs) <= MaxRedirectURIs, "redirect_uris", fmt.Sprintf("must hold at most %d", MaxRedirectURIs))
	f = append(f, judgeGrants(r)...)
	f = append(f, j.judgeKeys(r)...)
	f = append(f, judgeScopes(r, j.catalogue)...)
	f = append(f, j.judgeLogout(r)...)
	return append(f, j.judgeSettings(r)...)
}

func at(name string, i int) string { return fmt.Sprintf("%s[%d]", name, i) }

// judgeGrants holds the grants against each other and against the method.
func judgeGrants(r Registered) (out []fault.Field) {
	refuse := func(name, detail string) { out = append(out, fault.Field{Name: name, Detail: detail}) }
	if len(r.Grants) == 0 {
		refuse("grants", "must name at least one grant type")
	}
	if r.MayUse(GrantClientCredentials) && !r.Confidential() {
		refuse("grants", "must not hold client_credentials where auth_method is none: whoever knows the client_id would be the client (RFC 6749 §4.4)")
	}
	code := r.MayUse(GrantAuthorizationCode)
	if r.MayUse(GrantRefreshToken) && !code {
		refuse("grants", "must hold authorization_code where it holds refresh_token: client_credentials gives no refresh token (RFC 6749 §4.4.3)")
	}
	if code && len(r.RedirectURIs) == 0 {
		refuse("redirect_uris", "must hold at least one for authorization_code")
	}
	return out
}

// judgeKeys holds the client's own keys against its method. Any client may
// have keys: they also verify its request objects.
func (j clientRules) judgeKeys(r Registered) []fault.Field {
	var f refusals
	has := len(r.JWKS) > 0 || r.JWKSURI != ""
	f.unless(len(r.JWKS) == 0 || r.JWKSURI == "", "jwks", "must not be given with jwks_uri (RFC 7591 §2)")
	f.unless(has || r.AuthMethod != AuthPrivateKeyJWT, "jwks", "must be given for private_key_jwt, or jwks_uri")
	if len(r.JWKS) > 0 {
		if err := checkKeySet(r.JWKS); err != nil {
			f.refuse("jwks", err.Error())
		}
	}
	f.optional("jwks_uri", r.JWKSURI, j.webTrouble)
	return f
}

// judgeScopes takes permissions that exist, one by one, and what OpenID
// Connect calls scopes where a person takes part.
func judgeScopes(r Registered, all scope.Catalogue) (out []fault.Field) {
	refuse := func(name, detail string) { out = append(out, fault.Field{Name: name, Detail: detail}) }
	if len(r.Scopes) > MaxClientScopes {
		refuse("scopes", fmt.Sprintf("must hold at most %d", MaxClientScopes))
		return out
	}
	code := r.MayUse(GrantAuthorizationCode)
	for i, s := range r.Scopes {
		p, err := scope.ParsePermission(s)
		switch {
		case slices.Contains(identityScopes, s):
			if !code {
				refuse(at("scopes", i), "is about a person, whom only authorization_code brings")
			}
		case err != nil:
			refuse(at("scopes", i), "must be a permission (resource:action) or one of "+strings.Join(identityScopes, ", "))
		case strings.Contains(s, "*"):
			refuse(at("scopes", i), "must not hold *: name each permission")
		case !all.Knows(p):
			refuse(at("scopes", i), "is not a permission of this deployment")
		}
	}
	if r.MayUse(GrantClientCredentials) && len(r.Permissions()) == 0 {
		refuse("scopes", "must name at least one permission for client_credentials")
	}
	return out
}

// nameTrouble accepts what can be shown on one line, to whoever is asked to
// trust the client, without changing how the rest of the line reads.
func nameTrouble(name string) string {
	if name == "" || !utf8.ValidString(name) || utf8.RuneCountInString(name) > MaxClientName ||
		strings.ContainsFunc(name, func(c rune) bool { return !unicode.IsPrint(c) }) {
		return fmt.Sprintf("must be 1 to %d printable characters", MaxClientName)
	}
	return ""
}

package oauth

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/scope"
)

// Limits of settings.
const (
	maxListed     = 20  // resources, request_uris, default_acr_values, contacts
	maxContact    = 200 // characters
	maxACR        = 200 // bytes
	maxMaxAge     = 10 * 365 * 24 * 3600
	maxSectorURIs = 100
)

// clientRules are what clients of a deployment are held against.
type clientRules struct {
	catalogue  scope.Catalogue
	algorithms []string // what we sign with
	// development: servers on this machine may be asked, in clear.
	development bool
}

// refusals collects what is wrong; nothing is where detail is empty.
type refusals []fault.Field

func (f *refusals) refuse(name, detail string) {
	if detail != "" {
		*f = append(*f, fault.Field{Name: name, Detail: detail})
	}
}

func (f *refusals) unless(ok bool, name, detail string) {
	if !ok {
		f.refuse(name, detail)
	}
}

// judgeSettings says what is wrong with the settings of a client, by the names
// that they have in RFC 7591 §2 and OpenID Connect Registration 1.0 §2.
func (j clientRules) judgeSettings(r Registered) []fault.Field {
	var f refusals
	s := r.Settings
	f.unless(slices.Contains([]PKCEPolicy{PKCERequired, PKCEOrNonce, PKCEOptional}, s.PKCE), "pkce", "must be required, nonce or optional")
	f.unless(s.PKCE == PKCERequired || r.Confidential(), "pkce", "must be required for a public client: nothing else tells it from who stole its code (RFC 7636)")
	f.unless(s.OpenTo == OpenToOrganization || s.OpenTo == OpenToEveryone, "open_to", "must be organization or everyone")
	f.unless(slices.Contains([]string{"", "web", "native"}, s.ApplicationType), "application_type", "must be web or native")
	f.count("resources", len(s.Resources))
	for i, u := range s.Resources {
		f.refuse(at("resources", i), resourceTrouble(u))
	}
	f.count("request_uris", len(s.RequestURIs))
	for i, u := range s.RequestURIs {
		f.refuse(at("request_uris", i), j.requestTrouble(u))
	}
	f.optional("initiate_login_uri", s.InitiateLoginURI, j.webTrouble)
	j.judgeSubject(&f, r)
	j.judgeSigning(&f, r)
	judgeMinimum(&f, s.Authentication)
	j.judgeDisplay(&f, s.Display)
	return f
}

func (f *refusals) count(name string, n int) {
	f.unless(n <= maxListed, name, fmt.Sprintf("must hold at most %d", maxListed))
}

func (f *refusals) optional(name, value string, trouble func(string) string) {
	if value != "" {
		f.refuse(name, trouble(value))
	}
}

// judgeSubject wants one sector for all of a pairwise client's redirect URIs
// (OpenID Connect Core 1.0 §8.1). That a sector_identifier_uri lists them is
// for Clients.checkSector to find out.
func (j clientRules) judgeSubject(f *refusals, r Registered) {
	s := r.Settings.Subject
	f.optional("sector_identifier_uri", s.SectorURI, j.webTrouble)
	if s.Pairwise && s.SectorURI == "" {
		f.unless(r.Sector() != "", "sector_identifier_uri", "must be given where subject_type is pairwise and the redirect URIs do not all have one host (OpenID Connect Core 1.0 §8.1)")
	}
}

// Sector is the host that pairwise identifiers of the client depend on (OpenID
// Connect Core 1.0 §8.1); empty where its redirect URIs have no host in common
// and no sector_identifier_uri stands for them.
func (r Registered) Sector() string {
	uris := r.RedirectURIs
	if s := r.Settings.Subject.SectorURI; s != "" {
		uris = []string{s}
	}
	sector := ""
	for i, s := range uris {
		u, err := url.Parse(s)
		if err != nil || !web(s) || i > 0 && u.Hostname() != sector {
			return ""
		}
		sector = u.Hostname()
	}
	return sector
}

// judgeSigning takes what we sign with, and what clients may sign with: never
// none, and no secret of ours but where the method is client_secret_jwt.
func (j clientRules) judgeSigning(f *refusals, r Registered) {
	s := r.Settings.Signing
	for name, alg := range map[string]string{
		"id_token_signed_response_alg": s.IDToken, "userinfo_signed_response_alg": s.UserInfo, "introspection_signed_response_alg": s.Introspection,
	} {
		f.unless(alg == "" || slices.Contains(j.algorithms, alg), name, "must be one of "+strings.Join(j.algorithms, ", "))
	}
	if s.RequestObject != "" {
		f.unless(slices.Contains(ObjectAlgorithms(), s.RequestObject), "request_object_signing_alg", "must be one of "+strings.Join(ObjectAlgorithms(), ", "))
		f.unless(len(r.JWKS) > 0 || r.JWKSURI != "", "request_object_signing_alg", "must be left out where there is neither jwks nor jwks_uri to verify with")
	}
	if s.TokenEndpoint == "" {
		return
	}
	switch r.AuthMethod {
	case AuthPrivateKeyJWT:
		f.unless(slices.Contains(ObjectAlgorithms(), s.TokenEndpoint), "token_endpoint_auth_signing_alg", "must be one of "+strings.Join(ObjectAlgorithms(), ", "))
	case AuthSecretJWT:
		f.unless(slices.Contains(algorithmNames(secretAlgorithms), s.TokenEndpoint), "token_endpoint_auth_signing_alg", "must be "+strings.Join(algorithmNames(secretAlgorithms), ", ")+" for client_secret_jwt")
	default:
		f.refuse("token_endpoint_auth_signing_alg", "must be left out for "+string(r.AuthMethod))
	}
}

func judgeMinimum(f *refusals, m ClientMinimum) {
	f.unless(m.MaxAge == nil || *m.MaxAge >= 0 && *m.MaxAge <= maxMaxAge, "default_max_age", fmt.Sprintf("must be 0 to %d seconds", maxMaxAge))
	f.count("default_acr_values", len(m.ACRValues))
	for i, v := range m.ACRValues {
		bad := v == "" || len(v) > maxACR || strings.ContainsFunc(v, func(c rune) bool { return c <= ' ' || c > '~' })
		f.unless(!bad, at("default_acr_values", i), "must be printable ASCII without a blank")
	}
}

// judgeDisplay takes addresses of web pages only: these are links and pictures
// on a page of ours (SEC-WEB-13).
func (j clientRules) judgeDisplay(f *refusals, d ClientDisplay) {
	f.optional("client_uri", d.ClientURI, j.webTrouble)
	f.optional("logo_uri", d.LogoURI, j.webTrouble)
	f.optional("policy_uri", d.PolicyURI, j.webTrouble)
	f.optional("tos_uri", d.TermsURI, j.webTrouble)
	f.count("contacts", len(d.Contacts))
	for i, c := range d.Contacts {
		good := c != "" && utf8.ValidString(c) && utf8.RuneCountInString(c) <= maxContact && !strings.ContainsFunc(c, func(r rune) bool { return !unicode.IsPrint(r) })
		f.unless(good, at("contacts", i), fmt.Sprintf("must be 1 to %d printable characters", maxContact))
	}
}

// judgeLogout says what is wrong with how a client hears of logouts.
func (j clientRules) judgeLogout(r Registered) []fault.Field {
	var f refusals
	l := r.Logout
	for i, u := range l.RedirectURIs {
		f.refuse(at("post_logout_redirect_uris", i), redirectTroubleOf(r, u))
	}
	f.unless(len(l.RedirectURIs) <= MaxRedirectURIs, "post_logout_redirect_uris", fmt.Sprintf("must hold at most %d", MaxRedirectURIs))
	f.optional("backchannel_logout_uri", l.BackchannelURI, j.webTrouble)
	f.optional("frontchannel_logout_uri", l.FrontchannelURI, j.webTrouble)
	if l.FrontchannelURI != "" && len(f) == 0 {
		same := slices.ContainsFunc(r.RedirectURIs, func(u string) bool { return originOf(u) == originOf(l.FrontchannelURI) })
		f.unless(same, "frontchannel_logout_uri", "must have scheme, host and port of a redirect URI (OpenID Connect Front-Channel Logout 1.0 §2)")
	}
	return f
}

func originOf(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

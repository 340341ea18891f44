package oauth

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
)

// Limits of the claims parameter.
const (
	maxClaims      = 8 << 10 // bytes
	maxClaimNames  = 50      // in each member
	maxClaimValues = 20
)

// claimWish is what a client says of one claim (OpenID Connect Core 1.0 §5.5.1).
type claimWish struct {
	Essential bool  `json:"essential"`
	Value     any   `json:"value"`
	Values    []any `json:"values"`
}

// names reports whether the wish is for that value, or for any.
func (w *claimWish) names(value string) bool {
	if w == nil || w.Value == nil && len(w.Values) == 0 {
		return true
	}
	return w.Value == value || slices.Contains(w.Values, any(value))
}

// claimsWish is the claims parameter (OpenID Connect Core 1.0 §5.5). Members
// and claims that we do not know are ignored.
type claimsWish struct {
	IDToken  map[string]*claimWish `json:"id_token"`
	UserInfo map[string]*claimWish `json:"userinfo"`
}

func readClaims(text string) (claimsWish, bool) {
	var w claimsWish
	if len(text) > maxClaims || !strings.HasPrefix(strings.TrimSpace(text), "{") || json.Unmarshal([]byte(text), &w) != nil {
		return w, false
	}
	for _, m := range []map[string]*claimWish{w.IDToken, w.UserInfo} {
		if len(m) > maxClaimNames {
			return w, false
		}
		for _, c := range m {
			if c != nil && len(c.Values) > maxClaimValues {
				return w, false
			}
		}
	}
	return w, true
}

// checkClaims finds out which claims are wanted by name. Each is bound to its
// scope as if that had been asked for: the user allows both alike, and a client
// that may not ask for the scope gets the claim no other way.
func checkClaims(_ context.Context, q *authorizing) error {
	text := q.params["claims"]
	if text == "" {
		return nil
	}
	w, ok := readClaims(text)
	if !ok {
		return refuse("invalid_request", "The claims must be a JSON object (OpenID Connect Core 1.0, section 5.5).")
	}
	a := &q.wants.authorization
	a.Claims = ClaimsRequest{IDToken: q.mayClaim(w.IDToken), UserInfo: q.mayClaim(w.UserInfo)}
	if t := w.IDToken["auth_time"]; t != nil && t.Essential {
		a.Authenticated.TimeWanted = true
	}
	if acr, asked := w.IDToken["acr"]; asked {
		switch {
		case acr.names(ACRPassword):
			a.Authenticated.ACR = ACRPassword
		case acr.Essential: // OpenID Connect Core 1.0 §5.5.1.1
			return refuse("unmet_authentication_requirements", "No login of ours reaches the acr that is essential.")
		}
	}
	for _, m := range []map[string]*claimWish{w.IDToken, w.UserInfo} {
		if err := q.expectSubject(m["sub"]); err != nil {
			return err
		}
	}
	return nil
}

// mayClaim returns the claims that we have and the client may ask for, in our
// order, and notes what the user must allow for them.
func (q *authorizing) mayClaim(wanted map[string]*claimWish) []string {
	var out []string
	for _, c := range identityClaims {
		if _, asked := wanted[c.name]; !asked {
			continue
		}
		if allowed, ok := q.client.mayAsk(Scopes{c.scope}); !ok || len(allowed) == 0 {
			continue
		}
		out = append(out, c.name)
		if !q.wants.allow.Has(c.scope) {
			q.wants.allow = append(slices.Clone(q.wants.allow), c.scope)
		}
	}
	return out
}

// expectSubject notes the user whom a client asks for by sub.
func (q *authorizing) expectSubject(w *claimWish) error {
	if w == nil || w.Value == nil {
		return nil
	}
	sub, ok := w.Value.(string)
	if !ok || sub == "" || q.wants.subject != "" && q.wants.subject != sub {
		return refuse("invalid_request", "The sub that is asked for is not one user's.")
	}
	q.wants.subject = sub
	return nil
}

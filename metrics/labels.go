package metrics

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
)

// other stands for every value that is not in a label's set.
const other = "other"

// closed is the set of values that a label may have. Labels are never text from
// a request: an unknown value is counted under "other", so that the number of
// series is known before the first request.
type closed []string

// of returns v where it is in the set, else other.
func (c closed) of(v string) string {
	for _, known := range c {
		if v == known {
			return v
		}
	}
	return other
}

// The sets of the labels.
var (
	loginMethods        = closed{"password", "reauthentication"}
	loginResults        = closed{"success", "failure", "refused"}
	lockoutScopes       = closed{"device", "pair", "pool", "proof", "source"}
	proofResults        = closed{"accepted", "refused", "unavailable"}
	grants              = closed{"password", "refresh_token", "client_credentials", "authorization_code", "urn:ietf:params:oauth:grant-type:token-exchange"}
	tokenKinds          = closed{"access_token", "refresh_token", "id_token"}
	credentials         = closed{"access_token", "api_key"}
	verifications       = closed{"ok", "invalid", "expired", "missing_org", "revoked", "rate_limited", "unavailable"}
	refreshResults      = closed{"rotated", "replayed", "roaming", "contested", "adopted", "stale", "reuse_detected", "expired", "idle", "revoked", "malformed"}
	apiKeyResults       = closed{"ok", "malformed", "unknown", "mismatch", "superseded", "revoked", "quarantined", "expired", "owner_inactive", "network", "rate_limited", "throttled", "unavailable"}
	leakResults         = closed{"revoked", "quarantined", "ignored"}
	logoutResults       = closed{"delivered", "retried", "refused", "given_up"}
	outcomes            = closed{string(audit.Success), string(audit.Failure), string(audit.Denied)}
	algorithms          = closed{"ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA"}
	confirmationResults = closed{"complete", "incomplete"}
	keyStates           = closed{"published", "active", "retiring", "revoked"}
	operations          = closed{"read", "transaction"}
	results             = closed{"ok", "refused", "error"}
	methods             = closed{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions}
)

func eventNames() closed {
	var c closed
	for _, n := range audit.Names() {
		c = append(c, string(n))
	}
	return c
}

// statusOf returns the status as text where HTTP knows it.
func statusOf(status int) string {
	if http.StatusText(status) == "" {
		return other
	}
	return strconv.Itoa(status)
}

// resultOf is the label of an operation of the database that ended with err.
// What was rolled back because we judged so, or because who asked has gone, is
// no failure of the database.
func resultOf(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, context.Canceled):
		return "refused"
	}
	if c := fault.Of(err).Code; c != fault.Internal && c != fault.Unavailable {
		return "refused"
	}
	return "error"
}

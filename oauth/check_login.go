package oauth

import (
	"context"
	"slices"
	"strconv"
	"strings"
)

// ACRPassword is the one class of logins that there is (OpenID Connect Core
// 1.0 §2): a password was given.
const ACRPassword = "urn:tokenhouse:acr:password"

// ACRValues lists the classes of logins, as discovery documents show them.
func ACRValues() []string { return []string{ACRPassword} }

// The values of prompt that we know; others are ignored.
const (
	promptNone          = "none"
	promptLogin         = "login"
	promptConsent       = "consent"
	promptSelectAccount = "select_account"
)

// PromptValues lists what prompt may be, as discovery documents show it.
func PromptValues() []string {
	return []string{promptNone, promptLogin, promptConsent, promptSelectAccount}
}

func checkPrompt(_ context.Context, q *authorizing) error {
	q.wants.prompt = strings.Fields(q.params["prompt"])
	if q.prompts(promptNone) && len(q.wants.prompt) > 1 {
		return refuse("invalid_request", "The prompt none stands alone.")
	}
	return nil
}

func (q *authorizing) prompts(what string) bool { return slices.Contains(q.wants.prompt, what) }

func checkMaxAge(_ context.Context, q *authorizing) error {
	minimum := q.client.Settings.Authentication
	q.wants.maxAge = minimum.MaxAge
	if text := q.params["max_age"]; text != "" {
		n, err := strconv.ParseUint(text, 10, 31)
		if err != nil {
			return refuse("invalid_request", "The max_age must be a number of seconds.")
		}
		age := int64(n)
		q.wants.maxAge = &age
	}
	q.wants.authorization.Authenticated.TimeWanted = q.wants.maxAge != nil || minimum.RequireTime
	return nil
}

// checkACR notes whether the class that every login of ours has was asked for.
// Others are wishes that we cannot fulfil (OpenID Connect Core 1.0 §3.1.2.1).
func checkACR(_ context.Context, q *authorizing) error {
	wanted := strings.Fields(q.params["acr_values"])
	if len(wanted) == 0 {
		wanted = q.client.Settings.Authentication.ACRValues
	}
	if slices.Contains(wanted, ACRPassword) {
		q.wants.authorization.Authenticated.ACR = ACRPassword
	}
	return nil
}

// checkHint finds out who is expected (OpenID Connect Core 1.0 §3.1.2.1).
func checkHint(_ context.Context, q *authorizing) error {
	text := q.params["id_token_hint"]
	if text == "" {
		return nil
	}
	h, ok := readHint(text, q.Issuer, q.IDKeys)
	switch {
	case !ok:
		return refuse("invalid_request", "The id_token_hint is not an ID token of ours.")
	case q.wants.subject != "" && q.wants.subject != h.Subject:
		return refuse("invalid_request", "The id_token_hint and the claims name two users.")
	}
	q.wants.subject = h.Subject
	return nil
}

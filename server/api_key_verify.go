package server

import (
	"context"
	"errors"
	"net/netip"
	"strconv"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
)

type verifyAPIKeyRequest struct {
	APIKey      string   `json:"api_key"`
	Permission  string   `json:"permission"`
	Permissions []string `json:"permissions"`
	IP          string   `json:"ip"` // of whoever sent the key

	required []scope.Permission // of both
	from     netip.Addr
}

func (r *verifyAPIKeyRequest) read(*input) error {
	if err := missing("api_key", r.APIKey); err != nil {
		return err
	}
	if r.IP != "" {
		from, ok := hop(r.IP)
		if !ok {
			return fault.Refuse("ip", "must be an IPv4 or IPv6 address")
		}
		r.from = from
	}
	if len(r.Permissions) > maxRequired {
		return fault.Refuse("permissions", "must hold at most 32")
	}
	if r.Permission != "" {
		p, err := scope.ParsePermission(r.Permission)
		if err != nil {
			return fault.Refuse("permission", err.Error())
		}
		r.required = append(r.required, p)
	}
	for i, name := range r.Permissions {
		p, err := scope.ParsePermission(name)
		if err != nil {
			return fault.Refuse("permissions["+strconv.Itoa(i)+"]", err.Error())
		}
		r.required = append(r.required, p)
	}
	return nil
}

// keyVerdict is what a resource server learns of a key that it was sent.
type keyVerdict struct {
	Valid bool `json:"valid"`
	// Code is "VALID" or why not: "NOT_FOUND", "INVALID_API_KEY",
	// "INSUFFICIENT_PERMISSIONS" or "RATE_LIMITED".
	Code         string         `json:"code"`
	Key          ident.APIKeyID `json:"key_id,omitempty"`
	Organization ident.OrgID    `json:"org_id,omitempty"`
	Owner        ident.UserID   `json:"owner,omitempty"`
	Permissions  []string       `json:"permissions,omitempty"`
	ExpiresAt    *timestamp     `json:"expires_at,omitempty"`
	Required     []string       `json:"required,omitempty"`    // what the key lacks of what was asked for
	RateLimit    *rateLimit     `json:"rate_limit,omitempty"`  // the tightest limit of the key
	RetryAfter   int64          `json:"retry_after,omitempty"` // seconds, with "RATE_LIMITED"
}

// verifyAPIKey serves POST /api/v1/api-keys/verify. The key of another
// organisation does not exist, as far as the caller can tell. The answer takes
// from the limits of the key, as any use of it does.
func (s *Server) verifyAPIKey(ctx context.Context, caller ident.Caller, req verifyAPIKeyRequest) (keyVerdict, error) {
	got, err := s.Services.APIKeys.VerifyFor(ctx, caller, apikeys.Question{Credential: req.APIKey, IP: req.from, Required: req.required})
	code := wires[fault.Of(err).Code].code
	switch {
	case errors.Is(err, fault.InvalidAPIKey), errors.Is(err, fault.NotFound):
		return keyVerdict{Code: code}, nil
	case errors.Is(err, fault.RateLimited) && got.Holder.Allowance.Limited(): // else we are throttled, not the key
		return keyVerdict{Code: code, RateLimit: rateLimitOf(got.Holder.Allowance), RetryAfter: seconds(fault.Of(err).RetryAfter)}, nil
	case err != nil && !errors.Is(err, fault.InsufficientPermissions):
		return keyVerdict{}, err
	}
	k := got.Holder
	v := keyVerdict{
		Valid: true, Code: "VALID", Key: k.Key, Organization: k.Org, Owner: k.User,
		Permissions: k.Permissions.Strings(), ExpiresAt: &timestamp{got.ExpiresAt}, RateLimit: rateLimitOf(k.Allowance),
	}
	if err != nil {
		v.Valid, v.Code, v.Required = false, code, fault.Of(err).Required
	}
	return v, nil
}

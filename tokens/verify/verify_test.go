package verify_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenhouse/tokenhouse/tokens/verify"
)

func TestAGoodTokenIsReadWhole(t *testing.T) {
	i := newIssuer(t)
	c := accepted(t, i.verifier(), i.token(claim{"plan", "gold"}))
	if c.Issuer != issuerURL || c.Subject != "user_1" || c.OrgID != "org_1" || c.ID != "tok_1" || c.SessionID != "sess_1" || c.ClientID != "cli_1" {
		t.Errorf("read %+v", c)
	}
	if !c.ExpiresAt.Equal(noon.Add(time.Hour)) || !c.IssuedAt.Equal(noon) || !c.NotBefore.Equal(noon) {
		t.Errorf("times: %+v", c)
	}
	if !slices.Equal(c.Roles, []string{"engineer"}) || !slices.Equal(c.Permissions, []string{"agents:read", "incidents:*"}) || c.Scope != "agents:read incidents:*" {
		t.Errorf("rights: %+v", c)
	}
	var raw struct{ Plan string }
	if err := json.Unmarshal(c.Raw, &raw); err != nil || raw.Plan != "gold" {
		t.Errorf("a claim we do not know is not in Raw: %s %v", c.Raw, err)
	}
}

func TestPermissionsMayBeWildcards(t *testing.T) {
	c := verify.Claims{Permissions: []string{"agents:read", "incidents:*", "*:list"}}
	for permission, want := range map[string]bool{
		"agents:read": true, "agents:delete": false, "incidents:create": true, "keys:list": true, "agents": false, "": false, "agents:": false,
	} {
		if c.Allows(permission) != want {
			t.Errorf("%q: %v", permission, !want)
		}
	}
	if (verify.Claims{}).Allows("agents:read") {
		t.Error("no permissions allow something")
	}
	if !(verify.Claims{Permissions: []string{"*:*"}}).Allows("agents:read") {
		t.Error("*:* does not allow everything")
	}
}

// The claims that do not depend on the signature, one at a time.
func TestClaimsThatAreRefused(t *testing.T) {
	i := newIssuer(t)
	hour := noon.Add(time.Hour).Unix()
	for name, c := range map[string]struct {
		claim claim
		want  error
	}{
		"SEC-JWT-14 iss with a trailing slash": {claim{"iss", issuerURL + "/"}, verify.ErrInvalid},
		"SEC-JWT-14 iss in another case":       {claim{"iss", "https://AUTH.example.com"}, verify.ErrInvalid},
		"SEC-JWT-14 iss with a port":           {claim{"iss", issuerURL + ":443"}, verify.ErrInvalid},
		"SEC-JWT-14 iss over http":             {claim{"iss", "http://auth.example.com"}, verify.ErrInvalid},
		"iss absent":                           {claim{"iss", nil}, verify.ErrInvalid},
		"iss a list":                           {claim{"iss", []string{issuerURL}}, verify.ErrInvalid},
		"SEC-JWT-15 K21 org_id absent":         {claim{"org_id", nil}, verify.ErrNoOrg},
		"SEC-JWT-15 K21 org_id empty":          {claim{"org_id", ""}, verify.ErrNoOrg},
		"org_id a number":                      {claim{"org_id", 7}, verify.ErrInvalid},
		"SEC-JWT-16 aud absent":                {claim{"aud", nil}, verify.ErrInvalid},
		"SEC-JWT-16 aud of another":            {claim{"aud", "https://other.example.com"}, verify.ErrInvalid},
		"SEC-JWT-16 aud list without us":       {claim{"aud", []string{"https://other.example.com"}}, verify.ErrInvalid},
		"SEC-JWT-16 aud empty list":            {claim{"aud", []string{}}, verify.ErrInvalid},
		"SEC-JWT-16 aud list with us":          {claim{"aud", []string{"https://other.example.com", audience}}, nil},
		"aud list with a number":               {claim{"aud", []any{audience, 7}}, verify.ErrInvalid},
		"aud an object":                        {claim{"aud", map[string]string{audience: audience}}, verify.ErrInvalid},
		"SEC-JWT-17 exp absent":                {claim{"exp", nil}, verify.ErrInvalid},
		"SEC-JWT-17 exp a string":              {claim{"exp", "9999999999"}, verify.ErrInvalid},
		"SEC-JWT-17 exp 1e308":                 {claim{"exp", json.Number("1e308")}, verify.ErrInvalid},
		"SEC-JWT-17 exp 1e999":                 {claim{"exp", json.Number("1e999")}, verify.ErrInvalid},
		"SEC-JWT-17 exp negative":              {claim{"exp", -1}, verify.ErrInvalid},
		"SEC-JWT-17 exp zero":                  {claim{"exp", 0}, verify.ErrInvalid},
		"SEC-JWT-17 exp 2^63":                  {claim{"exp", json.Number("9223372036854775808")}, verify.ErrInvalid},
		"SEC-JWT-17 exp 2^63-1":                {claim{"exp", json.Number("9223372036854775807")}, verify.ErrInvalid},
		"SEC-JWT-17 exp after the year 9999":   {claim{"exp", 253402300800}, verify.ErrInvalid},
		"SEC-JWT-17 exp NaN":                   {claim{"exp", "NaN"}, verify.ErrInvalid},
		"SEC-JWT-17 exp null":                  {claim{"exp", json.RawMessage("null")}, verify.ErrInvalid},
		"exp with a fraction":                  {claim{"exp", float64(hour) + .5}, nil},
		"SEC-JWT-17 nbf in an hour":            {claim{"nbf", hour}, verify.ErrInvalid},
		"SEC-JWT-17 iat in an hour":            {claim{"iat", hour}, verify.ErrInvalid},
		"nbf absent":                           {claim{"nbf", nil}, nil},
		"nbf a string":                         {claim{"nbf", "0"}, verify.ErrInvalid},
		"iat absent":                           {claim{"iat", nil}, verify.ErrInvalid},
		"nbf within the leeway":                {claim{"nbf", noon.Add(29 * time.Second).Unix()}, nil},
		"sub absent":                           {claim{"sub", nil}, verify.ErrInvalid},
		"sub a number":                         {claim{"sub", 7}, verify.ErrInvalid},
		"jti absent":                           {claim{"jti", nil}, verify.ErrInvalid},
		"sid absent":                           {claim{"sid", nil}, nil},
		"sid an object":                        {claim{"sid", map[string]int{}}, verify.ErrInvalid},
		"permissions a string":                 {claim{"permissions", "agents:read"}, verify.ErrInvalid},
		"permissions null":                     {claim{"permissions", json.RawMessage("null")}, verify.ErrInvalid},
		"permissions absent":                   {claim{"permissions", nil}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			token := i.token(c.claim)
			if c.want == nil {
				accepted(t, i.verifier(), token)
				return
			}
			refused(t, i.verifier(), token, c.want)
		})
	}
}

// K22: a token lives until exp plus the leeway, to the nanosecond.
func TestK22ATokenExpires(t *testing.T) {
	i := newIssuer(t)
	token := i.token(claim{"exp", noon.Add(24 * time.Hour).Unix()})
	for name, c := range map[string]struct {
		at     time.Duration
		leeway time.Duration
		good   bool
	}{
		"before exp":             {24*time.Hour - 1, 0, true},
		"at exp":                 {24 * time.Hour, 0, true},
		"within the leeway":      {24*time.Hour + verify.DefaultLeeway - 1, 0, true},
		"after the leeway":       {24*time.Hour + verify.DefaultLeeway, 0, false},
		"no leeway, before exp":  {24*time.Hour - 1, -1, true},
		"no leeway, at exp":      {24 * time.Hour, -1, false},
		"own leeway":             {24*time.Hour + time.Minute - 1, time.Minute, true},
		"after the own leeway":   {24*time.Hour + time.Minute, time.Minute, false},
		"years later":            {10 * 365 * 24 * time.Hour, 0, false},
		"before nbf":             {-time.Hour, 0, false},
		"before nbf, in leeway":  {-30 * time.Second, 0, true},
		"before nbf, out of it":  {-31 * time.Second, 0, false},
		"before nbf, no leeway":  {-time.Second, -1, false},
		"at nbf and iat exactly": {0, -1, true},
	} {
		t.Run(name, func(t *testing.T) {
			v := i.verifier()
			v.Leeway, v.Now = c.leeway, func() time.Time { return noon.Add(c.at) }
			_, err := v.Verify(context.Background(), token)
			if c.good != (err == nil) {
				t.Errorf("got %v", err)
			}
			if !c.good && c.at > 0 && !errors.Is(err, verify.ErrExpired) {
				t.Errorf("got %v, want expired", err)
			}
		})
	}
}

// K22: signature, then expiry, then org_id, then revocation.
func TestK22TheOrderOfChecks(t *testing.T) {
	i := newIssuer(t)
	v := i.verifier()
	v.Revoked = verify.RevokedFunc(func(context.Context, verify.Claims) (bool, error) { return true, nil })
	old := claim{"exp", noon.Add(-time.Hour).Unix()}
	noOrg := claim{"org_id", nil}
	tampered := i.token(old, noOrg)
	tampered = tampered[:len(tampered)-8] + "AAAAAAAA"

	refused(t, v, tampered, verify.ErrInvalid)
	refused(t, v, i.token(old, noOrg), verify.ErrExpired)
	refused(t, v, i.token(noOrg), verify.ErrNoOrg)
	refused(t, v, i.token(), verify.ErrRevoked)
	refused(t, v, i.token(old, noOrg, claim{"iss", "https://evil.example.com"}), verify.ErrInvalid)
}

func TestRevocationThatCannotBeToldFailsClosed(t *testing.T) {
	i := newIssuer(t)
	v := i.verifier()
	v.Revoked = verify.RevokedFunc(func(context.Context, verify.Claims) (bool, error) { return false, errors.New("the set is not loaded") })
	refused(t, v, i.token(), verify.ErrUnavailable)
	v.Revoked = verify.RevokedFunc(func(_ context.Context, c verify.Claims) (bool, error) { return c.SessionID == "sess_2", nil })
	accepted(t, v, i.token())
	refused(t, v, i.token(claim{"sid", "sess_2"}), verify.ErrRevoked)
}

func TestAnIncompleteVerifierRefusesEverything(t *testing.T) {
	i := newIssuer(t)
	for name, spoil := range map[string]func(*verify.Verifier){
		"no issuer":   func(v *verify.Verifier) { v.Issuer = "" },
		"no audience": func(v *verify.Verifier) { v.Audience = "" },
		"no keys":     func(v *verify.Verifier) { v.Keys = nil },
		"no clock":    func(v *verify.Verifier) { v.Now = nil },
	} {
		t.Run(name, func(t *testing.T) {
			v := i.verifier()
			spoil(v)
			refused(t, v, i.token(claim{"iss", ""}, claim{"aud", ""}), verify.ErrUnavailable)
		})
	}
}

func TestResultsAreTheLabelsOfMetrics(t *testing.T) {
	for want, err := range map[string]error{
		"ok": nil, "missing": verify.ErrMissing, "invalid": verify.ErrInvalid, "expired": verify.ErrExpired, "missing_org": verify.ErrNoOrg,
		"revoked": verify.ErrRevoked, "forbidden": verify.Lacking("agents:read"), "unavailable": verify.ErrUnavailable,
	} {
		if got := verify.Result(err); got != want {
			t.Errorf("%v: %s, want %s", err, got, want)
		}
	}
	if verify.Result(errors.New("other")) != "unavailable" {
		t.Error("an unknown error is not unavailable")
	}
}

// counting is a KeySource that counts and can be told to forget.
type counting struct {
	keys  verify.KeySource
	asked int
	gone  bool
}

func (c *counting) Key(ctx context.Context, kid string) (jose.JSONWebKey, error) {
	c.asked++
	if c.gone {
		return jose.JSONWebKey{}, verify.ErrInvalid
	}
	return c.keys.Key(ctx, kid)
}

func TestARememberedTokenIsJudgedAnew(t *testing.T) {
	i := newIssuer(t)
	now, revoked := noon, false
	keys := &counting{keys: verify.Lookup(i.lookup)}
	v := i.verifier()
	v.CacheSize, v.Keys, v.Now = 16, keys, func() time.Time { return now }
	v.Revoked = verify.RevokedFunc(func(context.Context, verify.Claims) (bool, error) { return revoked, nil })
	token := i.token()
	for range 3 {
		accepted(t, v, token)
	}
	if keys.asked != 3 {
		t.Errorf("the key source was asked %d times, want each time", keys.asked)
	}
	refused(t, v, token[:len(token)-2], verify.ErrInvalid) // another spelling is another token

	revoked = true
	refused(t, v, token, verify.ErrRevoked)
	revoked = false
	now = noon.Add(2 * time.Hour)
	refused(t, v, token, verify.ErrExpired)
	now = noon
	accepted(t, v, token)
	keys.gone = true // SEC-JWT-35: the key was withdrawn
	refused(t, v, token, verify.ErrInvalid)
}

// SEC-JWT-35: a key of the same id that is another key proves nothing.
func TestARememberedTokenIsBoundToItsKey(t *testing.T) {
	i, other := newIssuer(t), newIssuer(t)
	current := i.public()
	v := i.verifier()
	v.CacheSize, v.Keys = 16, verify.Lookup(func(string) (jose.JSONWebKey, bool) { return current, true })
	token := i.token()
	accepted(t, v, token)
	current = other.public()
	refused(t, v, token, verify.ErrInvalid)
}

func TestTheMemoryOfTokensIsBounded(t *testing.T) {
	i := newIssuer(t)
	v := i.verifier()
	v.CacheSize = 4
	first := i.token(claim{"jti", "tok_first"})
	accepted(t, v, first)
	for n := range 40 {
		accepted(t, v, i.token(claim{"jti", strings.Repeat("x", n+1)}))
		accepted(t, v, first) // in use, so it stays
	}
	if n := verify.Remembered(v); n > 4 {
		t.Errorf("%d tokens are remembered, at most 4 were allowed", n)
	}
}

package house

import (
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/scope"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
	"github.com/tokenhouse/tokenhouse/keys/signing"
)

// Finding is something about a configuration that its author should know.
type Finding struct {
	Key     string // the setting, as the configuration file spells it
	Problem string // what is wrong; never shows a secret
	Fix     string // what would be right
	Warning bool   // the server starts all the same
}

// findings collects them.
type findings []Finding

func (f *findings) mistake(key, problem, fix string) {
	*f = append(*f, Finding{Key: key, Problem: problem, Fix: fix})
}

func (f *findings) warn(key, problem, fix string) {
	*f = append(*f, Finding{Key: key, Problem: problem, Fix: fix, Warning: true})
}

// Check looks at every setting and at those that contradict each other. It
// reads the files that settings name, and changes nothing.
func (c Config) Check() []Finding {
	var f findings
	c.checkIssuer(&f)
	c.checkDatabase(&f)
	c.checkSealing(&f)
	c.Tokens.check(&f)
	c.checkAPIKeys(&f)
	c.Accounts.check(&f)
	c.Accounts.Proof.check(c, &f)
	c.Clients.check(&f)
	c.Mail.check(&f)
	c.Audit.check(&f)
	c.checkHTTP(&f)
	c.checkAdmin(&f)
	return f
}

// Development reports whether the issuer is this machine in clear HTTP.
func (c Config) Development() bool {
	u, err := url.Parse(c.Issuer)
	return err == nil && u.Scheme == "http" && loopback(u.Hostname())
}

// loopback reports whether host can only be this machine.
func loopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") { // RFC 6761 §6.3
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

func (c Config) checkIssuer(f *findings) {
	u, err := url.Parse(c.Issuer)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https"):
		f.mistake("issuer", fmt.Sprintf("%q is not an absolute http or https URL", c.Issuer), "the URL your users see, such as https://tokens.example.com")
	case u.Scheme == "http" && !loopback(u.Hostname()):
		f.mistake("issuer", fmt.Sprintf("%q is not https, so that everybody on the way could read the tokens", c.Issuer),
			"https://"+u.Host+"; http is allowed for localhost, 127.0.0.0/8 and [::1] only")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.HasSuffix(c.Issuer, "?") || strings.HasSuffix(c.Issuer, "#"): // RFC 8414 §2
		f.mistake("issuer", "it holds more than scheme, host and port", u.Scheme+"://"+u.Host)
	case u.Path != "":
		f.mistake("issuer", fmt.Sprintf("%q has the path %q; the server answers at the root of its host", c.Issuer, u.Path), u.Scheme+"://"+u.Host)
	}
}

func (c Config) checkDatabase(f *findings) {
	scheme, rest, ok := strings.Cut(c.DatabaseURL(), "://")
	switch {
	case ok && scheme == "mysql":
		f.mistake("database_url", "MySQL is not supported by this release", "sqlite://data/tokenhouse.db or postgres://user@host/database")
	case !ok || (scheme != "sqlite" && scheme != "postgres" && scheme != "postgresql"):
		f.mistake("database_url", fmt.Sprintf("it names no database that we know (it begins with %q)", before(c.Database.URL, ":")),
			"sqlite://data/tokenhouse.db or postgres://user@host/database")
	case rest == "":
		f.mistake("database_url", "nothing follows "+scheme+"://", "sqlite://data/tokenhouse.db or postgres://user@host/database")
	case scheme != "sqlite":
		if _, err := url.Parse(c.Database.URL); err != nil { // the error would show the password
			f.mistake("database_url", "it is not a well-formed URL", "percent-encode special characters of the password, such as %40 for @")
		}
	}
	if n := c.Database.MaxConns; n < 2 || n > 1000 {
		f.mistake("database_max_conns", fmt.Sprintf("%d connections", n), "2 to 1000; 16 is right for most")
	}
}

// before is what precedes sep, at most 16 bytes of it: a URL may hold a password.
func before(s, sep string) string {
	head, _, _ := strings.Cut(s, sep)
	return head[:min(len(head), 16)]
}

// span is a duration with its bounds.
type span struct {
	key      string
	value    time.Duration
	min, max time.Duration
}

func (s span) check(f *findings) {
	if s.value < s.min || s.value > s.max {
		f.mistake(s.key, fmt.Sprintf("%s is out of range", s.value), fmt.Sprintf("%s to %s", Short(s.min), Short(s.max)))
	}
}

// MaxAccessTTL is the longest life of an access token. Revocations are
// remembered for as long.
const MaxAccessTTL = 24 * time.Hour

func (t Tokens) check(f *findings) {
	year := 365 * 24 * time.Hour
	for _, s := range []span{
		{"access_token_ttl", t.AccessTTL, time.Minute, MaxAccessTTL},
		{"session_token_ttl", t.SessionTTL, time.Minute, MaxAccessTTL},
		{"refresh_idle_ttl", t.RefreshIdle, time.Minute, year},
		{"refresh_absolute_ttl", t.RefreshAbsolute, time.Minute, year},
		{"refresh_grace", t.RefreshGrace, 0, time.Hour},
		{"refresh_cooldown", t.RefreshCooldown, 0, time.Hour},
		{"browser_session_ttl", t.BrowserAbsolute, time.Minute, year},
		{"browser_session_idle_ttl", t.BrowserIdle, time.Minute, year},
		{"status_list_ttl", t.StatusListTTL, 10 * time.Second, time.Hour},
	} {
		s.check(f)
	}
	if t.SigningKeyLife != 0 {
		span{"signing_key_lifetime", t.SigningKeyLife, MaxAccessTTL, 2 * year}.check(f)
	}
	for _, alg := range t.SigningAlgorithms {
		if err := signing.CheckAlgorithm(alg); err != nil {
			f.mistake("signing_algorithms", fmt.Sprintf("%q is no algorithm that we sign with", alg), "some of PS256, EdDSA and ES384; ES256 and RS256 always sign")
		}
	}
	if t.RefreshIdle > t.RefreshAbsolute {
		f.mistake("refresh_idle_ttl", fmt.Sprintf("%s is longer than refresh_absolute_ttl (%s), which ends every login first", Short(t.RefreshIdle), Short(t.RefreshAbsolute)),
			"at most "+Short(t.RefreshAbsolute)+", or a longer refresh_absolute_ttl")
	}
	if t.RefreshCooldown > t.RefreshGrace && t.RefreshGrace > 0 {
		f.mistake("refresh_cooldown", fmt.Sprintf("%s is longer than refresh_grace (%s)", Short(t.RefreshCooldown), Short(t.RefreshGrace)), "at most "+Short(t.RefreshGrace))
	}
	if t.BrowserIdle > t.BrowserAbsolute {
		f.mistake("browser_session_idle_ttl", fmt.Sprintf("%s is longer than browser_session_ttl (%s), which signs every browser out first", Short(t.BrowserIdle), Short(t.BrowserAbsolute)),
			"at most "+Short(t.BrowserAbsolute)+", or a longer browser_session_ttl")
	}
	if t.AccessTTL > t.RefreshIdle {
		f.mistake("access_token_ttl", fmt.Sprintf("%s is longer than refresh_idle_ttl (%s), so that the refresh token dies before it is needed", Short(t.AccessTTL), Short(t.RefreshIdle)),
			"an access token of an hour or less")
	}
}

// apiKeyPrefix keeps keys easy to recognise, and short enough for their column.
var apiKeyPrefix = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)

func (c Config) checkAPIKeys(f *findings) {
	p := c.APIKeys.Prefix
	if !apiKeyPrefix.MatchString(p) || len(p) > 24 {
		f.mistake("api_key_prefix", fmt.Sprintf("%q", p), "1 to 24 lower-case letters and digits, in words joined by one underscore, such as acme_live; the last underscore is added")
	} else if slices.Contains([]string{"thr", "thb", "thc"}, p) { // refresh tokens, browser sessions, authorization codes
		f.mistake("api_key_prefix", p+" is the prefix of other tokens of ours", "such as acme_live")
	}
	if l := apikeys.LimitFailure(c.APIKeys.LimitFailure); l != apikeys.FailClosed && l != apikeys.FailOpen {
		f.mistake("api_key_limit_failure", fmt.Sprintf("%q", l), "closed or open")
	}
	if l := apikeys.LeakResponse(c.APIKeys.Leaked); l != apikeys.RevokeLeaked && l != apikeys.QuarantineLeaked {
		f.mistake("leaked_keys", fmt.Sprintf("%q", l), "revoke or quarantine")
	}
	if c.APIKeys.MaxLifetime != 0 {
		span{"api_key_max_lifetime", c.APIKeys.MaxLifetime, time.Hour, 10 * 365 * 24 * time.Hour}.check(f)
	}
	span{"api_key_usage_retention", c.APIKeys.UsageRetention, 24 * time.Hour, 10 * 365 * 24 * time.Hour}.check(f)
}

func (a Accounts) check(f *findings) {
	for _, p := range a.Permissions {
		if _, err := scope.NewCatalogue(p); err != nil {
			f.mistake("permissions", fmt.Sprintf("%q is not one permission", p), "resource:action, of a-z 0-9 . _ -, without *, such as incidents:read")
		}
	}
	if n := a.PasswordMinLength; n < 8 || n > 128 { // NIST SP 800-63B-4 §3.1.1.2
		f.mistake("password_min_length", fmt.Sprintf("%d characters", n), "15, or 8 to 128 where you must")
	}
	if a.Registration != RegistrationOpen && a.Registration != RegistrationOff {
		f.mistake("registration", fmt.Sprintf("%q", a.Registration), "open, or off where administrators make every account")
	}
	span{"login_failure_delay", a.LoginFailureDelay, 0, 10 * time.Second}.check(f)
}

func (c Config) checkHTTP(f *findings) {
	for _, o := range c.HTTP.CORSOrigins {
		u, err := url.Parse(o)
		if err != nil || u.Scheme == "" || u.Host == "" || u.Scheme+"://"+u.Host != o {
			f.mistake("cors_origins", fmt.Sprintf("%q is not an origin", o), "scheme://host or scheme://host:port, such as https://app.example.com or chrome-extension://abc; * is never right with cookies")
		}
	}
	for _, p := range c.HTTP.TrustedProxies {
		if p.Bits() == 0 {
			f.mistake("trusted_proxies", p.String()+" believes forwarding headers of the whole world", "the addresses of your reverse proxies only")
		}
	}
	if !c.Development() && strings.HasPrefix(c.Issuer, "https://") && len(c.HTTP.TrustedProxies) == 0 {
		f.warn("trusted_proxies", "the issuer is https, the listener speaks clear HTTP, and no proxy is trusted to say that it was reached by https: every request will be refused",
			"the address of the proxy that ends TLS, such as 10.0.0.0/8 or 127.0.0.1/32")
	}
}

func (c Config) checkAdmin(f *findings) {
	if _, host, ok := strings.Cut(c.Admin.Email, "@"); !ok || host == "" || strings.HasPrefix(c.Admin.Email, "@") {
		f.mistake("admin_email", fmt.Sprintf("%q is not an e-mail address", c.Admin.Email), "such as admin@example.com")
	}
	if p := c.Admin.Password.Reveal(); p != "" {
		policy := accounts.Policy{MinLength: c.Accounts.PasswordMinLength}
		if err := policy.Check("it", p, c.Admin.Email); err != nil {
			// Only the first start looks at it, so a later one need not fail.
			f.warn("admin_password", fault.Of(err).Detail, "another one, or none at all: the first start then makes one up and tells it once")
		}
	}
}

// Short writes a duration without its empty parts: 24h, not 24h0m0s.
func Short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

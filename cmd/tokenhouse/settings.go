package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/internal/tracing"
)

// config is everything that the process reads: the house, and what only the
// process itself needs.
type config struct {
	House   house.Config
	Serve   serveConfig
	Log     logConfig
	Tracing tracing.Config // of OpenTelemetry's own variables
}

// serveConfig is how the process meets the network and its end.
type serveConfig struct {
	Listen          string        // host:port of the public listener
	OpsListen       string        // host:port of /metrics, /healthz and /readyz
	ShutdownDelay   time.Duration // how long to go on answering, not ready any more, before the end begins
	ShutdownTimeout time.Duration // how long requests in flight may take to finish
}

// logConfig says what is logged, on standard error.
type logConfig struct {
	Level  string // debug, info, warn or error
	Format string // auto, text or json; auto is text on a terminal
}

func defaults() config {
	return config{
		House: house.Defaults(),
		Serve: serveConfig{Listen: "127.0.0.1:8080", OpsListen: "127.0.0.1:9464", ShutdownTimeout: 10 * time.Second},
		Log:   logConfig{Level: "info", Format: "auto"},
	}
}

// setting is one thing that can be configured: key in the file, --key-with-hyphens
// as a flag, TOKENHOUSE_KEY in the environment.
type setting struct {
	key    string
	help   string
	secret bool // not a flag: every user of the machine may read arguments
	list   bool
	toggle bool   // yes or no: as a flag it needs no value
	shown  string // default in words, where the value does not tell
	set    func(*config, string) error
	get    func(*config) string
}

func (s setting) flag() string { return strings.ReplaceAll(s.key, "_", "-") }
func (s setting) env() string  { return envPrefix + strings.ToUpper(s.key) }

// settings is every setting there is.
func settings() []setting {
	return slices.Concat([]setting{
		text("issuer", "public URL; https unless it is this machine", func(c *config) *string { return &c.House.Issuer }),
		text("listen", "host:port of the public listener", func(c *config) *string { return &c.Serve.Listen }),
		text("ops_listen", "host:port of /metrics, /healthz and /readyz", func(c *config) *string { return &c.Serve.OpsListen }),
		text("database_url", "sqlite://path or postgres://…", func(c *config) *string { return &c.House.Database.URL }).defaultsTo("sqlite://data/tokenhouse.db"),
		count("database_max_conns", "most connections to PostgreSQL", func(c *config) *int { return &c.House.Database.MaxConns }),
		text("data_dir", "directory of the SQLite database and the generated master key", func(c *config) *string { return &c.House.DataDir }),
		hidden("master_key", "seals private keys and peppers: 32 bytes in base64", func(c *config) *secret.Plain { return &c.House.Sealing.MasterKey }).defaultsTo("made in data_dir, for a loopback issuer"),
		text("master_key_file", "file that holds the master key", func(c *config) *string { return &c.House.Sealing.MasterKeyFile }).defaultsTo("data/master.key"),
		text("key_sealer", "URL of a key management service that wraps the master key: vault://host/transit/key, or where built in pkcs11:…, awskms:…, gcpkms:…, azurekeyvault:…", func(c *config) *string { return &c.House.Sealing.KeySealer }).defaultsTo("none"),
		hidden("key_sealer_token", "shown to the key management service: a token of Vault, the PIN of an HSM", func(c *config) *secret.Plain { return &c.House.Sealing.SealerToken }).defaultsTo("none"),
		hidden("master_key_previous", "the earlier master key, while it is replaced", func(c *config) *secret.Plain { return &c.House.Sealing.Previous.MasterKey }).defaultsTo("none"),
		text("master_key_previous_file", "file that holds the earlier master key", func(c *config) *string { return &c.House.Sealing.Previous.MasterKeyFile }).defaultsTo("none"),
		text("key_sealer_previous", "URL of the earlier key management service", func(c *config) *string { return &c.House.Sealing.Previous.KeySealer }).defaultsTo("none"),
		text("api_key_prefix", "what API keys begin with", func(c *config) *string { return &c.House.APIKeys.Prefix }),
		span("api_key_max_lifetime", "an API key expires after so long at most", func(c *config) *time.Duration { return &c.House.APIKeys.MaxLifetime }).defaultsTo("no limit"),
		text("api_key_limit_failure", "a limited API key while its limit cannot be counted: closed (503) or open (passes)", func(c *config) *string { return &c.House.APIKeys.LimitFailure }),
		text("leaked_keys", "what becomes of an API key that is reported as leaked: revoke, or quarantine until its owner decides", func(c *config) *string { return &c.House.APIKeys.Leaked }),
		yes("imported_api_keys", "accept API keys that another system made and that were imported", func(c *config) *bool { return &c.House.APIKeys.Imported }),
		span("api_key_usage_retention", "how long it is kept how often API keys were used", func(c *config) *time.Duration { return &c.House.APIKeys.UsageRetention }),
		text("audience", "aud of access tokens", func(c *config) *string { return &c.House.Audience }).defaultsTo("the issuer"),
		span("access_token_ttl", "life of an access token of /api/v1/auth/login", func(c *config) *time.Duration { return &c.House.Tokens.AccessTTL }),
		span("session_token_ttl", "life of a token of /auth/login", func(c *config) *time.Duration { return &c.House.Tokens.SessionTTL }),
		span("refresh_idle_ttl", "a refresh token unused for so long is dead", func(c *config) *time.Duration { return &c.House.Tokens.RefreshIdle }),
		span("refresh_absolute_ttl", "a login is over after so long", func(c *config) *time.Duration { return &c.House.Tokens.RefreshAbsolute }),
		span("refresh_grace", "how long a replaced refresh token may be repeated", func(c *config) *time.Duration { return &c.House.Tokens.RefreshGrace }),
		span("refresh_cooldown", "a refresh repeated within it does not rotate", func(c *config) *time.Duration { return &c.House.Tokens.RefreshCooldown }),
		span("browser_session_ttl", "a browser is signed in to our pages for so long at most", func(c *config) *time.Duration { return &c.House.Tokens.BrowserAbsolute }),
		span("browser_session_idle_ttl", "a browser that does not come by for so long is signed out", func(c *config) *time.Duration { return &c.House.Tokens.BrowserIdle }),
		list("signing_algorithms", "also sign with these, for clients that ask: PS256, EdDSA, ES384", func(c *config) *[]string { return &c.House.Tokens.SigningAlgorithms }).defaultsTo("ES256 and RS256 always do"),
		span("signing_key_lifetime", "a signing key is replaced after so long; 0: never by itself", func(c *config) *time.Duration { return &c.House.Tokens.SigningKeyLife }),
		span("status_list_ttl", "verifiers may keep a status list for so long: a revocation is seen within it", func(c *config) *time.Duration { return &c.House.Tokens.StatusListTTL }),
		text("admin_email", "first administrator, made at the first start", func(c *config) *string { return &c.House.Admin.Email }),
		hidden("admin_password", "password of the first administrator", func(c *config) *secret.Plain { return &c.House.Admin.Password }).defaultsTo("made up, and told once"),
		prefixes("trusted_proxies", "networks whose forwarding headers are believed", func(c *config) *[]netip.Prefix { return &c.House.HTTP.TrustedProxies }).defaultsTo("none"),
		list("cors_origins", "origins that browsers may call from", func(c *config) *[]string { return &c.House.HTTP.CORSOrigins }).defaultsTo("none"),
		list("permissions", "permissions of your resource servers", func(c *config) *[]string { return &c.House.Accounts.Permissions }),
		count("password_min_length", "least characters of a password", func(c *config) *int { return &c.House.Accounts.PasswordMinLength }),
		text("registration", "open, or off where administrators make every account", func(c *config) *string { return &c.House.Accounts.Registration }),
		text("client_registration", "who may register OAuth clients by themselves: off, token (callers with clients:manage) or open (anybody)", func(c *config) *string { return &c.House.Clients.Mode }),
		text("client_registration_org", "slug of the organisation of openly registered clients", func(c *config) *string { return &c.House.Clients.Org }).defaultsTo("the oldest one"),
		span("client_registration_ttl", "an openly registered client is forgotten after so long", func(c *config) *time.Duration { return &c.House.Clients.TTL }),
		count("client_registration_limit", "most openly registered clients", func(c *config) *int { return &c.House.Clients.Limit }),
		count("client_registration_hourly", "most clients that one network may openly register in an hour", func(c *config) *int { return &c.House.Clients.Hourly }),
		span("login_failure_delay", "when a failed login is answered", func(c *config) *time.Duration { return &c.House.Accounts.LoginFailureDelay }),
		text("audit_routine", "what is recorded of ordinary refreshes, API keys and tokens of clients: hourly, the first in an hour, or each", func(c *config) *string { return &c.House.Audit.Routine }),
		span("audit_keep_routine", "how long the audit log keeps ordinary use; 0: for ever", func(c *config) *time.Duration { return &c.House.Audit.Keep.Routine }),
		span("audit_keep_security", "how long it keeps logins, refusals and sessions; 0: for ever", func(c *config) *time.Duration { return &c.House.Audit.Keep.Security }),
		span("audit_keep_administration", "how long it keeps what people changed; 0: for ever", func(c *config) *time.Duration { return &c.House.Audit.Keep.Administration }),
		text("audit_on_failure", "what becomes of that which cannot be recorded: block refuses it, degrade does it and writes the event to the log of the process", func(c *config) *string { return &c.House.Audit.OnFailure }),
		list("audit_outputs", "where the audit log is sent: stdout:, file:///path, syslog+udp://host, syslog+tcp://host, syslog+tls://host, each with ?format=json, cef or ocsf", func(c *config) *[]string { return &c.House.Audit.Outputs }).defaultsTo("none"),
		yes("demo", "serve the demonstration resource server", func(c *config) *bool { return &c.House.HTTP.Demo }),
		yes("pprof", "serve profiles on the operations listener", func(c *config) *bool { return &c.House.HTTP.Pprof }),
		text("log_level", "debug, info, warn or error", func(c *config) *string { return &c.Log.Level }),
		text("log_format", "auto, text or json; auto is text on a terminal", func(c *config) *string { return &c.Log.Format }),
		span("shutdown_delay", "how long to go on answering while /readyz says no, so that load balancers notice", func(c *config) *time.Duration { return &c.Serve.ShutdownDelay }),
		span("shutdown_timeout", "how long requests in flight may take to finish", func(c *config) *time.Duration { return &c.Serve.ShutdownTimeout }),
	}, loginProofSettings(), mailSettings())
}

func (s setting) defaultsTo(words string) setting { s.shown = words; return s }

// usage is the help of the flag, with the default.
func (s setting) usage() string {
	def := s.shown
	if def == "" {
		c := defaults()
		def = s.get(&c)
	}
	if def == "" {
		return s.help
	}
	return s.help + " (default " + def + ")"
}

func text(key, help string, at func(*config) *string) setting {
	return setting{
		key: key, help: help,
		set: func(c *config, v string) error { *at(c) = v; return nil },
		get: func(c *config) string { return *at(c) },
	}
}

func hidden(key, help string, at func(*config) *secret.Plain) setting {
	return setting{
		key: key, help: help, secret: true,
		set: func(c *config, v string) error { *at(c) = secret.Of(v); return nil },
		get: func(*config) string { return "" },
	}
}

func span(key, help string, at func(*config) *time.Duration) setting {
	return setting{
		key: key, help: help,
		set: func(c *config, v string) error {
			d, err := time.ParseDuration(v)
			if err != nil {
				return fmt.Errorf("%q is not a duration; write a number and a unit, such as 90s, 15m or 168h", v)
			}
			*at(c) = d
			return nil
		},
		get: func(c *config) string { return house.Short(*at(c)) },
	}
}

func count(key, help string, at func(*config) *int) setting {
	return setting{
		key: key, help: help,
		set: func(c *config, v string) error {
			n, err := strconv.Atoi(v)
			if err != nil {
				return fmt.Errorf("%q is not a whole number", v)
			}
			*at(c) = n
			return nil
		},
		get: func(c *config) string { return strconv.Itoa(*at(c)) },
	}
}

func yes(key, help string, at func(*config) *bool) setting {
	return setting{
		key: key, help: help, toggle: true,
		set: func(c *config, v string) error {
			b, err := strconv.ParseBool(v)
			if err != nil {
				return fmt.Errorf("%q is neither true nor false", v)
			}
			*at(c) = b
			return nil
		},
		get: func(c *config) string { return strconv.FormatBool(*at(c)) },
	}
}

func list(key, help string, at func(*config) *[]string) setting {
	return setting{
		key: key, help: help, list: true,
		set: func(c *config, v string) error { *at(c) = items(v); return nil },
		get: func(c *config) string { return strings.Join(*at(c), " ") },
	}
}

func prefixes(key, help string, at func(*config) *[]netip.Prefix) setting {
	return setting{
		key: key, help: help, list: true,
		set: func(c *config, v string) error {
			var out []netip.Prefix
			for _, item := range items(v) {
				p, err := netip.ParsePrefix(item)
				if err != nil {
					return fmt.Errorf("%q is not a network; write %s", item, asPrefix(item))
				}
				out = append(out, p.Masked())
			}
			*at(c) = out
			return nil
		},
		get: func(c *config) string { return "" },
	}
}

// asPrefix is what the author of item may have meant.
func asPrefix(item string) string {
	ip, err := netip.ParseAddr(item)
	if err != nil {
		return "an address and a prefix length, such as 10.0.0.0/8"
	}
	return netip.PrefixFrom(ip, ip.BitLen()).String() + " for this one address"
}

// items splits a list at commas and white space.
func items(v string) []string {
	return strings.FieldsFunc(v, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' })
}

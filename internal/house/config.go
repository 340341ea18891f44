// Package house wires a token server from a configuration: it is the map of
// the whole system, read from top to bottom. The command line and the tests
// open the same House.
package house

import (
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
	"github.com/tokenhouse/tokenhouse/keys/signing"
	"github.com/tokenhouse/tokenhouse/oauth"
	"github.com/tokenhouse/tokenhouse/tokens"
)

// Config is what an operator chooses, one struct for each part of the system.
// Defaults gives one that works as it is.
type Config struct {
	Issuer   string // public URL, without a slash at its end; never derived from a request
	Audience string // "aud" of access tokens; the issuer where empty
	DataDir  string // the SQLite database and the generated master key
	Database Database
	Sealing  Sealing
	Tokens   Tokens
	APIKeys  APIKeys
	Accounts Accounts
	Clients  ClientRegistration
	Mail     Mail
	Audit    Audit
	HTTP     HTTP
	Admin    Admin
}

// Database says where everything is kept.
type Database struct {
	URL      string // sqlite://path, sqlite:///path or postgres://…; SQLite in the data directory where empty
	MaxConns int    // bounds the PostgreSQL pool of this process
}

// Sealing says where the master key comes from. Where all is empty, the file
// master.key of the data directory is used, and made for a loopback issuer.
type Sealing struct {
	MasterKey     secret.Plain // 32 bytes in base64 or hexadecimal
	MasterKeyFile string       // a file that holds the same
	Credentials   string       // a directory that may hold master_key (systemd's LoadCredential=)
	KeySealer     string       // the URL of a key management service, which wraps the master key: vault://…
	SealerToken   secret.Plain // what is shown to it: a token of Vault, the PIN of an HSM
	Previous      Previous     // until everything is sealed under the master key above
}

// Previous says where the earlier master key comes from while it is replaced:
// one of the three, or none.
type Previous struct {
	MasterKey     secret.Plain
	MasterKeyFile string
	KeySealer     string
}

// Tokens are the lifetimes of what a login gives.
type Tokens struct {
	AccessTTL       time.Duration // of /api/v1/auth/login
	SessionTTL      time.Duration // of /auth/login, which has no refresh
	RefreshIdle     time.Duration // a refresh token unused for so long is dead
	RefreshAbsolute time.Duration // a login is over after so long, however busy
	RefreshGrace    time.Duration // how long the previous refresh token may be repeated
	RefreshCooldown time.Duration // a repeated refresh within it does not rotate; 0 rotates always
	// SigningAlgorithms sign besides ES256, for access tokens, and RS256, for ID tokens.
	SigningAlgorithms []string
	SigningKeyLife    time.Duration // a signing key is replaced after so long; 0 never does by itself
	StatusListTTL     time.Duration // how long verifiers may keep a status list before they ask again
	BrowserIdle       time.Duration // a browser that does not come by for so long is signed out
	BrowserAbsolute   time.Duration // a browser is signed in for so long at most
}

// APIKeys say what API keys look like, and how long they and their counts live.
type APIKeys struct {
	Prefix         string        // th_live gives th_live_…
	MaxLifetime    time.Duration // of a new key; 0 sets no bound
	LimitFailure   string        // closed or open: a limited key while its limit cannot be counted
	UsageRetention time.Duration // how long the hourly counts are kept
	Leaked         string        // revoke or quarantine: what becomes of a key that is reported as leaked
	Imported       bool          // accept the credentials of imported keys as they are
}

// Accounts are the rules for people.
type Accounts struct {
	Permissions       []string      // those of the resource servers; ours are added
	PasswordMinLength int           // in characters
	Registration      string        // open or off: whether strangers may register
	LoginFailureDelay time.Duration // when, after its start, a failed login is answered
	Proof             LoginProof    // what strangers show at an account that others failed at
}

// HTTP is how we meet the network.
type HTTP struct {
	TrustedProxies []netip.Prefix // whose forwarding headers are believed
	CORSOrigins    []string       // scheme://host[:port] that browsers may call us from
	Demo           bool           // serve the demonstration resource server
	Pprof          bool           // profiles on the operations listener
}

// Admin is the first administrator, made once in an empty database.
type Admin struct {
	Email    string
	Password secret.Plain // made up, and told once, where empty
}

// Registration modes.
const (
	RegistrationOpen = "open"
	RegistrationOff  = "off"
)

// Defaults is the configuration of a server on this machine, for this machine.
func Defaults() Config {
	return Config{
		Issuer:   "http://localhost:8080",
		DataDir:  "data",
		Database: Database{MaxConns: 16},
		Tokens: Tokens{
			AccessTTL:       time.Hour,
			SessionTTL:      24 * time.Hour,
			RefreshIdle:     7 * 24 * time.Hour,
			RefreshAbsolute: 30 * 24 * time.Hour,
			RefreshGrace:    time.Minute,
			RefreshCooldown: 30 * time.Second,
			BrowserIdle:     8 * time.Hour,
			BrowserAbsolute: 24 * time.Hour,
			SigningKeyLife:  90 * 24 * time.Hour,
			StatusListTTL:   tokens.DefaultStatusListTTL,
		},
		APIKeys: APIKeys{Prefix: "th_live", LimitFailure: string(apikeys.FailClosed), UsageRetention: apikeys.DefaultUsageRetention, Leaked: string(apikeys.RevokeLeaked), Imported: true},
		Accounts: Accounts{
			Permissions: []string{
				"agents:read", "agents:create", "agents:delete",
				"incidents:read", "incidents:create", "incidents:delete",
				"metrics:read", "procedures:execute",
			},
			PasswordMinLength: 15,
			Registration:      RegistrationOpen,
			LoginFailureDelay: 250 * time.Millisecond,
			Proof:             defaultLoginProof(),
		},
		Clients: defaultClientRegistration(),
		Mail:    defaultMail(),
		Audit:   defaultAudit(),
		Admin:   Admin{Email: "admin@localhost"},
	}
}

// DatabaseURL is the configured one, or that of the SQLite database in the data directory.
func (c Config) DatabaseURL() string {
	if c.Database.URL != "" {
		return c.Database.URL
	}
	return "sqlite://" + filepath.Join(c.DataDir, "tokenhouse.db")
}

// audience is the "aud" of access tokens.
func (c Config) audience() string {
	if c.Audience != "" {
		return c.Audience
	}
	return c.Issuer
}

// SetupURL is the address of the set-up page for a link's token.
func (c Config) SetupURL(token secret.Plain) string {
	return c.Issuer + "/setup?token=" + token.Reveal()
}

// signingAlgorithms are those that have an active key, the default one first.
// ES256 and RS256 always have: every verifier knows the one or the other.
func (t Tokens) signingAlgorithms() []string {
	out := []string{signing.DefaultAlgorithm, oauth.DefaultIDTokenAlgorithm}
	for _, alg := range t.SigningAlgorithms {
		if !slices.Contains(out, alg) {
			out = append(out, alg)
		}
	}
	return out
}

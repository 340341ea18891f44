package house

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/secret"
)

func TestTheDefaultsAreGood(t *testing.T) {
	c := Defaults()
	c.DataDir = t.TempDir()
	if found := c.Check(); len(found) > 0 {
		t.Errorf("the defaults are refused: %v", found)
	}
	if !c.Development() {
		t.Error("the defaults are no development")
	}
}

func TestEachMistakeIsFoundUnderItsKey(t *testing.T) {
	for key, wrong := range map[string][]func(*Config){
		"issuer": {
			func(c *Config) { c.Issuer = "" },
			func(c *Config) { c.Issuer = "tokens.example.com" },
			func(c *Config) { c.Issuer = "http://tokens.example.com" },
			func(c *Config) { c.Issuer = "ftp://localhost" },
			func(c *Config) { c.Issuer = "http://localhost:8080/" },
			func(c *Config) { c.Issuer = "http://localhost:8080/auth" },
			func(c *Config) { c.Issuer = "http://me@localhost" },
			func(c *Config) { c.Issuer = "http://localhost?x=1" },
			func(c *Config) { c.Issuer = "http://localhost#x" },
			func(c *Config) { c.Issuer = "http://localhost.example.com" },
		},
		"database_url": {
			func(c *Config) { c.Database.URL = "mysql://db/x" },
			func(c *Config) { c.Database.URL = "data/tokenhouse.db" },
			func(c *Config) { c.Database.URL = "sqlite://" },
			func(c *Config) { c.Database.URL = "postgres://me:p%w@db/x" },
		},
		"login_proof":      {func(c *Config) { c.Accounts.Proof.Kind = "captcha" }},
		"login_proof_bits": {func(c *Config) { c.Accounts.Proof.Bits = 7 }, func(c *Config) { c.Accounts.Proof.Bits = 27 }},
		"captcha_site_key": {func(c *Config) { c.Accounts.Proof.Kind, c.Accounts.Proof.Secret = "turnstile", secret.Of("x") }},
		"captcha_secret":   {func(c *Config) { c.Accounts.Proof.Kind, c.Accounts.Proof.SiteKey = "hcaptcha", "x" }},
		"captcha_verify_url": {func(c *Config) {
			c.Accounts.Proof = LoginProof{Kind: "recaptcha", Bits: 18, SiteKey: "x", Secret: secret.Of("x"), VerifyURL: "https://10.0.0.1/siteverify"}
		}},
		"captcha_script_url": {func(c *Config) {
			c.Accounts.Proof = LoginProof{Kind: "recaptcha", Bits: 18, SiteKey: "x", Secret: secret.Of("x"), ScriptURL: "javascript:alert(1)"}
		}},
		"database_max_conns": {func(c *Config) { c.Database.MaxConns = 1 }},
		"key_sealer": {
			func(c *Config) { c.Sealing.KeySealer = "vault://transit/x" }, // no token
			func(c *Config) { c.Sealing.KeySealer = "kms://x" },
			func(c *Config) {
				c.Sealing.KeySealer, c.Sealing.SealerToken = "vault+http://vault.example/transit/x", secret.Of("token")
			},
			func(c *Config) {
				c.Sealing.KeySealer, c.Sealing.SealerToken = "vault://vault.example/transit/x", secret.Of("token")
				c.Sealing.MasterKeyFile = "master.key"
			},
		},
		"master_key_previous": {
			func(c *Config) { c.Sealing.Previous.MasterKey = secret.Of("short") },
			func(c *Config) { c.Sealing.Previous.MasterKeyFile = "no-such-file" },
			func(c *Config) { c.Sealing.Previous.KeySealer = "kms://x" },
		},
		"access_token_ttl":         {func(c *Config) { c.Tokens.AccessTTL = 0 }, func(c *Config) { c.Tokens.AccessTTL = 25 * time.Hour }},
		"session_token_ttl":        {func(c *Config) { c.Tokens.SessionTTL = time.Second }},
		"refresh_idle_ttl":         {func(c *Config) { c.Tokens.RefreshIdle = 31 * 24 * time.Hour }},
		"refresh_absolute_ttl":     {func(c *Config) { c.Tokens.RefreshAbsolute = 400 * 24 * time.Hour }},
		"refresh_grace":            {func(c *Config) { c.Tokens.RefreshGrace = -time.Second }},
		"refresh_cooldown":         {func(c *Config) { c.Tokens.RefreshCooldown = 2 * time.Minute }},
		"signing_algorithms":       {func(c *Config) { c.Tokens.SigningAlgorithms = []string{"EdDSA", "HS256"} }},
		"signing_key_lifetime":     {func(c *Config) { c.Tokens.SigningKeyLife = time.Hour }, func(c *Config) { c.Tokens.SigningKeyLife = -time.Hour }},
		"browser_session_ttl":      {func(c *Config) { c.Tokens.BrowserAbsolute = 400 * 24 * time.Hour }},
		"browser_session_idle_ttl": {func(c *Config) { c.Tokens.BrowserIdle = 25 * time.Hour }, func(c *Config) { c.Tokens.BrowserIdle = time.Second }},
		"api_key_prefix": {
			func(c *Config) { c.APIKeys.Prefix = "" },
			func(c *Config) { c.APIKeys.Prefix = "acme_" },
			func(c *Config) { c.APIKeys.Prefix = "Acme" },
			func(c *Config) { c.APIKeys.Prefix = "acme__live" },
			func(c *Config) { c.APIKeys.Prefix = "thr" },
			func(c *Config) { c.APIKeys.Prefix = "thb" },
			func(c *Config) { c.APIKeys.Prefix = "thc" },
			func(c *Config) { c.APIKeys.Prefix = strings.Repeat("x", 25) },
		},
		"permissions":                {func(c *Config) { c.Accounts.Permissions = []string{"agents"} }, func(c *Config) { c.Accounts.Permissions = []string{"agents:*"} }},
		"password_min_length":        {func(c *Config) { c.Accounts.PasswordMinLength = 7 }},
		"registration":               {func(c *Config) { c.Accounts.Registration = "maybe" }},
		"client_registration":        {func(c *Config) { c.Clients.Mode = "maybe" }, func(c *Config) { c.Clients.Mode = "" }},
		"client_registration_ttl":    {func(c *Config) { c.Clients.TTL = time.Minute }},
		"client_registration_limit":  {func(c *Config) { c.Clients.Limit = 0 }},
		"client_registration_hourly": {func(c *Config) { c.Clients.Hourly = 0 }},
		"audit_routine":              {func(c *Config) { c.Audit.Routine = "daily" }},
		"audit_on_failure":           {func(c *Config) { c.Audit.OnFailure = "" }},
		"audit_outputs":              {func(c *Config) { c.Audit.Outputs = []string{"siem:514"} }, func(c *Config) { c.Audit.Outputs = []string{"stdout:", "stdout:?format=cef"} }},
		"audit_keep_routine":         {func(c *Config) { c.Audit.Keep.Routine = time.Hour }},
		"audit_keep_security":        {func(c *Config) { c.Audit.Keep.Security = -time.Hour }},
		"audit_keep_administration":  {func(c *Config) { c.Audit.Keep.Administration = 101 * 365 * 24 * time.Hour }},
		"login_failure_delay":        {func(c *Config) { c.Accounts.LoginFailureDelay = time.Minute }},
		"cors_origins": {
			func(c *Config) { c.HTTP.CORSOrigins = []string{"*"} },
			func(c *Config) { c.HTTP.CORSOrigins = []string{"https://app.example.com/"} },
			func(c *Config) { c.HTTP.CORSOrigins = []string{"app.example.com"} },
		},
		"trusted_proxies": {func(c *Config) { c.HTTP.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")} }},
		"admin_email":     {func(c *Config) { c.Admin.Email = "admin" }, func(c *Config) { c.Admin.Email = "@localhost" }},
		"master_key":      {func(c *Config) { c.Sealing.MasterKey = secret.Of("too short") }},
	} {
		for i, change := range wrong {
			c := Defaults()
			c.DataDir = t.TempDir()
			change(&c)
			found := c.Check()
			if len(found) != 1 || found[0].Key != key || found[0].Warning || found[0].Problem == "" || found[0].Fix == "" {
				t.Errorf("%s, case %d: found %+v", key, i, found)
			}
		}
	}
}

func TestNoFindingShowsASecret(t *testing.T) {
	c := Defaults()
	c.DataDir = t.TempDir()
	c.Database.URL = "postgres://me:pass%word@db/x"
	c.Sealing.MasterKey = secret.Of("short-master")
	c.Admin.Password = secret.Of("short-admin")
	found := c.Check()
	if len(found) != 3 {
		t.Errorf("found %+v", found)
	}
	for _, f := range found {
		for _, s := range []string{"pass%word", "short-master", "short-admin"} {
			if strings.Contains(f.Problem+f.Fix, s) {
				t.Errorf("%+v shows %s", f, s)
			}
		}
	}
}

func TestProductionNeedsAMasterKeyAndAProxy(t *testing.T) {
	c := Defaults()
	c.DataDir = t.TempDir()
	c.Issuer = "https://tokens.example.com"
	keys := func() (out []string) {
		for _, f := range c.Check() {
			out = append(out, f.Key+map[bool]string{true: " (warning)"}[f.Warning])
		}
		return out
	}
	if got := keys(); !slices.Equal(got, []string{"master_key_file", "trusted_proxies (warning)"}) {
		t.Errorf("found %v", got)
	}
	c.Sealing.MasterKeyFile = filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(c.Sealing.MasterKeyFile, []byte(strings.Repeat("k", 32)), 0o644); err != nil {
		t.Fatal(err)
	}
	c.HTTP.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	if got := keys(); !slices.Equal(got, []string{"master_key_file"}) {
		t.Errorf("a key that everybody may read: found %v", got)
	}
	if err := os.Chmod(c.Sealing.MasterKeyFile, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := keys(); got != nil {
		t.Errorf("found %v", got)
	}
	c.Sealing.MasterKey = secret.Of(strings.Repeat("m", 32))
	if got := keys(); !slices.Equal(got, []string{"master_key"}) {
		t.Errorf("two master keys: found %v", got)
	}
}

// chosen is a reader whose bytes are all the same.
type chosen byte

func (c chosen) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(c)
	}
	return len(b), nil
}

func TestTheGeneratedMasterKeyIsPrivateAndKept(t *testing.T) {
	c := Defaults()
	c.DataDir = filepath.Join(t.TempDir(), "data")
	first, note, err := c.masterKey(chosen(1))
	if err != nil || !strings.Contains(note, "made in") {
		t.Fatalf("%q, %v", note, err)
	}
	st, err := os.Stat(filepath.Join(c.DataDir, masterKeyFile))
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	second, note, err := c.masterKey(chosen(2))
	if err != nil || string(first) != string(second) || !strings.Contains(note, "read from") {
		t.Errorf("the second start has another key: %q, %v", note, err)
	}
	third, _, err := makeMasterKey(filepath.Join(c.DataDir, masterKeyFile), chosen(3))
	if err != nil || string(third) != string(first) {
		t.Errorf("of two processes that start together one overwrites the other's key: %v", err)
	}
	c.Issuer = "https://tokens.example.com"
	if _, _, err := c.masterKey(chosen(4)); err != nil {
		t.Errorf("an existing key is not used in production: %v", err)
	}
	c.DataDir = t.TempDir()
	if _, _, err := c.masterKey(chosen(5)); err == nil {
		t.Error("a key was made up in production")
	}
}

func TestTheMasterKeyComesFromWhereverItIsConfigured(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	c := Defaults()
	c.DataDir = t.TempDir()
	write("master_key", strings.Repeat("c", 32))
	c.Sealing.Credentials = dir
	if key, _, err := c.masterKey(chosen(1)); err != nil || string(key) != strings.Repeat("c", 32) {
		t.Errorf("systemd's credential: %q, %v", key, err)
	}
	c.Sealing.MasterKeyFile = write("file", strings.Repeat("f", 32))
	if key, _, err := c.masterKey(chosen(1)); err != nil || string(key) != strings.Repeat("f", 32) {
		t.Errorf("the file: %q, %v", key, err)
	}
	c.Sealing.MasterKey = secret.Of(strings.Repeat("e", 32))
	if key, _, err := c.masterKey(chosen(1)); err != nil || string(key) != strings.Repeat("e", 32) {
		t.Errorf("the environment: %q, %v", key, err)
	}
}

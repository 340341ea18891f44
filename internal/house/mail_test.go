package house

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tokenhouse/tokenhouse/internal/secret"
)

func TestMistakesAboutMailAreFound(t *testing.T) {
	good := func(c *Config) {
		c.Mail.Server, c.Mail.From = "smtp.example.com:587", "Tokens <tokens@example.com>"
		c.Mail.Username, c.Mail.Password = "tokens", secret.Of("hush-hush")
	}
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		change func(*Mail)
		key    string // empty: nothing is wrong
		warns  bool
	}{
		"as it should be":             {func(*Mail) {}, "", false},
		"without a name":              {func(m *Mail) { m.Username, m.Password = "", secret.Plain{} }, "", false},
		"no port":                     {func(m *Mail) { m.Server = "smtp.example.com" }, "smtp_server", false},
		"no host":                     {func(m *Mail) { m.Server = ":25" }, "smtp_server", false},
		"a port that is none":         {func(m *Mail) { m.Server = "smtp.example.com:smtp" }, "smtp_server", false},
		"settings without a server":   {func(m *Mail) { m.Server = "" }, "smtp_server", true},
		"unknown security":            {func(m *Mail) { m.Security = "ssl" }, "smtp_security", false},
		"a password in clear":         {func(m *Mail) { m.Security = "none" }, "smtp_security", false},
		"in clear, elsewhere":         {func(m *Mail) { m.Security, m.Username, m.Password = "none", "", secret.Plain{} }, "smtp_security", true},
		"in clear, here":              {func(m *Mail) { m.Security, m.Server = "none", "127.0.0.1:25" }, "", false},
		"no sender":                   {func(m *Mail) { m.From = "" }, "smtp_from", false},
		"a sender of two lines":       {func(m *Mail) { m.From = "a@example.com\r\nBcc: b@example.com" }, "smtp_from", false},
		"two senders":                 {func(m *Mail) { m.From = "a@example.com, b@example.com" }, "smtp_from", false},
		"a name without a password":   {func(m *Mail) { m.Password = secret.Plain{} }, "smtp_username", false},
		"a password without a name":   {func(m *Mail) { m.Username = "" }, "smtp_username", false},
		"no file of authorities":      {func(m *Mail) { m.CAFile = empty + ".none" }, "smtp_ca_file", false},
		"a file without certificates": {func(m *Mail) { m.CAFile = empty }, "smtp_ca_file", false},
	} {
		c := Defaults()
		c.DataDir = t.TempDir()
		good(&c)
		tt.change(&c.Mail)
		found := c.Check()
		if tt.key == "" {
			if len(found) > 0 {
				t.Errorf("%s: %+v", name, found)
			}
			continue
		}
		if len(found) != 1 || found[0].Key != tt.key || found[0].Warning != tt.warns || found[0].Fix == "" || strings.Contains(found[0].Problem, "hush-hush") {
			t.Errorf("%s: %+v", name, found)
		}
	}
}

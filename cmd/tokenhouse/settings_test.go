package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func TestTheReadmeListsEverySettingWithItsDefault(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range settings() {
		i := strings.Index(string(readme), "| `"+s.env()+"` |")
		if i < 0 {
			t.Errorf("README.md does not list %s", s.env())
			continue
		}
		row, _, _ := strings.Cut(string(readme)[i:], "\n")
		c := defaults()
		if def := s.get(&c); def != "" && s.shown == "" && !s.list && !strings.Contains(row, "`"+def+"`") {
			t.Errorf("README.md says %q, the default is %s", row, def)
		}
	}
}

func TestDurationsAndListsMeanTheSameEverywhere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "house.yaml")
	file := "refresh_grace: 2m\ntrusted_proxies: [10.0.0.0/8, 127.0.0.1/32]\ndemo: true\npassword_min_length: 20\n"
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	flags.String("trusted-proxies", "", "")
	if err := flags.Parse([]string{"--trusted-proxies", "10.0.0.0/8 127.0.0.1/32"}); err != nil {
		t.Fatal(err)
	}
	none := pflag.NewFlagSet("none", pflag.ContinueOnError)
	for name, s := range map[string]source{
		"file":        {file: path, flags: none},
		"environment": {flags: none, environ: []string{"TOKENHOUSE_REFRESH_GRACE=2m", "TOKENHOUSE_TRUSTED_PROXIES=10.0.0.0/8,127.0.0.1/32", "TOKENHOUSE_DEMO=1", "TOKENHOUSE_PASSWORD_MIN_LENGTH=20"}},
		"flags":       {file: path, flags: flags, environ: []string{"TOKENHOUSE_TRUSTED_PROXIES=192.0.2.0/24"}},
	} {
		c, found := s.load()
		var proxies []string
		for _, p := range c.House.HTTP.TrustedProxies {
			proxies = append(proxies, p.String())
		}
		if len(found) > 0 || c.House.Tokens.RefreshGrace.Minutes() != 2 || !slices.Equal(proxies, []string{"10.0.0.0/8", "127.0.0.1/32"}) ||
			!c.House.HTTP.Demo || c.House.Accounts.PasswordMinLength != 20 {
			t.Errorf("%s: %+v, mistakes %v", name, c.House, found)
		}
	}
}

// A value never reaches a message: it may be a secret in the wrong line.
func TestABrokenFileIsExplainedWithoutItsText(t *testing.T) {
	for name, text := range map[string]string{
		"no YAML":      "admin_password: \"hush-hush\nissuer: x",
		"nested":       "issuer:\n  admin_password: hush-hush\n",
		"twice":        "admin_password: hush-hush\nadmin_password: hush-hush\n",
		"list of maps": "- admin_password: hush-hush\n",
		"unknown":      "admin_pasword: hush-hush\n",
	} {
		path := filepath.Join(t.TempDir(), "house.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, found := source{file: path, flags: pflag.NewFlagSet("none", pflag.ContinueOnError)}.load()
		if mistakes(found) == 0 {
			t.Errorf("%s: nothing was found", name)
		}
		for _, m := range found {
			if strings.Contains(m.String(), "hush") {
				t.Errorf("%s: the message holds the value: %s", name, m)
			}
		}
	}
}

func TestTheNearestSettingIsSuggested(t *testing.T) {
	for typed, want := range map[string]string{"isuer": "issuer", "acces_tokn_ttl": "access_token_ttl", "refesh_grace": "refresh_grace", "xyzzy": "tokenhouse serve --help lists the settings"} {
		if got := suggestion(typed, func(s setting) string { return s.key }); got != want {
			t.Errorf("%s: suggested %s, want %s", typed, got, want)
		}
	}
}

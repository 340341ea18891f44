package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/tokenhouse/tokenhouse/internal/house"
)

// greeting tells whoever started the server what to do next. Credentials are
// told at the first start only, and a password only where we made it up.
func greeting(conf config, backend string, first house.First) string {
	var w strings.Builder
	issuer := conf.House.Issuer
	fmt.Fprintf(&w, "tokenhouse %s\n\n", version)
	fmt.Fprintf(&w, "  issuer       %s\n", issuer)
	if conf.House.Development() {
		fmt.Fprint(&w, "               clear HTTP: for development, on this machine only\n")
	}
	fmt.Fprintf(&w, "  database     %s\n  master key   %s\n", backend, first.MasterKey)
	if first.Created {
		fmt.Fprintf(&w, "  set-up link  %s\n", conf.House.SetupURL(first.Link))
		fmt.Fprintf(&w, "               choose your own e-mail and password there; once, until %s\n", first.LinkExpires.UTC().Format("2006-01-02 15:04 UTC"))
		fmt.Fprintf(&w, "  e-mail       %s\n", first.Email)
		if first.Generated {
			fmt.Fprintf(&w, "  password     %s\n               told now and never again\n", first.Password.Reveal())
		} else {
			fmt.Fprint(&w, "  password     the one in TOKENHOUSE_ADMIN_PASSWORD\n")
		}
		fmt.Fprint(&w, "\nTry it, in another terminal:\n\n", strings.Join(firstLines(conf, first), "\n"), "\n")
	}
	fmt.Fprintf(&w, "\nServing. Stop with Ctrl-C.\n")
	return w.String()
}

// firstLines are three commands that work as they stand, in any POSIX shell.
func firstLines(conf config, first house.First) []string {
	issuer := conf.House.Issuer
	body := shellQuote(login(first.Email, first.Password.Reveal()))
	if !first.Generated {
		// The shell that has the password in its environment puts it in.
		body = shellQuote(strings.TrimSuffix(login(first.Email, ""), `"}`)) + `"$TOKENHOUSE_ADMIN_PASSWORD"` + shellQuote(`"}`)
	}
	what, permission := "/api/v1/me", "api-keys:read"
	if conf.House.HTTP.Demo {
		what, permission = "/api/v1/agents", "agents:read"
	}
	return []string{
		`TOKEN=$(curl -s ` + issuer + `/api/v1/auth/login -H 'Content-Type: application/json' -d ` + body + ` | sed 's/.*"access_token":"\([^"]*\)".*/\1/')`,
		`curl -s ` + issuer + what + ` -H "Authorization: Bearer $TOKEN"`,
		`curl -s ` + issuer + `/api/v1/api-keys -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' -d '{"name":"first-key","permissions":["` + permission + `"]}'`,
	}
}

func login(email, password string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(struct { // strings always encode
		Email    string `json:"email"`
		Password string `json:"password"`
	}{email, password})
	return strings.TrimSpace(b.String())
}

// shellQuote makes s one word of a POSIX shell.
func shellQuote(s string) string { return `'` + strings.ReplaceAll(s, `'`, `'\''`) + `'` }

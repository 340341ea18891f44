package main

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/tokenhouse/tokenhouse/internal/housetest"
	"github.com/tokenhouse/tokenhouse/oauth"
	"github.com/tokenhouse/tokenhouse/tokens"
)

// signedInTo opens a browser session of the administrator and one that it
// delegated to a client.
func signedInTo(t *testing.T, h *housetest.Harness, client oauth.Registered) (browser, app tokens.Family) {
	t.Helper()
	err := h.House().DB.Sessions().InTx(t.Context(), func(tx tokens.Tx) error {
		in, err := h.House().Sessions.SignIn(tx, h.Clock.Now(), "", tokens.Opening{User: h.Admin.ID, Org: h.Admin.Org, Method: "password"})
		if err != nil {
			return err
		}
		browser = in.Family
		app, _, err = h.House().Sessions.Begin(tx, h.Clock.Now(), tokens.Opening{
			User: h.Admin.ID, Org: h.Admin.Org, Client: client.ID, Method: "password", Refreshable: true,
			Delegation: tokens.Delegation{Browser: browser.ID, Offline: true, Authorization: `{"scope":["openid"]}`},
		})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return browser, app
}

// The list of sessions names the clients behind them, for people and for
// programs.
func TestSessionListNamesTheClients(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	client, _, err := h.House().Clients.Create(t.Context(), h.Operator(h.Admin.Org), oauth.Registration{
		Name: "Web shop", Grants: []string{oauth.GrantAuthorizationCode, oauth.GrantRefreshToken}, RedirectURIs: []string{"https://shop.example/cb"}, Scopes: []string{"openid"},
	})
	if err != nil {
		t.Fatal(err)
	}
	browser, app := signedInTo(t, h, client)
	list := func(args ...string) []byte {
		t.Helper()
		var out, said bytes.Buffer
		p := process{
			Args: append([]string{"session", "list", "--org", "default"}, args...), Stdin: strings.NewReader(""), Stdout: &out, Stderr: &said, Now: h.Clock.Now,
			Environ: []string{
				"TOKENHOUSE_ISSUER=" + h.Config.Issuer, "TOKENHOUSE_DATABASE_URL=" + h.Config.Database.URL,
				"TOKENHOUSE_DATA_DIR=" + h.Config.DataDir, "TOKENHOUSE_MASTER_KEY=" + h.Config.Sealing.MasterKey.Reveal(),
			},
		}
		if code := p.run(t.Context()); code != 0 {
			t.Fatalf("exit code %d: %s", code, &said)
		}
		return out.Bytes()
	}
	var views []sessionView
	if err := json.Unmarshal(list("--output", "json"), &views); err != nil || len(views) != 2 {
		t.Fatalf("%+v, %v", views, err)
	}
	for _, v := range views {
		switch v.ID {
		case browser.ID:
			if v.Client != tokens.BrowserClient || v.ClientName != "" || len(v.Clients) != 1 || v.Clients[0].Name != "Web shop" || v.Clients[0].ID != client.ID || !v.Clients[0].Offline {
				t.Errorf("the browser's session: %+v", v)
			}
		case app.ID:
			if v.Client != client.ID || v.ClientName != "Web shop" || v.Clients != nil {
				t.Errorf("the client's session: %+v", v)
			}
		default:
			t.Errorf("a session of nobody: %+v", v)
		}
	}
	lines := strings.Split(strings.TrimSpace(string(list())), "\n")
	slices.Sort(lines)
	table := strings.Join(lines, "\n")
	if len(lines) != 3 || !strings.Contains(table, "CLIENT") || !strings.Contains(table, "cli_browser: Web shop") || strings.Count(table, "Web shop") != 2 {
		t.Errorf("the table:\n%s", table)
	}
}

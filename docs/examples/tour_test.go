package examples_test

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// openid-client completes everything it can ask for: discovery, code
// and PKCE, ID tokens, userinfo, refresh, introspection, revocation, logout,
// client_credentials, private_key_jwt and dynamic registration.
func TestOpenidClientAsksForEverything(t *testing.T) {
	c := newClone(t, "TOKENHOUSE_CLIENT_REGISTRATION=open")
	c.npm("node-tour")
	c.npm("node-service")
	c.run("node", "docs/examples/node-service/new-key.mjs")
	// Who registers itself is in the first organisation, of which the administrator is a member.
	web := c.register("--name", "Tour", "--grant", "authorization_code,refresh_token", "--scope", "openid profile email offline_access",
		"--redirect-uri", "https://app.example/callback", "--post-logout-redirect-uri", "https://app.example/bye")
	service := c.register("--name", "Tour's service", "--grant", "client_credentials", "--scope", "incidents:read",
		"--auth-method", "private_key_jwt", "--jwks-file", "public.json")

	cmd := exec.Command("node", "docs/examples/node-tour/tour.mjs")
	cmd.Dir = c.dir
	cmd.Env = append(c.env, "ISSUER=http://"+c.house, "EMAIL=admin@localhost", "PASSWORD="+adminPassword, "REGISTRATION=open", "REGISTRATION_TOKEN="+c.administrator(),
		"WEB_ID="+web.ID, "WEB_SECRET="+web.Secret, "SERVICE_ID="+service.ID, "SERVICE_KEY="+filepath.Join(c.dir, "private.json"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if done := strings.Count(string(out), "ok "); done != 15 {
		t.Errorf("%d stops were made\n%s", done, out)
	}
}

// administrator is an access token of the first administrator's.
func (c *clone) administrator() string {
	c.t.Helper()
	body := `{"email":"admin@localhost","password":"` + adminPassword + `"}`
	res, err := http.Post("http://"+c.house+"/api/v1/auth/login", "application/json", strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	var reply struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(res.Body).Decode(&reply); err != nil || reply.Token == "" {
		c.t.Fatalf("login: %s %v", res.Status, err)
	}
	return reply.Token
}

// registered is a client as the command line prints it.
type registered struct {
	ID     string `json:"client_id"`
	Secret string `json:"client_secret"`
}

// register makes a client of the first organisation.
func (c *clone) register(args ...string) (r registered) {
	c.t.Helper()
	out := c.run("./bin/tokenhouse", append([]string{"client", "create", "--output", "json"}, args...)...)
	if err := json.Unmarshal(out, &r); err != nil {
		c.t.Fatalf("%v: %s", err, out)
	}
	return r
}

// npm installs what an example uses.
func (c *clone) npm(example string) {
	c.t.Helper()
	c.run("npm", "ci", "--prefix", "docs/examples/"+example)
}

// run runs a command in the clone, and returns what it prints.
func (c *clone) run(name string, args ...string) []byte {
	c.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env, cmd.Stderr = c.dir, c.env, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		c.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

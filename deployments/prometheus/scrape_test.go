package prometheus_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// patience bounds how long the Prometheus may take for anything.
const patience = 45 * time.Second

// server is a Prometheus of Debian's package.
type server struct {
	url  string
	said *bytes.Buffer
}

// startPrometheus starts one with the shipped configuration, which scrapes those addresses, and more often.
func startPrometheus(t *testing.T, targets ...string) *server {
	t.Helper()
	program, err := exec.LookPath("prometheus")
	if err != nil {
		t.Fatal("prometheus is missing; install Debian's package of that name:", err)
	}
	dir := t.TempDir()
	for _, file := range files(t, "rules/*.yml") {
		if err := os.MkdirAll(filepath.Join(dir, "rules"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, file), []byte(read(t, file)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config := read(t, "prometheus.yml")
	for _, change := range [][2]string{
		{"scrape_interval: 15s", "scrape_interval: 500ms\n  scrape_timeout: 500ms"}, {"evaluation_interval: 15s", "evaluation_interval: 500ms"},
		{`["127.0.0.1:9464"]`, fmt.Sprintf(`["%s"]`, strings.Join(targets, `", "`))},
	} {
		if !strings.Contains(config, change[0]) {
			t.Fatalf("prometheus.yml has no %s", change[0])
		}
		config = strings.Replace(config, change[0], change[1], 1)
	}
	if err := os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	p := &server{url: "http://" + address, said: &bytes.Buffer{}}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, program, "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+address, "--log.level=warn")
	cmd.Stdout, cmd.Stderr = p.said, p.said
	if err := cmd.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it was killed
		if t.Failed() {
			t.Logf("prometheus said:\n%s", p.said)
		}
	})
	return p
}

// sample is one element of a vector.
type sample struct {
	Metric map[string]string `json:"metric"`
	Value  [2]any            `json:"value"`
}

// get asks the HTTP API and decodes what is under "data".
func (p *server) get(path string, values url.Values, into any) error {
	res, err := http.Get(p.url + path + "?" + values.Encode())
	if err != nil {
		return err
	}
	defer res.Body.Close()
	var reply struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.NewDecoder(res.Body).Decode(&reply); err != nil {
		return err
	}
	if reply.Status != "success" {
		return fmt.Errorf("%s: %s", path, reply.Error)
	}
	return json.Unmarshal(reply.Data, into)
}

// query gives the elements of an instant vector that are numbers.
func (p *server) query(expr string) ([]sample, error) {
	var data struct{ Result []sample }
	if err := p.get("/api/v1/query", url.Values{"query": {expr}}, &data); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(data.Result, func(s sample) bool { return s.Value[1] == "NaN" }), nil
}

// until asks again and again until nothing is missing, or gives what still is.
func until[T any](missing func() map[string]T) map[string]T {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	over := time.After(patience)
	for {
		left := missing()
		if len(left) == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-over:
			return left
		}
	}
}

// unanswered are the expressions to which the Prometheus has no data, with why.
func (p *server) unanswered(exprs []string) map[string]string {
	out := map[string]string{}
	for _, e := range exprs {
		if got, err := p.query(e); err != nil {
			out[e] = err.Error()
		} else if len(got) == 0 {
			out[e] = "no data"
		}
	}
	return out
}

// board is what the test needs of the dashboard.
type board struct {
	Panels []struct {
		Title, Type, Description string
		Targets                  []struct{ Expr string }
	}
	Templating struct {
		List []struct{ Name, Type, Definition string }
	}
}

func dashboard(t *testing.T) (b board) {
	t.Helper()
	if err := json.Unmarshal([]byte(read(t, "../grafana/tokenhouse.json")), &b); err != nil {
		t.Fatal(err)
	}
	return b
}

// variables are what Grafana puts into a query.
var variables = strings.NewReplacer("$__rate_interval", "1m", "$job", "tokenhouse", "$instance", ".*")

// A real Prometheus scrapes two replicas that live through what the alerts and the dashboard are about. It accepts every rule, each of
// our selectors finds series, each query of the dashboard has data, and what happened fires its alert and nothing else.
// FLT-CLU-06: that a signing key was revoked is a metric and an alert.
func TestPrometheusWatchesAServer(t *testing.T) {
	var broken atomic.Bool
	h := housetest.Start(t, housetest.Options{Replicas: 2, Postgres: true,
		Config: func(c *house.Config) { c.Tokens.RefreshCooldown, c.Tokens.RefreshGrace = 0, 0 },
		Env: func(_ int, env *house.Env) {
			env.Now = time.Now
			env.Hooks.Before = func(statement string) error {
				if statement == "commit" && broken.Load() {
					return errors.New("the disk is full")
				}
				return nil
			}
		}})
	p := startPrometheus(t, strings.TrimPrefix(h.Replicas[0].Ops, "http://"), strings.TrimPrefix(h.Replicas[1].Ops, "http://"))
	if left := until(func() map[string]string { return p.unanswered([]string{`count(up == 1) == 2`}) }); left != nil {
		t.Fatalf("the replicas are not scraped: %v", left)
	}
	admin := live(t, h)
	broken.Store(true)
	admin.Post("/api/v1/api-keys", `{"name":"lost","permissions":["agents:read"]}`).Expect(http.StatusServiceUnavailable)
	broken.Store(false)

	fired := []string{
		"TokenhouseAPIKeyLeaked", "TokenhouseAuditWriteFailures", "TokenhouseRefreshTokenStolen", "TokenhouseSigningKeyRevoked",
	}
	wanted := slices.Concat(queries(t), selectors(t), recordings(t))
	for _, a := range fired {
		wanted = append(wanted, `ALERTS{alertstate="firing",alertname="`+a+`"}`)
	}
	for expr, why := range until(func() map[string]string {
		admin.Get("/api/v1/me").Expect(http.StatusOK) // a rate needs more than one
		return p.unanswered(wanted)
	}) {
		t.Errorf("%s: %s", why, expr)
	}
	p.rulesAreHealthy(t)
	firing, err := p.query(`count by (alertname) (ALERTS{alertstate="firing"})`)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range firing {
		if !slices.Contains(fired, s.Metric["alertname"]) {
			t.Errorf("%s fires", s.Metric["alertname"])
		}
	}
	count, err := p.query(`max(scrape_samples_scraped)`)
	if err != nil || len(count) != 1 {
		t.Fatal(count, err)
	}
	t.Logf("%d queries have data; a replica exports %v samples; firing: %d", len(wanted), count[0].Value[1], len(firing))
}

// live has two replicas do what there are metrics of, and gives the administrator who did it.
func live(t *testing.T, h *housetest.Harness) *housetest.Client {
	t.Helper()
	c := h.Client()
	s := c.Login(h.Admin.Email, h.Admin.Password)
	admin := c.As(s.Access)
	c.TryLogin(h.Admin.Email, "wrong").Expect(http.StatusUnauthorized)
	admin.Get("/api/v1/me").Expect(http.StatusOK)
	c.As(s.Access + "x").Get("/api/v1/me").Expect(http.StatusUnauthorized)
	c.Get("/nowhere").Expect(http.StatusNotFound)

	theirs := c.Login(h.Admin.Email, h.Admin.Password)
	next := c.Refresh(theirs.Refresh).Expect(http.StatusOK).Text("refresh_token")
	c.Refresh(next).Expect(http.StatusOK)
	if r := c.Agent("thief").From("203.0.113.5").Refresh(theirs.Refresh).Expect(http.StatusUnauthorized); r.Text("reason") != "reuse_detected" {
		t.Fatalf("a stolen token is answered %s", r)
	}

	_, leaked := admin.CreateKey("leaked", "agents:read")
	c.WithKey(leaked).Get("/api/v1/me").Expect(http.StatusOK)
	c.Post("/api/v1/leaked-keys", map[string]any{"keys": []string{leaked}}).Expect(http.StatusAccepted)
	id, _ := admin.CreateKey("revoked", "agents:read")
	admin.Delete("/api/v1/api-keys/" + id + "?wait=all").Expect(http.StatusNoContent)

	for _, path := range []string{statusList(t, h, s.Access)} {
		c.Get(path).Expect(http.StatusOK)
	}
	var keys struct {
		Keys []struct{ Kid, Alg string }
	}
	c.Get("/.well-known/jwks.json").Expect(http.StatusOK).Decode(&keys)
	for _, k := range keys.Keys {
		if k.Alg == "RS256" {
			admin.Post("/api/v1/signing-keys/"+k.Kid+"/revoke", nil).Expect(http.StatusNoContent)
		}
	}
	admin.Post("/api/v1/signing-keys/rotate", map[string]string{"algorithm": "ES256"}).Expect(http.StatusOK)
	return admin
}

// statusList is the path of the list that an access token names.
func statusList(t *testing.T, h *housetest.Harness, token string) string {
	t.Helper()
	body, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims struct {
		Status struct {
			List struct{ URI string } `json:"status_list"`
		}
	}
	if err := json.Unmarshal(body, &claims); err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(claims.Status.List.URI, h.Config.Issuer)
}

// queries are those of the dashboard.
func queries(t *testing.T) (out []string) {
	t.Helper()
	for _, p := range dashboard(t).Panels {
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("the panel %s asks nothing", p.Title)
		}
		for _, q := range p.Targets {
			out = append(out, variables.Replace(q.Expr))
		}
	}
	if len(out) < 40 {
		t.Errorf("the dashboard asks only %d questions", len(out))
	}
	return out
}

// selectors are those of ours in the alerts and recordings: a label that no series has would make an alert that never fires.
func selectors(t *testing.T) []string {
	t.Helper()
	found := map[string]bool{}
	for _, r := range shipped(t) {
		for _, s := range regexp.MustCompile(`tokenhouse_[a-z_]+\{[^}]*\}`).FindAllString(r.Expr, -1) {
			if !strings.Contains(s, ":") && !strings.Contains(r.Expr, ":"+s) {
				found[s] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

func recordings(t *testing.T) (out []string) {
	t.Helper()
	for _, r := range shipped(t) {
		if r.Record != "" {
			out = append(out, r.Record)
		}
	}
	return out
}

// rulesAreHealthy fails the test where the Prometheus could not evaluate a rule.
func (p *server) rulesAreHealthy(t *testing.T) {
	t.Helper()
	var data struct {
		Groups []struct {
			Rules []struct{ Name, Health, LastError string }
		}
	}
	if err := p.get("/api/v1/rules", nil, &data); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, g := range data.Groups {
		for _, r := range g.Rules {
			n++
			if r.Health != "ok" {
				t.Errorf("the rule %s is %s: %s", r.Name, r.Health, r.LastError)
			}
		}
	}
	if want := len(shipped(t)); n != want {
		t.Errorf("prometheus has %d rules, we ship %d", n, want)
	}
}

// docs/monitoring.md has a row for each panel: where no Grafana is at hand it says what one would show.
func TestEveryPanelIsDocumented(t *testing.T) {
	page := read(t, "../../docs/monitoring.md")
	for _, p := range dashboard(t).Panels {
		if p.Type != "row" && !strings.Contains(page, "| "+p.Title+" | "+p.Description+" |") {
			t.Errorf("docs/monitoring.md does not tell of the panel %q as the dashboard does: %q", p.Title, p.Description)
		}
	}
}

package nginx_test

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/tokenhouse/tokenhouse/internal/pgtest"
	"github.com/tokenhouse/tokenhouse/internal/shippedtest"
)

const adminPassword = "correct horse battery staple"

// house is a tokenhouse process with the settings of ../compose/postgres.yaml.
type house struct {
	address, ops string
	cmd          *exec.Cmd
}

// shippedSettings gives the environment of the replicas in the compose file.
func shippedSettings(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../compose/postgres.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var compose struct {
		Replica struct{ Environment map[string]string } `yaml:"x-replica"`
	}
	if err := yaml.Unmarshal(text, &compose); err != nil {
		t.Fatal(err)
	}
	return compose.Replica.Environment
}

// startHouses starts n replicas on one fresh PostgreSQL. What names another machine of the compose file is replaced, nothing else.
func startHouses(t *testing.T, n int) []*house {
	t.Helper()
	dir := t.TempDir()
	binary := filepath.Join(dir, "tokenhouse")
	if err := shippedtest.Build(binary); err != nil {
		t.Fatal(err)
	}
	key := []byte(strings.Repeat("0123456789abcdef", 4) + "\n")
	if err := os.WriteFile(filepath.Join(dir, "master-key"), key, 0o400); err != nil {
		t.Fatal(err)
	}
	settings := shippedSettings(t)
	for name, value := range map[string]string{
		"TOKENHOUSE_DATABASE_URL":    pgtest.URL(t),
		"TOKENHOUSE_MASTER_KEY_FILE": filepath.Join(dir, "master-key"),
		"TOKENHOUSE_TRUSTED_PROXIES": "127.0.0.1/32",
	} {
		if settings[name] == "" {
			t.Fatalf("the compose file does not set %s", name)
		}
		settings[name] = value
	}
	var houses []*house
	for range n {
		h := &house{address: shippedtest.Vacant(t), ops: shippedtest.Vacant(t)}
		own := maps.Clone(settings)
		own["TOKENHOUSE_LISTEN"], own["TOKENHOUSE_OPS_LISTEN"] = h.address, h.ops
		own["TOKENHOUSE_ADMIN_PASSWORD"] = adminPassword
		own["TOKENHOUSE_DATA_DIR"] = t.TempDir()
		h.start(t, binary, own)
		houses = append(houses, h)
	}
	for _, h := range houses {
		eventually(t, "http://"+h.ops+"/readyz answers 200", func() bool {
			reply, err := http.Get("http://" + h.ops + "/readyz")
			if err != nil {
				return false
			}
			reply.Body.Close()
			return reply.StatusCode == http.StatusOK
		})
	}
	return houses
}

func (h *house) start(t *testing.T, binary string, settings map[string]string) {
	t.Helper()
	var said bytes.Buffer
	h.cmd = exec.Command(binary, "serve")
	h.cmd.Stdout, h.cmd.Stderr = &said, &said
	for name, value := range settings {
		h.cmd.Env = append(h.cmd.Env, name+"="+value)
	}
	if err := h.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = h.cmd.Process.Signal(syscall.SIGTERM)
		_ = h.cmd.Wait()
		if t.Failed() {
			t.Logf("%s said:\n%s", h.address, said.String())
		}
	})
}

// eventually waits until what holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for again := time.Tick(20 * time.Millisecond); !holds(); {
		select {
		case <-again:
		case <-ctx.Done():
			t.Fatalf("still not so: %s", what)
		}
	}
}

// login gives the access token of the administrator, and the reply it came in.
func (p *proxy) login(t *testing.T) (string, *http.Response) {
	t.Helper()
	reply, body := p.do(t, "POST", "https://"+p.secure+"/api/v1/auth/login", http.Header{"Content-Type": {"application/json"}},
		`{"email":"admin@localhost","password":"`+adminPassword+`"}`)
	var got struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil || reply.StatusCode != http.StatusOK || got.Token == "" {
		t.Fatalf("login: %s %s", reply.Status, body)
	}
	return got.Token, reply
}

func (p *proxy) me(t *testing.T, token string) (int, string) {
	t.Helper()
	reply, body := p.do(t, "GET", "https://"+p.secure+"/api/v1/me", http.Header{"Authorization": {"Bearer " + token}, "X-Forwarded-For": {"6.6.6.6"}}, "")
	return reply.StatusCode, body
}

func TestTwoReplicasOnPostgresBehindNginxAreOneServer(t *testing.T) {
	houses := startHouses(t, 2)
	p := start(t, houses[0].address, houses[1].address)
	token, reply := p.login(t)
	for _, cookie := range reply.Cookies() {
		if !cookie.Secure || !cookie.HttpOnly {
			t.Errorf("behind TLS the cookie %s is set with Secure %v, HttpOnly %v", cookie.Name, cookie.Secure, cookie.HttpOnly)
		}
	}
	for range 4 { // nginx takes them in turn
		if code, body := p.me(t, token); code != http.StatusOK {
			t.Fatalf("a token of one replica at the other: %d %s", code, body)
		}
	}

	t.Run("what is revoked at one is refused at both", func(t *testing.T) {
		token, _ := p.login(t)
		reply, body := p.do(t, "POST", "https://"+p.secure+"/api/v1/auth/logout", http.Header{"Authorization": {"Bearer " + token}}, "")
		if reply.StatusCode != http.StatusNoContent {
			t.Fatalf("logout: %s %s", reply.Status, body)
		}
		revoked := time.Now()
		eventually(t, "both refuse the token", func() bool {
			first, _ := p.me(t, token)
			second, _ := p.me(t, token)
			return first == http.StatusUnauthorized && second == http.StatusUnauthorized
		})
		if took := time.Since(revoked); took > 2*time.Second {
			t.Errorf("it took %v, at most 2 s are promised", took)
		}
	})

	t.Run("what is revoked reaches those who follow the feed", func(t *testing.T) { feedArrives(t, p) })

	t.Run("the address on record is the client's, not the one it claims", func(t *testing.T) {
		_, body := p.do(t, "GET", "https://"+p.secure+"/api/v1/sessions", http.Header{"Authorization": {"Bearer " + token}}, "")
		if !strings.Contains(body, `"127.0.0.1"`) || strings.Contains(body, "6.6.6.6") {
			t.Errorf("the sessions are %s", body)
		}
	})

	t.Run("in clear, around nginx, nothing is served", func(t *testing.T) {
		reply, body := p.do(t, "POST", "http://"+houses[0].address+"/api/v1/auth/login", http.Header{"Content-Type": {"application/json"}},
			`{"email":"admin@localhost","password":"`+adminPassword+`"}`)
		if reply.StatusCode != http.StatusForbidden || strings.Contains(body, "access_token") {
			t.Errorf("%s %s", reply.Status, body)
		}
	})

	t.Run("one may stop while the other goes on", func(t *testing.T) {
		if err := houses[0].cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		for range 50 {
			if code, body := p.me(t, token); code != http.StatusOK {
				t.Fatalf("%d %s", code, body)
			}
		}
		if err := houses[0].cmd.Wait(); err != nil {
			t.Errorf("the replica ended with %v", err)
		}
	})
}

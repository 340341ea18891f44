// Package forwardauth_test runs the shipped configurations of reverse proxies, in the real proxies, in front of a plain
// application: each asks a real tokenhouse about every request.
package forwardauth_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/shippedtest"
)

// proxy is one kind of reverse proxy.
type proxy struct {
	name string
	// shipped is the configuration, and replaced what of it exists elsewhere only.
	shipped  string
	replaced func(at places) [][2]string
	// command runs it with the configuration at that path, in a directory of its own.
	command func(t *testing.T, dir, config string) *exec.Cmd
	// relays says that a refusal reaches the client as tokenhouse words it.
	relays bool
}

// places are where the test runs what the configuration names.
type places struct{ listen, second, application, house string }

var proxies = []proxy{
	{
		// AK-60
		name: "nginx", shipped: "../nginx/forward-auth.conf", command: runNginx,
		replaced: func(at places) [][2]string {
			return [][2]string{
				{"tokenhouse-a:8080", at.house}, {"    server tokenhouse-b:8080 max_fails=2 fail_timeout=5s;\n", ""}, {"application:3000", at.application},
				{"listen 80;", "listen " + at.listen + ";"},
			}
		},
	},
	{
		// AK-62
		name: "caddy", shipped: "../caddy/Caddyfile", relays: true,
		command: func(t *testing.T, _, config string) *exec.Cmd {
			return exec.Command(tool(t, "caddy", "caddy"), "run", "--config", config, "--adapter", "caddyfile")
		},
		replaced: func(at places) [][2]string {
			return [][2]string{{"tokenhouse-a:8080 tokenhouse-b:8080", at.house}, {"application:3000", at.application}, {"app.example.com {", "http://" + at.listen + " {"}, {"\n{\n", "\n{\n\tadmin off\n\tauto_https off\n"}}
		},
	},
	{
		name: "haproxy", shipped: "../haproxy/haproxy.cfg", relays: true,
		command: func(t *testing.T, _, config string) *exec.Cmd {
			return exec.Command(tool(t, "haproxy", "haproxy"), "-db", "-f", config)
		},
		replaced: func(at places) [][2]string {
			lua, _ := filepath.Abs("../haproxy/tokenhouse-auth.lua")
			return [][2]string{
				{"tokenhouse-a:8080", at.house}, {"    server b tokenhouse-b:8080 check\n", ""}, {"application:3000 check", at.application},
				{"bind :80 ", "bind " + at.listen + " "}, {"127.0.0.1:8081", at.second}, {"/etc/haproxy/tokenhouse-auth.lua", lua},
			}
		},
	},
	{
		// AK-63
		name: "envoy", shipped: "../envoy/envoy.yaml", relays: true,
		command: func(t *testing.T, dir, config string) *exec.Cmd {
			return exec.Command(tool(t, "envoy", envoy), "-c", config, "--use-dynamic-base-id", "--concurrency", "1", "-l", "warn")
		},
		replaced: func(at places) [][2]string {
			return [][2]string{
				{"address: tokenhouse-a, port_value: 8080", socket(at.house)}, {"              - endpoint: { address: { socket_address: { address: tokenhouse-b, port_value: 8080 } } }\n", ""},
				{"address: application, port_value: 3000", socket(at.application)}, {"address: 0.0.0.0, port_value: 80", socket(at.listen)},
			}
		},
	},
}

// envoy comes as a package of Python, which .ci/testenv installs as requirements.txt says.
var envoy, _ = filepath.Abs(filepath.Join(".venv", "bin", "envoy"))

// socket is an address as Envoy writes it.
func socket(address string) string {
	host, port, _ := net.SplitHostPort(address)
	return "address: " + host + ", port_value: " + port
}

func runNginx(t *testing.T, dir, config string) *exec.Cmd {
	temporary := ""
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		temporary += fmt.Sprintf("%s_temp_path %s;\n", kind, filepath.Join(dir, kind))
	}
	main := filepath.Join(dir, "nginx.conf")
	write(t, main, "pid "+dir+"/pid;\nevents {}\nhttp {\naccess_log off;\n"+temporary+"include "+config+";\n}\n")
	program := tool(t, "nginx", "/usr/sbin/nginx")
	if out, err := exec.Command(program, "-p", dir, "-c", main, "-e", "stderr", "-t").CombinedOutput(); err != nil || bytes.Contains(out, []byte("[warn]")) {
		t.Fatalf("nginx -t: %v\n%s", err, out)
	}
	return exec.Command(program, "-p", dir, "-c", main, "-e", "stderr", "-g", "daemon off; master_process off; error_log stderr notice;")
}

// tool finds a program, or fails.
func tool(t *testing.T, name, elsewhere string) string {
	t.Helper()
	for _, candidate := range []string{name, elsewhere} {
		if found, err := exec.LookPath(candidate); err == nil {
			return found
		}
	}
	t.Fatalf("%s is needed to test its configuration: run .ci/testenv", name)
	return ""
}

// start runs the proxy with its shipped configuration and returns its address, and what it says.
func (p proxy) start(t *testing.T, application, house string) (address string, said *lockedBuffer) {
	t.Helper()
	dir := t.TempDir()
	at := places{listen: shippedtest.Vacant(t), second: shippedtest.Vacant(t), application: application, house: house}
	text, err := os.ReadFile(p.shipped)
	must(t, err)
	config := filepath.Join(dir, filepath.Base(p.shipped))
	for _, pair := range p.replaced(at) {
		if !bytes.Contains(text, []byte(pair[0])) {
			t.Fatalf("%s has no %q", p.shipped, pair[0])
		}
		text = bytes.ReplaceAll(text, []byte(pair[0]), []byte(pair[1]))
	}
	write(t, config, string(text))
	cmd := p.command(t, dir, config)
	said = &lockedBuffer{}
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, said, said
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	must(t, cmd.Start())
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
		if t.Failed() {
			t.Logf("%s said:\n%s", p.name, said.String())
		}
	})
	for until := time.Now().Add(20 * time.Second); ; {
		if c, err := net.DialTimeout("tcp", at.listen, time.Second); err == nil {
			_ = c.Close()
			return at.listen, said
		}
		select {
		case <-ended:
			t.Fatalf("%s did not start:\n%s", p.name, said.String())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(until) {
			t.Fatalf("%s does not listen:\n%s", p.name, said.String())
		}
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// seen is a request as it reached the application.
type seen struct {
	Method, URI string
	Header      http.Header
	Body        [sha256.Size]byte
}

// application answers with what reached it.
func application(t *testing.T) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		text, _ := json.Marshal(seen{r.Method, r.RequestURI, r.Header, sha256.Sum256(body)})
		w.Header().Set("X-Seen", string(text)) // a reply to HEAD has no body
		_, _ = w.Write(text)
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// visitor asks a proxy for the application.
type visitor struct {
	address string
	client  *http.Client
}

// visitorFrom connects from that address of this machine, and keeps its connection.
func visitorFrom(t *testing.T, ip, address string) visitor {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
	transport := &http.Transport{DialContext: dialer.DialContext, MaxIdleConnsPerHost: 1}
	t.Cleanup(transport.CloseIdleConnections)
	return visitor{address, &http.Client{Transport: transport}}
}

// ask sends a request and tells what reached the application; nil where nothing did.
func (v visitor) ask(t *testing.T, method, path, body string, headers ...string) (*http.Response, *seen) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+v.address+path, strings.NewReader(body))
	must(t, err)
	req.Host = "app.example.com"
	if strings.HasPrefix(v.address, "127.") {
		req.Host = v.address
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header[headers[i]] = append(req.Header[headers[i]], headers[i+1])
	}
	reply, err := v.client.Do(req)
	must(t, err)
	defer func() { _ = reply.Body.Close() }()
	_, err = io.Copy(io.Discard, reply.Body)
	must(t, err)
	text := reply.Header.Get("X-Seen")
	if text == "" {
		return reply, nil
	}
	var s seen
	must(t, json.Unmarshal([]byte(text), &s))
	return reply, &s
}

func write(t *testing.T, path, text string) {
	t.Helper()
	must(t, os.WriteFile(path, []byte(text), 0o600))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

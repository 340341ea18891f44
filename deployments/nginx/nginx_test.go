// Package nginx_test runs the shipped configuration in a real nginx, in front of stand-ins that tell what reached them.
package nginx_test

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/shippedtest"
)

const host = "auth.example.com"

// proxy is a running nginx.
type proxy struct {
	plain, secure string // addresses of its listeners
	log           string // path of the access log
	client        *http.Client
}

// replica stands in for a tokenhouse: it answers with the headers it was sent, or as its handler says.
type replica struct {
	*httptest.Server
	requests atomic.Int64
}

func newReplica(t *testing.T, handler http.HandlerFunc) *replica {
	r := &replica{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.requests.Add(1)
		handler(w, req)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *replica) address() string { return r.Listener.Addr().String() }

func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	r.Header.Set("Host", r.Host)
	r.Header.Set("Body-Length", fmt.Sprint(len(body)))
	_ = json.NewEncoder(w).Encode(r.Header)
}

// start runs nginx with the shipped file, in which only names that exist elsewhere are replaced, in front of two addresses.
func start(t *testing.T, a, b string) *proxy {
	t.Helper()
	program := nginx(t)
	dir := t.TempDir()
	p := &proxy{plain: shippedtest.Vacant(t), secure: shippedtest.Vacant(t), log: filepath.Join(dir, "access.log"), client: client(t)}
	certificate(t, dir)
	write(t, filepath.Join(dir, "tokenhouse.conf"), replaced(t, [][2]string{
		{"tokenhouse-a:8080", a},
		{"tokenhouse-b:8080", b},
		{"listen 80;", "listen " + p.plain + ";"},
		{"listen 443 ssl", "listen " + p.secure + " ssl"},
		{"listen [::]:80;", ""},
		{"listen [::]:443 ssl http2;", ""},
		{"/etc/nginx/tls/", dir + "/"},
		{"/var/log/nginx/tokenhouse.log", p.log},
	}))
	temporary := ""
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		temporary += fmt.Sprintf("%s_temp_path %s;\n", kind, filepath.Join(dir, kind))
	}
	main := filepath.Join(dir, "nginx.conf")
	write(t, main, "pid "+dir+"/pid;\nevents {}\nhttp {\n"+temporary+"include "+dir+"/tokenhouse.conf;\n}\n")

	if out, err := exec.Command(program, "-p", dir, "-c", main, "-e", "stderr", "-t").CombinedOutput(); err != nil || bytes.Contains(out, []byte("[warn]")) {
		t.Fatalf("nginx -t: %v\n%s", err, out)
	}
	run(t, exec.Command(program, "-p", dir, "-c", main, "-e", "stderr", "-g", "daemon off; error_log stderr notice;"))
	return p
}

func nginx(t *testing.T) string {
	t.Helper()
	for _, candidate := range []string{"nginx", "/usr/sbin/nginx"} {
		if found, err := exec.LookPath(candidate); err == nil {
			return found
		}
	}
	t.Fatal("nginx is needed to test its configuration (Debian: apt-get install nginx-light)")
	return ""
}

// run starts nginx and waits until it serves; it is stopped with the test.
func run(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready, log := make(chan struct{}), &strings.Builder{}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		up := sync.OnceFunc(func() { close(ready) })
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			fmt.Fprintln(log, lines.Text())
			if strings.Contains(lines.Text(), "start worker process ") {
				up()
			}
		}
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-ended
		if t.Failed() {
			t.Logf("nginx said:\n%s", log)
		}
	})
	select {
	case <-ready:
	case <-ended:
		t.Fatalf("nginx did not start:\n%s", log)
	}
}

// replaced gives the shipped file with each pair's first string replaced by its second; a first that is not there is an error.
func replaced(t *testing.T, pairs [][2]string) string {
	t.Helper()
	shipped, err := os.ReadFile("tokenhouse.conf")
	if err != nil {
		t.Fatal(err)
	}
	text := string(shipped)
	for _, p := range pairs {
		if !strings.Contains(text, p[0]) {
			t.Fatalf("tokenhouse.conf has no %q", p[0])
		}
		text = strings.ReplaceAll(text, p[0], p[1])
	}
	return text
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// certificate makes a certificate for host that signs itself.
func certificate(t *testing.T, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{host}, NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "tokenhouse.crt"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})))
	write(t, filepath.Join(dir, "tokenhouse.key"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
}

// client follows no redirect and takes the certificate as it is.
func client(t *testing.T) *http.Client {
	transport := &http.Transport{TLSClientConfig: &tls.Config{ServerName: host, InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// do sends a request for the host to the address and gives the reply with its body.
func (p *proxy) do(t *testing.T, method, url string, header http.Header, body string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	for name, values := range header {
		req.Header[name] = values
	}
	reply, err := p.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply, string(text)
}

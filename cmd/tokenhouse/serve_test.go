package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tokenhouse/tokenhouse/internal/pgtest"
)

// served is a `tokenhouse serve` in an empty directory, as it is shipped.
type served struct {
	cmd      *exec.Cmd
	url, ops string
	stderr   bytes.Buffer
	ready    chan string // tells the password when the server serves
	ended    chan error
}

// shipped is the binary as `make build` makes it, without the race detector: built once for all tests.
func shipped(t testing.TB) string {
	t.Helper()
	binary, err := shipping()
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

var shippedTo string // a directory; empty while nothing is built

// shipping builds it; see suite.Run, which removes it.
var shipping = sync.OnceValues(func() (string, error) {
	var err error
	if shippedTo, err = os.MkdirTemp("", "tokenhouse-shipped-"); err != nil {
		return "", err
	}
	binary := filepath.Join(shippedTo, "tokenhouse")
	build := exec.Command("go", "build", "-tags", "nomsgpack", "-trimpath", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return binary, fmt.Errorf("build: %w\n%s", err, out)
	}
	return binary, nil
})

// tested is the binary of this test, which is the command under that name: see TestMain.
func tested(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("tokenhouse")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// launch starts a server and does not wait for it.
func launch(t *testing.T, binary string, env ...string) *served {
	t.Helper()
	listen, ops := vacant(t), vacant(t)
	s := &served{url: "http://" + listen, ops: "http://" + ops, ready: make(chan string, 1), ended: make(chan error, 1)}
	s.cmd = exec.Command(binary, "serve")
	s.cmd.Dir, s.cmd.Stderr = t.TempDir(), &s.stderr
	s.cmd.Env = append([]string{"TOKENHOUSE_LISTEN=" + listen, "TOKENHOUSE_OPS_LISTEN=" + ops, "TOKENHOUSE_ISSUER=" + s.url}, env...)
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { watch(stdout, io.Discard, s.ready); s.ended <- s.cmd.Wait() }()
	t.Cleanup(func() { _ = s.cmd.Process.Kill() })
	return s
}

// password waits until the server serves.
func (s *served) password(t *testing.T) string {
	t.Helper()
	select {
	case p := <-s.ready:
		return p
	case err := <-s.ended:
		t.Fatalf("the server ended: %v\n%s", err, &s.stderr)
	case <-time.After(startTimeout):
		t.Fatal("the server does not become ready")
	}
	return ""
}

func (s *served) signal(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// end waits for the end of the process.
func (s *served) end(t *testing.T) error {
	t.Helper()
	select {
	case err := <-s.ended:
		return err
	case <-time.After(startTimeout):
		t.Fatal("the server does not end")
		return nil
	}
}

func vacant(t *testing.T) string {
	t.Helper()
	pid := os.Getpid()
	own := net.IPv4(127, byte(1+pid>>16), byte(pid>>8), byte(pid)) // every process of tests has an address where nobody else listens
	l, err := net.Listen("tcp", net.JoinHostPort(own.String(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// get asks until there is an answer of that status, and returns its text.
func get(t *testing.T, url string, status int) string {
	t.Helper()
	var last string
	for start := time.Now(); time.Since(start) < startTimeout; {
		res, err := http.Get(url)
		if err != nil {
			last = err.Error()
			continue
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err == nil && res.StatusCode == status {
			return strings.TrimSpace(string(body))
		}
		last = fmt.Sprintf("%s %s", res.Status, body)
	}
	t.Fatalf("%s does not answer %d but %s", url, status, last)
	return ""
}

// firstTokenWithin is how long it may take from the first start, in an empty
// directory and without any configuration, to the first token.
const firstTokenWithin = 2 * time.Second

func TestTheFirstTokenComesWithinTwoSecondsOfTheFirstStart(t *testing.T) {
	binary := shipped(t)
	best := time.Hour
	for range 3 { // the machine may be busy with other tests: what counts is what we need
		start := time.Now()
		s := launch(t, binary)
		body := login("admin@localhost", s.password(t))
		res, err := http.Post(s.url+"/api/v1/auth/login", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		read, err := io.ReadAll(res.Body)
		res.Body.Close()
		best = min(best, time.Since(start))
		if err != nil || res.StatusCode != http.StatusOK || !bytes.Contains(read, []byte(`"access_token":"`)) {
			t.Fatalf("login: %d %s %v", res.StatusCode, read, err)
		}
		s.signal(t, syscall.SIGTERM)
		if err := s.end(t); err != nil {
			t.Errorf("exit: %v", err)
		}
	}
	t.Logf("from the first start to the first token: %s, on SQLite", best)
	if best > firstTokenWithin {
		t.Errorf("it took %s", best)
	}
}

// inFlight is a login whose body ends when the test says so. The server has
// begun to answer it: it has asked for the body.
type inFlight struct {
	body     *io.PipeWriter
	answered chan int // the status; 0 where there was no answer
}

func begin(t *testing.T, s *served) inFlight {
	t.Helper()
	r, w := io.Pipe()
	asked := make(chan struct{})
	trace := &httptrace.ClientTrace{Got100Continue: func() { close(asked) }}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), http.MethodPost, s.url+"/api/v1/auth/login", r)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Expect", "100-continue")
	f := inFlight{body: w, answered: make(chan int, 1)}
	go func() {
		res, err := (&http.Transport{ExpectContinueTimeout: startTimeout}).RoundTrip(req)
		if err != nil {
			f.answered <- 0
			return
		}
		res.Body.Close()
		f.answered <- res.StatusCode
	}()
	select {
	case <-asked:
	case <-time.After(startTimeout):
		t.Fatal("the server does not ask for the body")
	}
	return f
}

func TestSIGTERMFinishesWhatIsInFlight(t *testing.T) {
	s := launch(t, tested(t))
	body := login("admin@localhost", s.password(t))
	get(t, s.ops+"/readyz", http.StatusOK)
	f := begin(t, s)
	s.signal(t, syscall.SIGTERM)
	if said := get(t, s.ops+"/readyz", http.StatusServiceUnavailable); said != "draining" {
		t.Errorf("/readyz says %q", said)
	}
	if _, err := io.WriteString(f.body, body); err != nil {
		t.Fatal(err)
	}
	f.body.Close()
	if status := <-f.answered; status != http.StatusOK {
		t.Errorf("the request in flight was answered %d", status)
	}
	if err := s.end(t); err != nil {
		t.Errorf("exit: %v\n%s", err, &s.stderr)
	}
}

func TestAStoppingServerStillAnswersUntilLoadBalancersHaveNoticed(t *testing.T) {
	s := launch(t, tested(t), "TOKENHOUSE_SHUTDOWN_DELAY=2s")
	s.password(t)
	ask := func() *http.Response {
		t.Helper()
		res, err := http.Get(s.url + "/api/v1/me")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != http.StatusUnauthorized {
			t.Fatalf("%s, %v", res.Status, err)
		}
		return res
	}
	if ask().Close {
		t.Error("a running server closes connections")
	}
	s.signal(t, syscall.SIGTERM)
	get(t, s.ops+"/readyz", http.StatusServiceUnavailable)
	if !ask().Close {
		t.Error("a stopping server does not say that it closes the connection")
	}
	if err := s.end(t); err != nil {
		t.Errorf("exit: %v\n%s", err, &s.stderr)
	}
}

func TestASecondSignalEndsAtOnce(t *testing.T) {
	s := launch(t, tested(t))
	s.password(t)
	f := begin(t, s)
	s.signal(t, syscall.SIGTERM)
	get(t, s.ops+"/readyz", http.StatusServiceUnavailable)
	s.signal(t, syscall.SIGTERM)
	if err := s.end(t); err == nil {
		t.Error("the server ended as if all were well, with a request in flight")
	}
	f.body.CloseWithError(io.ErrClosedPipe)
	if status := <-f.answered; status != 0 {
		t.Errorf("the request in flight was answered %d", status)
	}
}

func TestTheServerWaitsForItsDatabase(t *testing.T) {
	behind, err := pgx.ParseConfig(pgtest.URL(t))
	if err != nil {
		t.Fatal(err)
	}
	address := vacant(t)
	url := fmt.Sprintf("postgres://%s:%s@%s/%s?sslmode=disable", behind.User, behind.Password, address, behind.Database)
	s := launch(t, tested(t), "TOKENHOUSE_DATABASE_URL="+url)
	get(t, s.ops+"/healthz", http.StatusOK)
	get(t, s.ops+"/readyz", http.StatusServiceUnavailable)
	get(t, s.url+"/api/v1/me", http.StatusServiceUnavailable)
	forward(t, address, behind)
	get(t, s.ops+"/readyz", http.StatusOK)
	get(t, s.url+"/api/v1/me", http.StatusUnauthorized)
	s.password(t)
	s.signal(t, syscall.SIGTERM)
	if err := s.end(t); err != nil {
		t.Errorf("exit: %v\n%s", err, &s.stderr)
	}

	waiting := launch(t, tested(t), "TOKENHOUSE_DATABASE_URL=postgres://x@"+vacant(t)+"/x")
	get(t, waiting.ops+"/healthz", http.StatusOK)
	waiting.signal(t, syscall.SIGTERM)
	if err := waiting.end(t); err != nil {
		t.Errorf("stopped while waiting, the server ends with %v\n%s", err, &waiting.stderr)
	}
}

// forward makes the PostgreSQL of the test answer at another address.
func forward(t *testing.T, address string, to *pgx.ConnConfig) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	network, target := "tcp", net.JoinHostPort(to.Host, fmt.Sprint(to.Port))
	if strings.HasPrefix(to.Host, "/") {
		network, target = "unix", fmt.Sprintf("%s/.s.PGSQL.%d", to.Host, to.Port)
	}
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial(network, target)
			if err != nil {
				in.Close()
				continue
			}
			go func() { _, _ = io.Copy(out, in); out.Close() }()
			go func() { _, _ = io.Copy(in, out); in.Close() }()
		}
	}()
}

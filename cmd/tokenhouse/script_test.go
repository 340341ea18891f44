package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tokenhouse/tokenhouse/internal/pgtest"
)

func TestMain(m *testing.M) { testscript.Main(suite{m}, map[string]func(){"tokenhouse": main}) }

// suite is every test of this package.
type suite struct{ *testing.M }

// Run runs them, and removes what they built.
func (s suite) Run() int {
	defer func() { _ = os.RemoveAll(shippedTo) }()
	return s.M.Run()
}

// TestScripts runs every conversation in testdata/script with the real binary
// and the real curl, on both backends.
//
// Commands of the scripts, beside testscript's own:
//
//	serve [ARGS]        start the server and wait until it is ready; sets $URL, $OPS and, at a first start, $ADMIN_PASSWORD
//	end [SIGNAL]        end it, by SIGTERM where no other is named, and expect exit code 0 after SIGTERM
//	curl ARGS           run curl; its status becomes stdout, the answer is in body.json and headers.txt
//	until STATUS ARGS   run curl until it answers that status: another process's change arrives within two seconds
//	document FILE       run a curl line as it is documented, with the documented placeholders replaced
//	json FILE PATH [V]  print the value at a path such as user.id, data.0.name or data.length; expect V, or what ~V matches
//	keep VAR FILE PATH  set a variable to a value
//	jwt PART TOKEN      print the header or payload of a token
//	dump FILE           write everything the database holds
func TestScripts(t *testing.T) {
	path := filepath.Dir(shipped(t)) + string(filepath.ListSeparator)
	for _, backend := range []string{"sqlite", "postgres"} {
		t.Run(backend, func(t *testing.T) {
			testscript.Run(t, testscript.Params{
				Dir: filepath.Join("testdata", "script"),
				Setup: func(e *testscript.Env) error {
					e.Setenv("BACKEND", backend)
					e.Setenv("PATH", path+e.Getenv("PATH"))
					e.Values[serverKey{}] = new(runningServer)
					if backend == "postgres" {
						e.Setenv("TOKENHOUSE_DATABASE_URL", pgtest.URL(t))
					}
					return nil
				},
				Condition: func(name string) (bool, error) {
					return name == backend, nil
				},
				Cmds: map[string]func(*testscript.TestScript, bool, []string){
					"serve": serveScript, "end": endScript, "curl": curlScript, "until": untilScript, "document": documentScript,
					"json": jsonScript, "keep": keepScript, "jwt": jwtScript, "dump": dumpScript,
				},
			})
		})
	}
}

type serverKey struct{}

// runningServer is the server of one script.
type runningServer struct {
	cmd    *exec.Cmd
	listen string
	ops    string
	ended  chan error
}

// startTimeout bounds a start under a loaded machine.
const startTimeout = 60 * time.Second

func serverOf(ts *testscript.TestScript) *runningServer {
	return ts.Value(serverKey{}).(*runningServer)
}

func serveScript(ts *testscript.TestScript, neg bool, args []string) {
	s := serverOf(ts)
	if s.cmd != nil {
		ts.Fatalf("a server is running already")
	}
	if s.listen == "" {
		s.listen, s.ops = unusedAddress(ts), unusedAddress(ts)
		ts.Setenv("URL", "http://"+s.listen)
		ts.Setenv("OPS", "http://"+s.ops)
		ts.Setenv("TOKENHOUSE_LISTEN", s.listen)
		ts.Setenv("TOKENHOUSE_OPS_LISTEN", s.ops)
		if ts.Getenv("TOKENHOUSE_ISSUER") == "" {
			ts.Setenv("TOKENHOUSE_ISSUER", "http://"+s.listen)
		}
	}
	path, err := exec.LookPath(filepath.Join(binDir(ts), "tokenhouse"))
	ts.Check(err)
	stdout, err := os.Create(ts.MkAbs("serve.out"))
	ts.Check(err)
	stderr, err := os.OpenFile(ts.MkAbs("serve.err"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	ts.Check(err)
	r, w, err := os.Pipe()
	ts.Check(err)
	cmd := exec.Command(path, append([]string{"serve"}, args...)...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = ts.Getenv("WORK"), environment(ts), w, stderr
	ts.Check(cmd.Start())
	w.Close()
	stderr.Close()
	s.cmd, s.ended = cmd, make(chan error, 1)
	ready := make(chan string, 1)
	go func() {
		defer stdout.Close()
		watch(r, stdout, ready)
		s.ended <- cmd.Wait()
	}()
	ts.Defer(func() { _ = s.end(ts, syscall.SIGKILL) })
	select {
	case password := <-ready:
		if password != "" {
			ts.Setenv("ADMIN_PASSWORD", password)
		}
	case err := <-s.ended:
		s.cmd = nil
		if !neg {
			ts.Fatalf("the server ended: %v\n%s", err, ts.ReadFile("serve.err"))
		}
		return
	case <-time.After(startTimeout):
		ts.Fatalf("the server is not ready after %s", startTimeout)
	}
	if neg {
		ts.Fatalf("the server started")
	}
}

// watch copies what the server says, and tells the password once it has said
// all of it.
func watch(r io.Reader, to io.Writer, ready chan<- string) {
	lines := bufio.NewScanner(r)
	password, said := "", false
	for lines.Scan() {
		fmt.Fprintln(to, lines.Text())
		if f := strings.Fields(lines.Text()); len(f) == 2 && f[0] == "password" {
			password = f[1]
		}
		if strings.HasPrefix(lines.Text(), "Serving") && !said {
			said = true
			ready <- password
		}
	}
}

func binDir(ts *testscript.TestScript) string {
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		if _, err := os.Stat(filepath.Join(dir, "tokenhouse")); err == nil {
			return dir
		}
	}
	ts.Fatalf("the binary of this test is not in PATH")
	return ""
}

// environment is the script's own, as far as a server looks at it.
func environment(ts *testscript.TestScript) []string {
	var out []string
	for _, s := range settings() {
		if v := ts.Getenv(s.env()); v != "" {
			out = append(out, s.env()+"="+v)
		}
	}
	return append(out, "PATH="+ts.Getenv("PATH"), "HOME="+ts.Getenv("HOME"), "GOCOVERDIR="+ts.Getenv("GOCOVERDIR"))
}

func unusedAddress(ts *testscript.TestScript) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	defer l.Close()
	return l.Addr().String()
}

func endScript(ts *testscript.TestScript, _ bool, args []string) {
	signal := syscall.SIGTERM
	if len(args) == 1 && args[0] == "SIGKILL" {
		signal = syscall.SIGKILL
	}
	s := serverOf(ts)
	if s.cmd == nil {
		ts.Fatalf("no server is running")
	}
	if err := s.end(ts, signal); err != nil && signal == syscall.SIGTERM {
		ts.Fatalf("the server ended with %v\n%s", err, ts.ReadFile("serve.err"))
	}
}

func (s *runningServer) end(ts *testscript.TestScript, signal syscall.Signal) error {
	if s.cmd == nil {
		return nil
	}
	defer func() { s.cmd = nil }()
	if err := s.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		ts.Logf("signal: %v", err)
	}
	select {
	case err := <-s.ended:
		return err
	case <-time.After(startTimeout):
		_ = s.cmd.Process.Kill()
		return errors.New("it did not end in time")
	}
}

// answer arguments let a script look at status, headers and body apart.
var answerArguments = []string{"-sS", "-D", "headers.txt", "-o", "body.json", "-w", "%{http_code}"}

func curlScript(ts *testscript.TestScript, _ bool, args []string) {
	_ = os.Remove(ts.MkAbs("body.json"))
	ts.Check(ts.Exec("curl", append(append([]string{}, answerArguments...), args...)...))
}

// propagation is the bound within which a server must see what another process changed.
const propagation = 2 * time.Second

// untilScript fails where the bound passes first. The pace is that of curl itself.
func untilScript(ts *testscript.TestScript, _ bool, args []string) {
	start := time.Now()
	for {
		var out bytes.Buffer
		cmd := exec.Command("curl", append(append([]string{}, answerArguments...), args[1:]...)...)
		cmd.Dir, cmd.Stdout, cmd.Stderr = ts.Getenv("WORK"), &out, ts.Stderr()
		asked := time.Since(start)
		ts.Check(cmd.Run())
		if out.String() == args[0] {
			return
		}
		if asked > propagation {
			ts.Fatalf("the answer is still %s after %s", out.String(), asked)
		}
	}
}

// placeholders of the two documents, and what stands for them here.
var placeholders = []struct{ documented, variable string }{
	{"https://YOUR_KUBEWATCH_URL", "URL"}, {"https://<your-instance>", "URL"},
	{`"refresh_token": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9..."`, `REFRESH_MEMBER`},
	{"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9...", "TOKEN"}, {"<access_token>", "TOKEN"},
	{"kw_live_abc123xyz456...", "KEY"}, {"overwatch_ak_1a2b3c4d5e6f7890", "KEY"}, {"<key_id>", "KEY_ID"},
}

func documentScript(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: document FILE")
	}
	_ = os.Remove(ts.MkAbs("body.json"))
	line := strings.TrimSpace(ts.ReadFile(args[0]))
	if !strings.HasPrefix(line, "curl ") {
		ts.Fatalf("%s is no curl line", args[0])
	}
	ts.Setenv("REFRESH_MEMBER", `"refresh_token": "`+ts.Getenv("REFRESH")+`"`)
	for _, p := range placeholders {
		line = strings.ReplaceAll(line, p.documented, ts.Getenv(p.variable))
	}
	ts.Check(ts.Exec("sh", "-c", line+` -sS -D headers.txt -o body.json -w '%{http_code}'`))
}

func jsonScript(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: json FILE PATH [VALUE]")
	}
	got, found := valueAt(ts, args[0], args[1])
	if len(args) == 2 {
		if found == neg {
			ts.Fatalf("%s in %s: there is %v\n%s", args[1], args[0], found, ts.ReadFile(args[0]))
		}
		fmt.Fprintln(ts.Stdout(), got)
		return
	}
	equal := got == args[2]
	if pattern, ok := strings.CutPrefix(args[2], "~"); ok {
		equal = regexp.MustCompile(pattern).MatchString(got)
	}
	if equal == neg || !found {
		ts.Fatalf("%s in %s is %q (there: %v), want %q (negated: %v)\n%s", args[1], args[0], got, found, args[2], neg, ts.ReadFile(args[0]))
	}
}

func keepScript(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: keep VAR FILE PATH")
	}
	v, found := valueAt(ts, args[1], args[2])
	if !found || v == "" {
		ts.Fatalf("no %s in %s", args[2], ts.ReadFile(args[1]))
	}
	ts.Setenv(args[0], v)
}

// valueAt is a value of a JSON file as text: what is no string, as JSON.
func valueAt(ts *testscript.TestScript, file, path string) (string, bool) {
	d := json.NewDecoder(strings.NewReader(ts.ReadFile(file)))
	d.UseNumber()
	var v any
	ts.Check(d.Decode(&v))
	for part := range strings.SplitSeq(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			next, ok := x[part]
			if !ok {
				return "", false
			}
			v = next
		case []any:
			if part == "length" {
				v = json.Number(strconv.Itoa(len(x)))
				continue
			}
			i, err := strconv.Atoi(part)
			if err != nil || i >= len(x) {
				return "", false
			}
			v = x[i]
		default:
			return "", false
		}
	}
	if s, ok := v.(string); ok {
		return s, true
	}
	b, err := json.Marshal(v)
	ts.Check(err)
	return string(b), true
}

func jwtScript(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: jwt header|payload TOKEN")
	}
	parts := strings.Split(args[1], ".")
	if len(parts) != 3 {
		ts.Fatalf("the token has %d parts", len(parts))
	}
	i := map[string]int{"header": 0, "payload": 1}[args[0]]
	decoded, err := base64.RawURLEncoding.DecodeString(parts[i])
	ts.Check(err)
	fmt.Fprintln(ts.Stdout(), string(decoded))
}

// dumpScript writes everything that lies in the database, as an intruder who
// has all of it would see it.
func dumpScript(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: dump FILE")
	}
	var out bytes.Buffer
	if ts.Getenv("BACKEND") == "sqlite" {
		files, err := filepath.Glob(ts.MkAbs("data/tokenhouse.db*"))
		ts.Check(err)
		for _, f := range files {
			raw, err := os.ReadFile(f)
			ts.Check(err)
			out.Write(raw)
		}
	} else {
		ts.Check(dumpPostgres(ts.Getenv("TOKENHOUSE_DATABASE_URL"), &out))
	}
	if out.Len() == 0 {
		ts.Fatalf("the dump is empty")
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), out.Bytes(), 0o600))
}

func dumpPostgres(url string, out io.Writer) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	c, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	rows, err := c.Query(ctx, `SELECT tablename FROM pg_tables WHERE schemaname = 'public'`)
	if err != nil {
		return err
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, table := range tables {
		if _, err := c.PgConn().CopyTo(ctx, out, "COPY "+pgx.Identifier{table}.Sanitize()+" TO STDOUT"); err != nil {
			return err
		}
	}
	return nil
}

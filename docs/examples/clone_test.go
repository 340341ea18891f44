package examples_test

import (
	"bytes"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/shippedtest"
)

// clone is a directory as somebody has it who cloned the repository and ran
// `make run` there: the binary is built, and it serves.
type clone struct {
	t                *testing.T
	dir              string
	house, web, page string // host:port of tokenhouse and of the applications of the guides
	env              []string
}

// patience bounds everything that a busy machine may delay.
const patience = 60 * time.Second

const (
	adminPassword = "correct horse battery staple"
	adaEmail      = "ada@example.com"
	adaPassword   = "a long enough sentence for one"
)

// built is where shipped leaves the binary.
var built string

func TestMain(m *testing.M) {
	code := 1
	if dir, err := os.MkdirTemp("", "examples"); err == nil {
		built = dir
		code = m.Run()
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

// shipped is the binary as `make build` makes it.
var shipped = sync.OnceValues(func() (string, error) {
	binary := filepath.Join(built, "tokenhouse")
	return binary, shippedtest.Build(binary)
})

// newClone serves with the settings that are given, as NAME=value.
func newClone(t *testing.T, settings ...string) *clone {
	t.Helper()
	c := &clone{t: t, dir: t.TempDir(), house: shippedtest.Vacant(t), web: shippedtest.Vacant(t), page: shippedtest.Vacant(t)}
	for _, name := range []string{"go.mod", "go.sum", "docs/examples", "docs/clients"} {
		c.take(name)
	}
	binary, err := shipped()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(c.dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(binary, filepath.Join(c.dir, "bin", "tokenhouse")); err != nil {
		t.Fatal(err)
	}
	c.env = append(os.Environ(), "XDG_CONFIG_HOME="+filepath.Join(c.dir, "config"), "npm_config_prefer_offline=true", "npm_config_ignore_scripts=true",
		"npm_config_audit=false", "npm_config_fund=false", "npm_config_loglevel=error")
	c.serve(settings)
	return c
}

// take copies a file or a directory of the repository, without what npm installed.
func (c *clone) take(name string) {
	c.t.Helper()
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(filepath.Join(root, name), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			if err == nil && (d.Name() == "node_modules" || d.Name() == ".venv") {
				return filepath.SkipDir
			}
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		path, err = filepath.Rel(root, path)
		if err != nil {
			return err
		}
		to := filepath.Join(c.dir, path)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		return os.WriteFile(to, text, 0o600)
	})
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *clone) serve(settings []string) {
	c.t.Helper()
	var logs bytes.Buffer
	ops := shippedtest.Vacant(c.t)
	cmd := exec.Command("./bin/tokenhouse", "serve", "--demo")
	cmd.Dir, cmd.Stderr = c.dir, &logs
	cmd.Env = append([]string{
		"TOKENHOUSE_LISTEN=" + c.house, "TOKENHOUSE_OPS_LISTEN=" + ops, "TOKENHOUSE_ISSUER=http://" + c.house, "TOKENHOUSE_ADMIN_PASSWORD=" + adminPassword,
	}, settings...)
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			c.t.Errorf("the server ended with %v", err)
		}
		if c.t.Failed() {
			c.t.Logf("the server logged\n%s", &logs)
		}
	})
	c.eventually("the server is ready", func() bool { return answers("http://" + ops + "/readyz") })
}

// answers reports whether an address answers, and neither with an error of its
// own nor by saying that it is not ready.
func answers(url string) bool {
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Get(url)
	if err != nil {
		return false
	}
	res.Body.Close()
	return res.StatusCode < http.StatusInternalServerError
}

// here puts our addresses in the place of the documented ones.
func (c *clone) here(text string) string {
	return strings.NewReplacer("localhost:8080", c.house, "localhost:3000", c.web, "localhost:5173", c.page).Replace(text)
}

// fences are the blocks of a guide in one language.
func fences(t *testing.T, name, language string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "clients", name))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		out = append(out, m[1])
	}
	return out
}

// script is a shell that does what a guide says.
type script struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan string
	said  []string
	ended error
}

// follow runs the commands of guides, one after another, in one shell.
func (c *clone) follow(guides ...string) *script {
	c.t.Helper()
	var text strings.Builder
	for _, g := range guides {
		for _, block := range fences(c.t, g, "sh") {
			text.WriteString(block + "echo\n") // curl ends no line
		}
	}
	self := c.web
	if guides[len(guides)-1] == "spa.md" {
		self = c.page
	}
	return c.shell(text.String(), "SELF=http://"+self)
}

// shell runs a script in the clone.
func (c *clone) shell(text string, env ...string) *script {
	c.t.Helper()
	file := filepath.Join(c.dir, "guide.sh")
	if err := os.WriteFile(file, []byte(c.here(text)), 0o600); err != nil {
		c.t.Fatal(err)
	}
	cmd := exec.Command("sh", "-eu", file)
	cmd.Dir, cmd.SysProcAttr = c.dir, &syscall.SysProcAttr{Setpgid: true}
	cmd.Env = append(slices.Clone(c.env), env...)
	return start(c.t, cmd)
}

func start(t *testing.T, cmd *exec.Cmd) *script {
	t.Helper()
	s := &script{t: t, cmd: cmd, lines: make(chan string, 10_000)}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	go func() {
		defer close(s.lines)
		text, rest := make([]byte, 1<<16), ""
		for {
			n, err := r.Read(text)
			parts := strings.Split(rest+string(text[:n]), "\n")
			rest = parts[len(parts)-1]
			for _, line := range parts[:len(parts)-1] {
				s.lines <- line
			}
			if err == io.EOF || err != nil {
				if rest != "" {
					s.lines <- rest
				}
				s.ended = cmd.Wait()
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		s.drain()
		if t.Failed() {
			t.Logf("%s said\n%s", cmd.Path, strings.Join(s.said, "\n"))
		}
	})
	return s
}

// until returns the next line that matches the pattern.
func (s *script) until(pattern string) string {
	s.t.Helper()
	want := regexp.MustCompile(pattern)
	deadline := time.After(patience)
	for {
		select {
		case line, ok := <-s.lines:
			if !ok {
				s.t.Fatalf("nothing that was said matches %s: %v\n%s", pattern, s.ended, strings.Join(s.said, "\n"))
			}
			s.said = append(s.said, line)
			if want.MatchString(line) {
				return line
			}
		case <-deadline:
			s.t.Fatalf("nothing that was said within %s matches %s\n%s", patience, pattern, strings.Join(s.said, "\n"))
		}
	}
}

func (s *script) drain() {
	for line := range s.lines {
		s.said = append(s.said, line)
	}
}

// finish waits for the end, which is to be a good one.
func (s *script) finish() {
	s.t.Helper()
	s.drain()
	if s.ended != nil {
		s.t.Fatalf("%v\n%s", s.ended, strings.Join(s.said, "\n"))
	}
}

// eventually waits until something that happens by itself has happened.
func (c *clone) eventually(what string, happened func() bool) {
	c.t.Helper()
	for start := time.Now(); time.Since(start) < patience/2; {
		if happened() {
			return
		}
	}
	c.t.Fatalf("it does not happen that %s", what)
}

// userinfo is the status that the userinfo endpoint answers to the token.
func (c *clone) userinfo(token string) int {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, "http://"+c.house+"/oauth2/userinfo", nil)
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	return res.StatusCode
}

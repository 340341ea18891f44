package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// credentials are what a built-in secret would look like, by how each begins.
var credentials = map[string]*regexp.Regexp{
	"th_live_":    regexp.MustCompile(`^th_live_[0-9A-Za-z]{24,}`),
	"th_test_":    regexp.MustCompile(`^th_test_[0-9A-Za-z]{24,}`),
	"thr_":        regexp.MustCompile(`^thr_[0-9A-Za-z_-]{24,}`),
	"eyJ":         regexp.MustCompile(`^eyJ[0-9A-Za-z_-]{8,}\.eyJ[0-9A-Za-z_-]{8,}\.`),
	"-----BEGIN ": regexp.MustCompile(`^-----BEGIN [A-Z ]*PRIVATE KEY-----\n[0-9A-Za-z+/]{16}`),
	"$argon2id$":  regexp.MustCompile(`^\$argon2id\$v=19\$[0-9a-z=,]+\$[0-9A-Za-z+/]{16}`),
}

// random tells whether text may come from chance: names of the runtime and rows of
// zeros do not.
func random(text []byte) bool {
	return bytes.ContainsAny(text, "0123456789") && bytes.ContainsAny(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") && bytes.ContainsAny(text, "abcdefghijklmnopqrstuvwxyz")
}

// built looks for credentials in a program.
func built(program []byte) (out [][]byte) {
	for begins, whole := range credentials {
		for rest := program; ; rest = rest[len(begins):] {
			i := bytes.Index(rest, []byte(begins))
			if i < 0 {
				break
			}
			rest = rest[i:]
			if found := whole.Find(rest[:min(len(rest), 500)]); found != nil && random(found[len(begins):]) {
				out = append(out, found)
			}
		}
	}
	return out
}

// SEC-LOG-30: nothing is built in. Two fresh servers have master keys and
// administrators' passwords of their own, which the binary does not hold, nor
// anything else that looks like a credential; and no server starts with an empty
// or a missing master key where it serves others than this machine.
func TestNoSecretIsBuiltIn(t *testing.T) {
	binary := shipped(t)
	program, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	for _, found := range built(program) {
		t.Errorf("the binary holds %.40q…", found)
	}
	seen := map[string]bool{}
	for range 2 {
		s := launch(t, binary, "TOKENHOUSE_ADMIN_EMAIL=admin@fresh.localhost")
		password := s.password(t)
		key, err := os.ReadFile(filepath.Join(s.cmd.Dir, "data", "master.key"))
		if err != nil {
			t.Fatal(err)
		}
		for what, secret := range map[string]string{"password": password, "master key": strings.TrimSpace(string(key))} {
			if len(secret) < 16 || seen[secret] || bytes.Contains(program, []byte(secret)) {
				t.Errorf("the %s of a fresh server is not its own", what)
			}
			seen[secret] = true
		}
		s.signal(t, syscall.SIGTERM)
		if err := <-s.ended; err != nil {
			t.Errorf("the server ended with %v", err)
		}
	}
	emptyMasterKeys(t, binary)
}

// emptyMasterKeys starts a server that others reach with no master key to speak of.
func emptyMasterKeys(t *testing.T, binary string) {
	t.Helper()
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for what, env := range map[string]string{
		"no master key":       "TOKENHOUSE_MASTER_KEY=",
		"an empty file of it": "TOKENHOUSE_MASTER_KEY_FILE=" + empty,
		"blanks":              "TOKENHOUSE_MASTER_KEY=    ",
		"a word":              "TOKENHOUSE_MASTER_KEY=changeme",
	} {
		cmd := exec.Command(binary, "serve")
		cmd.Dir = t.TempDir()
		cmd.Env = []string{"TOKENHOUSE_ISSUER=https://tokens.example.com", "TOKENHOUSE_LISTEN=" + vacant(t), "TOKENHOUSE_OPS_LISTEN=" + vacant(t), env}
		ended := make(chan error, 1)
		var out bytes.Buffer
		cmd.Stderr = &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		go func() { ended <- cmd.Wait() }()
		select {
		case err := <-ended:
			if err == nil || !strings.Contains(out.String(), "master") {
				t.Errorf("%s: it ended with %v and said %s", what, err, &out)
			}
		case <-time.After(startTimeout):
			_ = cmd.Process.Kill()
			t.Errorf("%s: it serves", what)
		}
		if _, err := os.Stat(filepath.Join(cmd.Dir, "data", "master.key")); err == nil {
			t.Errorf("%s: a key was made", what)
		}
	}
}

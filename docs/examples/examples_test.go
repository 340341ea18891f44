// Package examples_test runs the examples as a reader would.
package examples_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// example is a program that reads a token and prints its claims.
type example struct {
	name    string
	command []string
	dir     string
}

// run returns what the example prints where it accepts the token, else what it
// complains about.
func (e example) run(t *testing.T, token string, env ...string) (claims map[string]any, refusal string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, e.command[0], e.command[1:]...)
	cmd.Dir, cmd.Stdin, cmd.Env = e.dir, strings.NewReader(token+"\n"), append(os.Environ(), env...)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		if out.Len() > 0 {
			t.Errorf("claims were printed with an error: %s", &out)
		}
		if complaint.Len() == 0 {
			t.Fatal(err)
		}
		return nil, complaint.String()
	}
	if err := json.Unmarshal(out.Bytes(), &claims); err != nil {
		t.Fatalf("%v: %s%s", err, &out, &complaint)
	}
	return claims, ""
}

// build makes the examples that verify ready to run.
func build(t *testing.T) []example {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "go-verify")
	do(t, "go-verify", "go", "build", "-tags", "nomsgpack", "-trimpath", "-o", binary, ".")
	return append([]example{{"go-verify", []string{binary}, "."}}, withStatusLists(t)...)
}

// withStatusLists are the examples that refuse what was revoked.
func withStatusLists(t *testing.T) []example {
	t.Helper()
	node, err := nodeVerify()
	if err != nil {
		t.Fatal(err)
	}
	python, err := filepath.Abs(filepath.Join("python-verify", ".venv", "bin", "python"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(python); err != nil {
		t.Fatalf("what python-verify uses is not installed; make testenv does it: %v", err)
	}
	return []example{{"node-verify", []string{"node", "verify.mjs"}, node}, {"python-verify", []string{python, "-B", "verify.py"}, "python-verify"}}
}

// nodeVerify installs the example as its reader would, elsewhere.
var nodeVerify = sync.OnceValues(func() (string, error) {
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			return "", fmt.Errorf("%s is missing; install Node.js: %w", tool, err)
		}
	}
	dir := filepath.Join(built, "node-verify")
	if err := os.CopyFS(dir, os.DirFS("node-verify")); err != nil {
		return "", err
	}
	cmd := exec.Command("npm", "ci", "--prefer-offline", "--ignore-scripts", "--no-audit", "--no-fund")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	return dir, nil
})

func do(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0") // as the server is built: what both compile is compiled once
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// K4, O13: anybody's JOSE library verifies our tokens with the published keys
// alone, and refuses what is not one of them.
func TestTheExamplesVerifyOffline(t *testing.T) {
	h := housetest.Start(t, housetest.Options{Clock: housetest.NewClock(time.Now().Add(-26 * time.Hour))})
	old := h.Client().Login(h.Admin.Email, h.Admin.Password).Access
	h.Advance(26 * time.Hour)
	s := h.Client().Login(h.Admin.Email, h.Admin.Password)
	session := h.Client().SessionLogin(h.Admin.Email, h.Admin.Password)
	url := "ISSUER=" + h.Config.Issuer

	for _, e := range build(t) {
		t.Run(e.name, func(t *testing.T) {
			for dialect, token := range map[string]string{"Overwatch": s.Access, "KubeWatch": session.Access} {
				claims, refusal := e.run(t, token, url)
				if claims == nil {
					t.Fatalf("%s: a good token: %s", dialect, refusal)
				}
				if claims["org_id"] != s.Org || claims["sub"] != s.User || claims["iss"] != h.Config.Issuer {
					t.Errorf("%s: %v", dialect, claims)
				}
				for _, name := range []string{"exp", "iat"} {
					if _, ok := claims[name].(float64); !ok {
						t.Errorf("%s: %s is %v", dialect, name, claims[name])
					}
				}
				for _, name := range []string{"jti", "sid", "aud"} {
					if text, ok := claims[name].(string); !ok || text == "" {
						t.Errorf("%s: %s is %v", dialect, name, claims[name])
					}
				}
			}
			head, rest, _ := strings.Cut(s.Access, ".")
			payload, signature, _ := strings.Cut(rest, ".")
			other, _, _ := strings.Cut(strings.TrimPrefix(session.Access, head+"."), ".")
			for name, c := range map[string]struct{ token, env, want string }{
				"another payload":  {head + "." + other + "." + signature, url, "invalid token"},
				"alg none":         {"eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0." + payload + ".", url, "invalid token"},
				"no token":         {"", url, "invalid token"},
				"expired":          {old, url, "token expired"},
				"another audience": {s.Access, "AUDIENCE=https://other.example.com", "invalid token"},
			} {
				if claims, refusal := e.run(t, c.token, url, c.env); claims != nil || !strings.Contains(refusal, "refused: "+c.want) {
					t.Errorf("%s: %v %s", name, claims, refusal)
				}
			}
		})
	}
}

// No registry is named in what a reader clones, so that theirs is used.
func TestTheLockfilesNameNoRegistry(t *testing.T) {
	files, err := filepath.Glob("*/package-lock.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v %v", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var lock struct {
			Packages map[string]map[string]any `json:"packages"`
		}
		if err := json.Unmarshal(text, &lock); err != nil {
			t.Fatal(err)
		}
		for name, p := range lock.Packages {
			if p["resolved"] != nil {
				t.Errorf("%s: %s is resolved to %v", file, name, p["resolved"])
			}
			if name != "" && p["integrity"] == nil {
				t.Errorf("%s: %s is not pinned by its digest", file, name)
			}
		}
	}
}

package examples_test

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// O17: the README's resource server, exactly as it is printed: it is ten lines,
// and it lets a token in until its bearer has logged out.
func TestTheReadmesResourceServerInTenLines(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	shown := regexp.MustCompile("(?s)```go\n(.*?)```").FindSubmatch(text)
	if shown == nil {
		t.Fatal("the README shows no resource server")
	}
	_, body, _ := strings.Cut(string(shown[1]), "func main() {\n")
	if body, _, _ = strings.Cut(body, "\n}\n"); strings.Count(body, "\n")+1 != 10 {
		t.Errorf("it has %d lines", strings.Count(body, "\n")+1)
	}
	c := newClone(t)
	source, binary := filepath.Join(c.dir, "main.go"), filepath.Join(c.dir, "resource-server")
	if err := os.WriteFile(source, []byte(c.here(string(shown[1]))), 0o600); err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	do(t, root, "go", "build", "-tags", "nomsgpack", "-trimpath", "-o", binary, source)
	cmd := exec.Command(binary)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	start(t, cmd)
	agents := func(token string) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+c.web+"/agents", nil)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0
		}
		defer res.Body.Close()
		return res.StatusCode
	}
	token := c.administrator()
	c.eventually("the resource server lets the token in", func() bool { return agents(token) == http.StatusOK })
	if got := agents(""); got != http.StatusUnauthorized {
		t.Errorf("without a token: %d", got)
	}
	if got := c.post("/api/v1/auth/logout", token); got != http.StatusNoContent {
		t.Fatalf("logout: %d", got)
	}
	replied := time.Now()
	c.eventually("the resource server refuses it", func() bool { return agents(token) == http.StatusUnauthorized })
	if took := time.Since(replied); took > 2*time.Second {
		t.Errorf("it took %s", took)
	}
}

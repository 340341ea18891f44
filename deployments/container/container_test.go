// Package container_test builds the shipped container image with buildah and lets the binary in it serve.
package container_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/shippedtest"
)

// engine is a buildah whose images and containers go with the test.
type engine struct{ args []string }

func newEngine(t *testing.T) *engine {
	t.Helper()
	if _, err := exec.LookPath("buildah"); err != nil {
		t.Fatal("buildah is needed to test the container image (Debian: apt-get install buildah)")
	}
	dir := t.TempDir()
	// vfs needs nothing of the kernel that a machine inside a machine may lack.
	return &engine{[]string{"--root", filepath.Join(dir, "root"), "--runroot", filepath.Join(dir, "run"), "--storage-driver", "vfs"}}
}

func (e *engine) command(args ...string) *exec.Cmd {
	return exec.Command("buildah", append(e.args[:len(e.args):len(e.args)], args...)...)
}

// do gives what buildah prints.
func (e *engine) do(t *testing.T, args ...string) string {
	t.Helper()
	return output(t, e.command(args...))
}

func output(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", strings.Join(cmd.Args, " "), err, out, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

// build makes the image as `make image` does, from a binary built like the released one.
func build(t *testing.T, e *engine) (image string) {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "tokenhouse")
	if err := shippedtest.Build(binary); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("./build", binary, "tokenhouse:test")
	cmd.Env = append(os.Environ(), "BUILDAH=buildah "+strings.Join(e.args, " "))
	return output(t, cmd)
}

func TestTheImageHoldsOnlyTheServerAndServes(t *testing.T) {
	e := newEngine(t)
	image := build(t, e)
	container := e.do(t, "from", image)
	root := e.do(t, "mount", container)

	t.Run("it holds only the server", func(t *testing.T) { holdsOnly(t, root) })
	t.Run("it says how to be run", func(t *testing.T) { saysHow(t, e, image) })
	t.Run("it serves and is healthy", func(t *testing.T) { serves(t, e, container) })
	t.Run("serving wrote nothing outside of data", func(t *testing.T) { holdsOnly(t, root) })
}

func holdsOnly(t *testing.T, root string) {
	allowed := map[string]bool{"tokenhouse": true, "LICENSE": true, "etc/ssl/certs/ca-certificates.crt": true,
		// where the engine puts the machine's own when it runs a container
		"etc/hosts": true, "etc/hostname": true, "etc/resolv.conf": true, "run/.containerenv": true}
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		owner := info.Sys().(*syscall.Stat_t).Uid
		switch {
		case name == "data":
			if owner != 65532 || info.Mode().Perm() != 0o700 {
				t.Errorf("data has mode %v and owner %d", info.Mode(), owner)
			}
			return fs.SkipDir
		case info.Mode().Perm()&0o022 != 0 || owner != 0:
			t.Errorf("%s can be written: %v, owner %d", name, info.Mode(), owner)
		case !d.IsDir() && !allowed[name]:
			t.Errorf("%s is in the image", name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func saysHow(t *testing.T, e *engine, image string) {
	var got struct {
		Docker struct {
			Config struct {
				User        string
				Entrypoint  []string
				Cmd         []string
				Env         []string
				Volumes     map[string]any
				Healthcheck struct{ Test []string }
			} `json:"config"`
		}
	}
	if err := json.Unmarshal([]byte(e.do(t, "inspect", "--type", "image", image)), &got); err != nil {
		t.Fatal(err)
	}
	c := got.Docker.Config
	if c.User != "65532:65532" {
		t.Errorf("it runs as %q", c.User)
	}
	if fmt.Sprint(c.Entrypoint, c.Cmd) != "[/tokenhouse] [serve]" || fmt.Sprint(c.Healthcheck.Test) != "[CMD /tokenhouse healthcheck]" {
		t.Errorf("it runs %v %v and is checked by %v", c.Entrypoint, c.Cmd, c.Healthcheck.Test)
	}
	if _, ok := c.Volumes["/data"]; !ok {
		t.Errorf("its volumes are %v", c.Volumes)
	}
}

func serves(t *testing.T, e *engine, container string) {
	public, ops := shippedtest.Vacant(t), shippedtest.Vacant(t)
	// There is no network of its own here, so the listeners move; all else is as the image says.
	env := []string{"--env", "TOKENHOUSE_LISTEN=" + public, "--env", "TOKENHOUSE_OPS_LISTEN=" + ops}
	run := append([]string{"run", "--isolation", "chroot"}, env...)
	server := e.command(append(run, container, "--", "/tokenhouse", "serve")...)
	server.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdout, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	server.Stderr = server.Stdout
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	said := make(chan string, 1)
	go func() {
		text, _ := io.ReadAll(bufio.NewReader(stdout))
		said <- string(text)
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-server.Process.Pid, syscall.SIGTERM)
		text := <-said
		_ = server.Wait()
		if t.Failed() {
			t.Logf("the server said:\n%s", text)
		}
	})
	ready(t, "http://"+ops+"/readyz")
	e.do(t, append(run, container, "--", "/tokenhouse", "healthcheck")...)
	if keys := get(t, "http://"+public+"/.well-known/jwks.json"); !strings.Contains(keys, `"ES256"`) {
		t.Errorf("the server publishes the keys %s", keys)
	}
}

// ready waits until the address answers 200.
func ready(t *testing.T, url string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for again := time.Tick(50 * time.Millisecond); ; {
		if reply, err := http.Get(url); err == nil {
			reply.Body.Close()
			if reply.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-again:
		case <-ctx.Done():
			t.Fatalf("%s never answered 200", url)
		}
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	reply, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(reply.Body)
	if err != nil || reply.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", url, reply.Status, err)
	}
	return string(body)
}

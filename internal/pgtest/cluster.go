package pgtest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// Cluster is a PostgreSQL server of our own: started from the machine's binaries in a directory under [os.TempDir], with fsync on,
// as on a machine that matters. Its methods are for one goroutine at a time.
type Cluster struct {
	dir      string
	binaries binaries
	watcher  io.Closer // closing it removes the cluster; the kernel closes it when we die

	postmaster *exec.Cmd
	gone       chan struct{} // closed when the last process of the running server has ended

	mu  sync.Mutex
	log []string // the last lines of the server's log
}

// maxConnections leaves room for many packages' tests at once, each with pools of its own.
const maxConnections = "300"

// Private starts a cluster that lives as long as t, for a test that stops or kills its server.
func Private(t testing.TB) *Cluster {
	t.Helper()
	c, err := StartCluster()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("pgtest: %v", err)
		}
	})
	return c
}

// StartCluster creates and starts a cluster. It is removed by Close, or else when this process ends. The error says what to
// install where the binaries are missing.
func StartCluster() (*Cluster, error) {
	b, err := findBinaries(places())
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "tokenhouse-pg-")
	if err != nil {
		return nil, fmt.Errorf("pgtest: %w", err)
	}
	c := &Cluster{dir: dir, binaries: b}
	if c.watcher, err = watch(dir); err != nil {
		return nil, errors.Join(fmt.Errorf("pgtest: %w", err), os.RemoveAll(dir))
	}
	if err := c.initialise(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	if err := c.Start(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *Cluster) initialise() error {
	if u := c.binaries.user; u != nil {
		if err := os.Chown(c.dir, int(u.Uid), int(u.Gid)); err != nil {
			return fmt.Errorf("pgtest: %w", err)
		}
	}
	// --no-sync spares the wait for files that nobody needs after a power cut; the server itself still syncs each commit.
	out, err := c.command(c.binaries.initdb, "--pgdata", c.data(), "--username", "postgres", "--auth", "trust",
		"--encoding", "UTF8", "--locale", "C", "--no-sync").CombinedOutput()
	if err != nil {
		return fmt.Errorf("pgtest: initdb in %s: %w\n%s", c.dir, err, out)
	}
	return nil
}

// URL gives the URL of the cluster's database "postgres", as a superuser. Tests of one server may use it as it is; it stays the
// same when the server is started again.
func (c *Cluster) URL() string { return "postgres://postgres@/postgres?host=" + c.dir }

// Database creates a fresh, empty database in the running server and gives its URL. It goes with the cluster.
func (c *Cluster) Database(t testing.TB) string {
	t.Helper()
	s, err := openServer(c.URL())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.exec("CREATE DATABASE " + s.run + " TEMPLATE template0"); err != nil {
		t.Fatalf("pgtest: creating a database: %v", err)
	}
	return strings.Replace(c.URL(), "/postgres?", "/"+s.run+"?", 1)
}

// Start starts the stopped or killed server, which then first recovers what was committed, and returns when it accepts connections.
func (c *Cluster) Start() error {
	cmd := c.command(c.binaries.postgres, "-D", c.data(), "-k", c.dir, "-c", "listen_addresses=", "-c", "max_connections="+maxConnections)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return fmt.Errorf("pgtest: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("pgtest: %w", err)
	}
	ready, gone := make(chan struct{}), make(chan struct{})
	c.postmaster, c.gone = cmd, gone
	go func() {
		defer close(gone)
		// Every process of the server holds the pipe, so it ends with the last of them.
		c.follow(stderr, sync.OnceFunc(func() { close(ready) }))
		_ = cmd.Wait() // how it ended is in its log
	}()
	select {
	case <-ready:
		return nil
	case <-gone:
		return fmt.Errorf("pgtest: PostgreSQL did not start:\n%s", c.Log())
	}
}

// follow keeps the tail of the server's log and says when the server is ready.
func (c *Cluster) follow(stderr io.Reader, ready func()) {
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		c.mu.Lock()
		c.log = append(c.log, lines.Text())
		if len(c.log) > 200 {
			c.log = c.log[100:]
		}
		c.mu.Unlock()
		if strings.Contains(lines.Text(), "database system is ready to accept connections") {
			ready()
		}
	}
	_, _ = io.Copy(io.Discard, stderr) // a line too long for the scanner must not block the server
}

// Stop shuts the server down in good order, ending its sessions, and returns when no process of it is left.
func (c *Cluster) Stop() error { return c.end(syscall.SIGINT) }

// Kill ends the server as a crash does (SIGKILL) and returns when no process of it is left. What was committed is there again
// after Start.
func (c *Cluster) Kill() error {
	if err := c.end(syscall.SIGKILL); err != nil {
		return err
	}
	// Its process id may soon be another's; nothing may be sent there, neither by us nor by the watcher.
	if err := os.Remove(filepath.Join(c.data(), "postmaster.pid")); err != nil {
		return fmt.Errorf("pgtest: %w", err)
	}
	return nil
}

func (c *Cluster) end(how syscall.Signal) error {
	if c.postmaster == nil {
		return errors.New("pgtest: the server is not running")
	}
	if err := c.postmaster.Process.Signal(how); err != nil {
		return fmt.Errorf("pgtest: %w", err)
	}
	<-c.gone
	c.postmaster = nil
	return nil
}

// Log gives the last lines of the server's log.
func (c *Cluster) Log() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.log, "\n")
}

// Close stops the server if it runs and removes the cluster.
func (c *Cluster) Close() error {
	if c.postmaster != nil {
		if err := c.end(syscall.SIGQUIT); err != nil {
			return err
		}
	}
	return c.watcher.Close()
}

func (c *Cluster) data() string { return filepath.Join(c.dir, "data") }

// command prepares a program of PostgreSQL's, in a process group of its own: an interrupt at the terminal is for the tests, whose
// end then takes the server along.
func (c *Cluster) command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...)
	cmd.Dir = c.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: c.binaries.user}
	return cmd
}

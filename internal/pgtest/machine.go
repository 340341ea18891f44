package pgtest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

// binaries is what the machine offers to run a cluster with.
type binaries struct {
	initdb, postgres string
	user             *syscall.Credential // whom to run them as; nil: as ourselves
}

const installHint = `pgtest: no PostgreSQL to test with. Either set ` + EnvServer + ` to a server in which databases may be created,
or install the server's programs (initdb, postgres; 13 or later):
	Debian, Ubuntu: apt-get install postgresql
	Fedora:         dnf install postgresql-server
	macOS:          brew install postgresql`

// places lists where to look: in PATH, then where Debian keeps the programs of each version, newest first.
func places() []string {
	var dirs []string
	if found, err := exec.LookPath("initdb"); err == nil {
		dirs = append(dirs, filepath.Dir(found))
	}
	versions, _ := filepath.Glob("/usr/lib/postgresql/*/bin") // the pattern is well-formed
	slices.SortFunc(versions, func(a, b string) int { return version(b) - version(a) })
	return append(dirs, versions...)
}

// findBinaries takes the first of dirs that holds both programs.
func findBinaries(dirs []string) (binaries, error) {
	for _, dir := range dirs {
		b := binaries{initdb: filepath.Join(dir, "initdb"), postgres: filepath.Join(dir, "postgres")}
		if !executable(b.initdb) || !executable(b.postgres) {
			continue
		}
		var err error
		b.user, err = unprivileged()
		return b, err
	}
	return binaries{}, errors.New(installHint)
}

// version gives the 15 of /usr/lib/postgresql/15/bin, else 0.
func version(bin string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(bin)))
	return n
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// unprivileged says whom to run PostgreSQL as, since it refuses to be run by root.
func unprivileged() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.ParseUint(u.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(uidErr, gidErr); err != nil {
			return nil, fmt.Errorf("pgtest: user %s: %w", name, err)
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("pgtest: PostgreSQL refuses to run as root, and there is no user postgres or nobody to run it as")
}

// watchScript waits for the end of its input, which is the end of us, then takes the server and its directory away.
const watchScript = `trap '' HUP INT TERM
cat >/dev/null
if pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null); then
	kill -QUIT "$pid" 2>/dev/null
	tries=200 # the server takes its pid file away as it ends; a process that nobody reaps stays for kill -0 to see
	while [ $tries -gt 0 ] && [ -e "$1/data/postmaster.pid" ] && kill -0 "$pid" 2>/dev/null; do
		tries=$((tries - 1))
		sleep 0.05
	done
fi
rm -rf "$1"`

// watch starts a process that removes the cluster in dir when the returned Closer is closed or this process ends, be it by panic
// or SIGKILL. Close returns when the directory is gone.
func watch(dir string) (io.Closer, error) {
	cmd := exec.Command("sh", "-c", watchScript, "sh", dir)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return watcher{stdin, cmd}, nil
}

type watcher struct {
	stdin io.Closer
	cmd   *exec.Cmd
}

func (w watcher) Close() error {
	if err := w.stdin.Close(); err != nil {
		return err
	}
	return w.cmd.Wait()
}

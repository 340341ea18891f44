package main

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// allowed sets how large a file a process may make, in bytes; negative is any size.
// What is beyond fails with EFBIG, which is an error of the disk to whoever writes.
func allowed(t *testing.T, bytes, pid int) {
	t.Helper()
	size := "unlimited"
	if bytes >= 0 {
		size = strconv.Itoa(bytes)
	}
	if out, err := exec.Command("prlimit", "--pid", strconv.Itoa(pid), "--fsize="+size+":").CombinedOutput(); err != nil {
		t.Fatalf("prlimit: %v %s", err, out)
	}
}

// FLT-DB-14: the disk of a database takes nothing any more. Nothing is acknowledged
// that is not there afterwards, what needs no writing goes on, and when the disk
// takes writes again so does the server, without a restart, on a whole database.
// With TOKENHOUSE_TEST_DRILLS=full the same with a disk that is really full
// (FLT-DB-13), for which it needs a name space of its own.
func TestADiskThatTakesNoWrites(t *testing.T) {
	t.Run("SQLite", func(t *testing.T) {
		v := &victim{t: t, binary: tested(t), database: "sqlite://" + filepath.Join(t.TempDir(), "disk.db"), dir: t.TempDir(), listen: vacant(t), ops: vacant(t)}
		v.withoutDisk(func() { allowed(t, 0, v.server.Process.Pid) }, func() { allowed(t, -1, v.server.Process.Pid) }, func() string { return v.database })
		v.kill()
		v.whole(strings.TrimPrefix(v.database, "sqlite://"))
	})
	if os.Getenv("TOKENHOUSE_TEST_DRILLS") != "full" {
		return
	}
	t.Run("a full disk", func(t *testing.T) {
		dir := t.TempDir()
		v := &victim{t: t, binary: onSmallDisk(t, dir, tested(t)), database: "sqlite://" + filepath.Join(dir, "disk.db"), dir: dir, listen: vacant(t), ops: vacant(t)}
		var disk string
		v.withoutDisk(func() {
			disk = fmt.Sprintf("/proc/%d/root%s", v.server.Process.Pid, dir)
			f, err := os.Create(filepath.Join(disk, "ballast"))
			if err != nil {
				t.Fatal(err)
			}
			for piece := 1 << 16; piece > 0; piece /= 2 {
				for err = nil; err == nil; {
					_, err = f.Write(make([]byte, piece))
				}
			}
			_ = f.Close()
		}, func() {
			if err := os.Remove(filepath.Join(disk, "ballast")); err != nil {
				t.Fatal(err)
			}
		}, func() string { return "sqlite://" + copied(t, filepath.Join(disk, "disk.db")) })
		v.whole(copied(t, filepath.Join(disk, "disk.db")))
		v.kill()
	})
}

// copied is a copy of a database, with its journal.
func copied(t *testing.T, file string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy.db")
	for _, suffix := range []string{"", "-wal"} {
		b, err := os.ReadFile(file + suffix)
		if err == nil {
			err = os.WriteFile(to+suffix, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// onSmallDisk is a program that runs another one with a small disk at dir, which
// goes with it.
func onSmallDisk(t *testing.T, dir, binary string) string {
	t.Helper()
	own := "--mount"
	if os.Getuid() != 0 {
		own = "--mount --map-root-user"
	}
	script := filepath.Join(t.TempDir(), "tokenhouse")
	text := fmt.Sprintf("#!/bin/sh\nexec unshare %s sh -c 'mount -t tmpfs -o size=6m,mode=700 none %s && cd %[2]s && exec %s \"$@\"' sh \"$@\"\n", own, dir, binary)
	if err := os.WriteFile(script, []byte(text), 0o700); err != nil { //nolint:gosec // it is a program
		t.Fatal(err)
	}
	return script
}

// withoutDisk starts the server and takes its disk away for a while. read names the
// database as it is seen from here.
func (v *victim) withoutDisk(take, give func(), read func() string) {
	v.start()
	login := func() (s signedIn, status int) {
		status, err := v.call("127.0.0.1", "POST", "/api/v1/auth/login", "", map[string]string{"email": "admin@crash.localhost", "password": crashSecret}, &s)
		if err != nil {
			v.t.Errorf("login: %v", err)
		}
		s.from = "127.0.0.1"
		return s, status
	}
	s, status := login()
	if status != http.StatusOK {
		v.t.Fatalf("login: %d", status)
	}
	made := map[string]bool{}
	add := func(status int) {
		var key struct {
			ID string `json:"id"`
		}
		got, err := v.call(s.from, "POST", "/api/v1/api-keys", s.Access, map[string]any{"name": "k", "permissions": []string{"agents:read"}}, &key)
		if err != nil || got != status {
			v.t.Errorf("a new key: %d, %v, want %d", got, err, status)
		}
		if got == http.StatusCreated {
			made[key.ID] = true
		}
	}
	add(http.StatusCreated)
	v.expect(s, "GET", "/api/v1/me", http.StatusOK, "before")
	take()
	for range 5 {
		add(http.StatusServiceUnavailable)
	}
	if _, status := login(); status != http.StatusServiceUnavailable {
		v.t.Errorf("login: %d", status)
	}
	v.expectRefresh(s, http.StatusServiceUnavailable, "a refresh that cannot be written down")
	v.expect(s, "GET", "/api/v1/me", http.StatusOK, "a token")
	for _, url := range []string{"http://" + v.listen + "/.well-known/jwks.json", "http://" + v.ops + "/healthz"} {
		get(v.t, url, http.StatusOK)
	}
	give()
	get(v.t, "http://"+v.ops+"/readyz", http.StatusOK)
	for range 3 {
		add(http.StatusCreated)
	}
	v.expectRefresh(s, http.StatusOK, "the refresh, afterwards")
	at := *v
	at.database = read()
	there := at.identifiers("api_keys")
	for id := range made {
		if !there[id] {
			v.t.Errorf("the key %s was acknowledged and is not there", id)
		}
	}
	if len(there) != len(made) || len(made) != 4 {
		v.t.Errorf("%d keys are there, %d were acknowledged", len(there), len(made))
	}
}

// whole fails the test unless a database file of SQLite is.
func (v *victim) whole(file string) {
	v.t.Helper()
	at := *v
	at.database = "sqlite://" + file
	var found string
	if err := at.open().QueryRow("PRAGMA integrity_check").Scan(&found); err != nil || found != "ok" {
		v.t.Errorf("the database: %s, %v", found, err)
	}
}

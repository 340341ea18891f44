// Package systemd_test measures the shipped unit with systemd's own tools.
package systemd_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const unit = "tokenhouse.service"

// maxExposure is the figure of `systemd-analyze security` that we promise: 0 is a sealed box, 10 is root's own shell.
const maxExposure = 1.5

func analyze(t *testing.T, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Fatal("systemd-analyze is needed to test the unit (Debian: apt-get install systemd)")
	}
	cmd := exec.Command("systemd-analyze", args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "SYSTEMD_COLORS=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("systemd-analyze %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func TestTheUnitExposesLittle(t *testing.T) {
	out := analyze(t, "security", "--no-pager", "--offline=true", unit)
	m := regexp.MustCompile(`Overall exposure level for tokenhouse\.service: ([0-9.]+)`).FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("no figure in:\n%s", out)
	}
	figure, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	if figure > maxExposure {
		t.Errorf("exposure %.1f, at most %.1f is promised:\n%s", figure, maxExposure, out)
	}
}

func TestTheUnitHasNoMistakes(t *testing.T) {
	text, err := os.ReadFile(unit)
	if err != nil {
		t.Fatal(err)
	}
	// systemd looks whether the program is there; here any will do.
	program, err := exec.LookPath("true")
	if err != nil {
		t.Fatal(err)
	}
	const installed = "ExecStart=/usr/local/bin/tokenhouse "
	if !strings.Contains(string(text), installed) {
		t.Fatalf("the unit does not start %s", installed)
	}
	copied := filepath.Join(t.TempDir(), unit)
	if err := os.WriteFile(copied, []byte(strings.Replace(string(text), installed, "ExecStart="+program+" ", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	if out := analyze(t, "verify", "--man=no", copied); strings.TrimSpace(out) != "" {
		t.Errorf("systemd-analyze verify says:\n%s", out)
	}
}

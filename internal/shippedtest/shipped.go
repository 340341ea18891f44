// Package shippedtest is for tests of what is shipped beside the server: examples,
// images, configurations of proxies.
package shippedtest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"testing"
)

// Build makes the server at a path, as `make build` does.
func Build(binary string) error {
	cmd := exec.Command("go", "build", "-tags", "nomsgpack", "-trimpath", "-o", binary, "github.com/tokenhouse/tokenhouse/cmd/tokenhouse")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the server: %w\n%s", err, out)
	}
	return nil
}

// Vacant is an address of this machine where nobody listens.
func Vacant(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }() // it only showed that nobody listens
	return l.Addr().String()
}

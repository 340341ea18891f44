package examples_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// The client of docs/lockout.md logs in to an account under attack, with as much
// work as is usual, and not with a wrong password.
func TestTheLoginExampleShowsAProof(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	h.House().Logins.Throttle.Pool = accounts.Limit{Failures: 6, Window: time.Hour}
	p := h.Person(h.Admin.Org, "ada", "viewer")
	for i := range 6 {
		h.Client().From(fmt.Sprintf("203.0.113.%d", i)).TryLogin(p.Email, "not the password of anyone").Expect(http.StatusUnauthorized)
	}
	for password, want := range map[string]string{p.Password: "", "not the password of anyone": "refused: INVALID_CREDENTIALS"} {
		cmd := exec.CommandContext(t.Context(), "node", "login.mjs")
		cmd.Dir, cmd.Env = "node-login", append(os.Environ(), "ISSUER="+h.Config.Issuer, "EMAIL="+p.Email, "PASSWORD="+password)
		var out, complaint bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &complaint
		err := cmd.Run()
		if (err == nil) != (want == "") || !strings.HasPrefix(complaint.String(), want) {
			t.Fatalf("%v: %s%s", err, &out, &complaint)
		}
		if want == "" {
			h.Client().As(strings.TrimSpace(out.String())).Get("/api/v1/me").Expect(http.StatusOK)
		}
	}
}

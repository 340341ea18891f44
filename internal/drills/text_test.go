package drills_test

import (
	"crypto/rand"
	"net/http"
	"strings"
	"testing"

	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/storage/migrated"
)

// SEC-INJ-04: text that means something to a simple query comes back as it was
// sent, whatever stands before a value in a statement.
func TestTextIsNeverPartOfAStatement(t *testing.T) {
	texts := []string{
		`$1`, `$$`, `$1$2$3`, `$tag$ x $tag$`, `-1`, `- $1`, `--`, `-- x`, `/* $1 */`, `'; DROP TABLE users; --`, `\'; SELECT 1`, `E'\x27'`, `?`, `??`, `%s`, `:name`, `@p1`, `U&'\0027'`,
	}
	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		c := h.Client().As(h.Login(h.Admin).Access)
		for i, text := range texts {
			id := c.Post("/api/v1/api-keys", map[string]any{"name": text, "permissions": []string{"agents:read"}}).Expect(http.StatusCreated).Text("id")
			if got := c.Get("/api/v1/api-keys/" + id).Expect(http.StatusOK).Text("name"); got != text {
				t.Errorf("%q came back as %q", text, got)
			}
			if got := c.Patch("/api/v1/api-keys/"+id, map[string]string{"name": text + text}).Expect(http.StatusOK).Text("name"); got != text+text {
				t.Errorf("%q came back as %q", text+text, got)
			}
			if i%6 > 0 {
				continue // a password takes long
			}
			h.Client().TryLogin(text+"@example.com", text+" a long enough sentence").Expect(http.StatusUnauthorized, http.StatusUnprocessableEntity, http.StatusTooManyRequests)
		}
	})
}

// SEC-INJ-04: a URL that asks for the simple protocol is refused at the start.
func TestTheSimpleProtocolIsRefused(t *testing.T) {
	url := migrated.Postgres(t)
	url += map[bool]string{true: "&", false: "?"}[strings.Contains(url, "?")] + "default_query_exec_mode=simple_protocol"
	if err := opened(t, url); err == nil || !strings.Contains(err.Error(), "simple protocol") || strings.Contains(err.Error(), url) {
		t.Errorf("opened with the simple protocol: %v", err)
	}
	for _, mode := range []string{"exec", "cache_describe", "describe_exec"} {
		if err := opened(t, strings.Replace(url, "simple_protocol", mode, 1)); err != nil {
			t.Errorf("%s: %v", mode, err)
		}
	}
}

// opened opens a whole house on a database, with a key of its own, and closes it.
func opened(t *testing.T, url string) error {
	t.Helper()
	conf, env := house.Defaults(), house.Env{Now: housetest.NewClock(housetest.Epoch()).Now, Random: rand.Reader, Serving: true}
	conf.Database.URL, conf.DataDir = url, t.TempDir()
	conf.Sealing.MasterKey = secret.Of(strings.Repeat("5a", 32))
	built, err := house.Open(t.Context(), conf, env)
	if err != nil {
		return err
	}
	return built.Close()
}

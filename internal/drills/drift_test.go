package drills_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// FLT-DB-10: somebody changed the schema by hand. Where a column holds nothing that
// must hold something, or is gone, or of another type, or where a row is there
// twice, the request fails with 503 and without a word of the database; nobody is
// let in whom the whole row would have kept out; and all is well when the schema is.
func TestASchemaThatDrifted(t *testing.T) {
	h := housetest.Start(t, housetest.Options{Postgres: true, Replicas: 2})
	db := beside(t, h)
	type world struct {
		who housetest.Person
		s   housetest.Session
		key string
	}
	login := func(c *housetest.Client, w world) housetest.Reply {
		return c.TryLogin(w.who.Email, w.who.Password)
	}
	refresh := func(c *housetest.Client, w world) housetest.Reply { return c.Refresh(w.s.Refresh) }
	use := func(c *housetest.Client, w world) housetest.Reply { return c.WithKey(w.key).Get("/api/v1/me") }
	sessions := func(c *housetest.Client, w world) housetest.Reply { return c.As(w.s.Access).Get("/api/v1/sessions") }
	admin := h.Login(h.Admin)
	for name, drift := range map[string]struct {
		ask        func(*housetest.Client, world) housetest.Reply
		drift, fix []string
	}{
		"a password that is NULL": {login, []string{"ALTER TABLE users ALTER password_hash DROP NOT NULL", "CREATE TABLE kept AS SELECT id, password_hash v FROM users", "UPDATE users SET password_hash = NULL"},
			[]string{"UPDATE users SET password_hash = v FROM kept WHERE kept.id = users.id", "DROP TABLE kept", "ALTER TABLE users ALTER password_hash SET NOT NULL"}},
		"a status that is NULL": {login, []string{"ALTER TABLE users ALTER status DROP NOT NULL", "UPDATE users SET status = NULL"},
			[]string{"UPDATE users SET status = 'active'", "ALTER TABLE users ALTER status SET NOT NULL"}},
		"the time of a revocation that is NULL": {refresh, []string{"ALTER TABLE sessions ALTER revoked_at DROP NOT NULL", "UPDATE sessions SET revoked_at = NULL"},
			[]string{"UPDATE sessions SET revoked_at = 0", "ALTER TABLE sessions ALTER revoked_at SET NOT NULL"}},
		"a key's revocation that is NULL": {use, []string{"ALTER TABLE api_keys ALTER revoked_at DROP NOT NULL", "UPDATE api_keys SET revoked_at = NULL"},
			[]string{"UPDATE api_keys SET revoked_at = 0", "ALTER TABLE api_keys ALTER revoked_at SET NOT NULL"}},
		"a key's expiry that is NULL": {use, []string{"ALTER TABLE api_keys ALTER expires_at DROP NOT NULL", "UPDATE api_keys SET expires_at = NULL"},
			[]string{"UPDATE api_keys SET expires_at = 0", "ALTER TABLE api_keys ALTER expires_at SET NOT NULL"}},
		"a column that is gone": {refresh, []string{"ALTER TABLE sessions RENAME generation TO generations"}, []string{"ALTER TABLE sessions RENAME generations TO generation"}},
		"a column of another type": {sessions, []string{"ALTER TABLE sessions ALTER created_at TYPE text USING 'x' || created_at"},
			[]string{"ALTER TABLE sessions ALTER created_at TYPE bigint USING substr(created_at, 2)::bigint"}},
		"a table that is gone": {login, []string{"ALTER TABLE memberships RENAME TO members"}, []string{"ALTER TABLE members RENAME TO memberships"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := world{who: h.Person(h.Admin.Org, strings.ReplaceAll(name, " ", "-"), "viewer")}
			w.s = h.Login(w.who)
			_, w.key = h.Client().As(admin.Access).CreateKey("drift", "agents:read")
			run(t, db, drift.drift...)
			other := h.At(1).For(t) // which has never heard of them
			r := drift.ask(other, w)
			if r.Problem(http.StatusServiceUnavailable, "UNAVAILABLE"); strings.Contains(strings.ToLower(string(r.Body)), "column") || strings.Contains(string(r.Body), "SQL") {
				t.Errorf("the reply tells of the database: %s", r.Body)
			}
			h.OpsAt(1).Get("/healthz").Expect(http.StatusOK)
			run(t, db, drift.fix...)
			for n := 0; n < 10 && r.Status != http.StatusOK; n++ { // each connection may have to learn of it
				r = drift.ask(other, w)
			}
			r.Expect(http.StatusOK)
		})
	}
	t.Run("a signing key that is there twice", func(t *testing.T) {
		run(t, db, "ALTER TABLE signing_keys DROP CONSTRAINT signing_keys_pkey", "DROP INDEX signing_keys_active", "INSERT INTO signing_keys SELECT * FROM signing_keys")
		if err := h.House().Ring.Load(t.Context()); err == nil || !strings.Contains(err.Error(), "twice") {
			t.Errorf("loaded: %v", err)
		}
		h.Login(h.Admin) // with the keys that are known
	})
}

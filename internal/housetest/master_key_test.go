package housetest_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/keys/masterkey"
	"github.com/tokenhouse/tokenhouse/keys/sealing"
)

// SEC-OBS-15: two replicas get another master key without a moment's pause: they
// are restarted one after the other with both, everything is sealed anew while
// they run, and the next ones start with the new key alone. Sessions, API keys,
// clients, webhooks and signing keys are what they were.
func TestTheMasterKeyChangesWhileReplicasRun(t *testing.T) {
	housetest.Both(t, housetest.Options{Replicas: 2}, func(t *testing.T, h *housetest.Harness) {
		s := h.Login(h.Admin)
		admin := h.Client().As(s.Access)
		_, key := admin.CreateKey("kept", "agents:read")
		robot := enrol(admin, []string{"agents:read"}, map[string]any{"auth_method": "client_secret_jwt"})
		told := takes(t)
		hook := admin.Post("/api/v1/webhooks", map[string]any{"url": told.url, "events": []string{"setup.completed"}}).Expect(http.StatusCreated)
		told.knows(hook.Text("secret"))
		holds := func(replica int) {
			t.Helper()
			h.At(replica).As(s.Access).Get("/api/v1/me").Expect(http.StatusOK)
			h.At(replica).WithKey(key).Get("/api/v1/agents").Expect(http.StatusOK)
		}
		// The new key and the old one, at one replica after the other.
		old := h.Config.Sealing
		h.Config.Sealing = house.Sealing{MasterKey: secret.Of("another master key, which is longer than it need be"), Previous: house.Previous{MasterKey: old.MasterKey}}
		restart := func(gone int) int {
			t.Helper()
			n := h.AddReplica()
			if err := h.Replicas[gone].Stop(); err != nil {
				t.Fatal(err)
			}
			return n
		}
		third := restart(0)
		// What the new one seals, the old one reads.
		if _, err := h.Replicas[third].House.Ring.Rotate(t.Context(), h.Replicas[third].House.Operator(""), "ES256"); err != nil {
			t.Fatal(err)
		}
		if err := h.Replicas[1].House.Ring.Load(t.Context()); err != nil {
			t.Fatalf("a replica that has the old key alone: %v", err)
		}
		fourth := restart(1)
		late := 0
		done, err := h.Replicas[third].House.MasterKey().Change(t.Context(), h.Replicas[third].House.Operator(""), masterkey.Progress{
			Settle: func(ctx context.Context) error { late++; return h.Replicas[fourth].House.Feed.Poll(ctx) },
		})
		if err != nil || done.Sealed == 0 || len(done.Damaged) != 0 || late == 0 {
			t.Fatalf("Change = %+v, %v", done, err)
		}
		for _, n := range []int{third, fourth} {
			holds(n)
			uses, err := h.Replicas[n].House.MasterKey().Status(t.Context())
			if err != nil || len(uses) != 1 || !uses[0].Current {
				t.Errorf("replica %d: %+v, %v; want everything under one key", n, uses, err)
			}
		}
		h.Config.Sealing.Previous = house.Previous{}
		fifth := restart(third)
		holds(fifth)
		h.At(fifth).Refresh(s.Refresh).Expect(http.StatusOK)
		assertBySecret(t, h, fifth, robot)
		h.At(fifth).As(s.Access).Post("/api/v1/webhooks/"+hook.Text("id")+"/test", nil).Expect(http.StatusAccepted)
		eventually(t, "a webhook is signed for by its secret", func() bool {
			if err := h.Replicas[fifth].House.Tend(t.Context()); err != nil {
				t.Fatal(err)
			}
			return len(told.took(t)) == 1
		})
		conf := h.Config
		conf.Sealing = old
		if opened, err := house.Open(t.Context(), conf, house.Env{Now: h.Clock.Now, Random: zeroes{}}); !errors.Is(err, sealing.ErrWrongMasterKey) {
			t.Errorf("with the old key alone: %v, %v", opened, err)
		}
	})
}

// zeroes is no randomness at all, for what must not get so far as to need any.
type zeroes struct{}

func (zeroes) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// assertBySecret has a client of the method client_secret_jwt earn a token, for
// which its sealed secret must be opened.
func assertBySecret(t *testing.T, h *housetest.Harness, replica int, c serviceClient) {
	t.Helper()
	k := &keyHolder{serviceClient: c, alg: "HS256", key: []byte(c.secret), issuer: h.Config.Issuer, clock: h.Clock}
	h.Clock.Advance(time.Second)
	present(h.At(replica), k.sign(t, nil)).Expect(http.StatusOK)
}

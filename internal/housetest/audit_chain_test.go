package housetest_test

import (
	"bytes"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// provenAt exports the log of the caller's organisation at the replica, proves it
// with the keys that another one publishes, and returns its lines but the last.
func provenAt(t *testing.T, h *housetest.Harness, as *housetest.Client, keys int) ([][]byte, audit.Report) {
	t.Helper()
	export := as.Get("/api/v1/audit-events/export").Expect(http.StatusOK).Body
	v := audit.Verifier{Issuer: h.Config.Issuer}
	if err := v.Trust(h.At(keys).Get("/.well-known/jwks.json").Expect(http.StatusOK).Body); err != nil {
		t.Fatal(err)
	}
	r, err := v.Verify(bytes.NewReader(export))
	if err != nil {
		t.Fatalf("%v\n%s", err, export)
	}
	lines := bytes.SplitAfter(bytes.TrimSuffix(export, []byte("\n")), []byte("\n"))
	return lines[:len(lines)-1], r
}

// Two replicas record and seal at once, and one of them ends: there is one
// chain, whichever replica is asked and whichever signed, and all of it is proved.
func TestTwoReplicasKeepOneChain(t *testing.T) {
	housetest.Both(t, housetest.Options{Replicas: 2}, func(t *testing.T, h *housetest.Harness) {
		tokens := h.Login(h.Admin)
		record := func(replica, n int) {
			for i := range n {
				h.At(replica).Agent(fmt.Sprintf("agent %d of %d", i, replica)).From(fmt.Sprintf("192.0.2.%d", i+1)).
					TryLogin(h.Admin.Email, "not the password at all").Expect(http.StatusUnauthorized)
			}
		}
		// Both do it beside what they do in the background.
		together := func(round int) {
			var all sync.WaitGroup
			for n, r := range h.Replicas {
				all.Go(func() { record(n, 2) })
				all.Go(func() {
					for range 5 {
						if err := r.House.SealAudit(t.Context()); err != nil {
							t.Errorf("round %d: replica %d: %v", round, n, err)
						}
					}
				})
			}
			all.Wait()
		}
		for round := range 2 {
			together(round)
			h.Advance(2 * time.Minute) // a checkpoint is due
		}
		admin := func(replica int) *housetest.Client { return h.At(replica).As(tokens.Access) }
		one, first := provenAt(t, h, admin(0), 1)
		two, second := provenAt(t, h, admin(1), 0)
		if second.Events < first.Events || first.Events < 8 || first.Checkpoints < 2 || first.Unknown > 0 || len(two) < len(one) {
			t.Errorf("%+v and then %+v", first, second)
		}
		for i := range one {
			if !bytes.Equal(one[i], two[i]) {
				t.Fatalf("line %d is %s at one replica, %s at the other", i+1, one[i], two[i])
			}
		}
		if err := h.Replicas[0].Stop(); err != nil {
			t.Fatal(err)
		}
		record(1, 2)
		if _, third := provenAt(t, h, admin(1), 1); third.Events < second.Events+2 {
			t.Errorf("after one replica ended: %+v, before: %+v", third, second)
		}
	})
}

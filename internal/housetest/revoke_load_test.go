package housetest_test

import (
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/housetest"
	"github.com/tokenhouse/tokenhouse/tokens/verify"
)

// runClock lets the clock of a harness go at the speed of real time.
func runClock(t *testing.T, h *housetest.Harness) {
	t.Helper()
	const tick = 20 * time.Millisecond
	ended := make(chan struct{})
	var gone sync.WaitGroup
	gone.Go(func() {
		pace := time.NewTicker(tick)
		defer pace.Stop()
		last := time.Now()
		for {
			select {
			case at := <-pace.C:
				h.Clock.Advance(at.Sub(last))
				last = at
			case <-ended:
				return
			}
		}
	})
	t.Cleanup(func() { close(ended); gone.Wait() })
}

// pulled is a key that was revoked during a load.
type pulled struct {
	kid  string
	told atomic.Int64 // when the reply was there, in microseconds since 1970; 0 before
}

// SEC-JWT-35, FLT-CLU-06: a signing key is revoked under load. What it signed is
// refused by the replica that revoked it at once, by the other one and by
// consumers of the feed within two seconds; another key signs; nobody gets a
// 5xx. Who only keeps the JWK Set refuses once that has to be asked for again.
func TestASigningKeyRevokedUnderLoad(t *testing.T) {
	underLoad(t, func(t *testing.T, h *housetest.Harness, l *load) {
		// The next key is known already, as in the last minutes before a rotation.
		h.Client().As(h.Login(h.Admin).Access).Post("/api/v1/signing-keys/rotate", map[string]any{"algorithm": "ES256"}).Expect(http.StatusOK)
		h.Follow()
		runClock(t, h)
		var feeds []*consumer
		for i := range h.Replicas {
			l.verifiers = append(l.verifiers, verifierAt(h, i))
			feeds = append(feeds, consume(t, h, i, verify.FeedStream), consume(t, h, i, verify.FeedLongPoll))
			for _, f := range feeds[2*i:] {
				l.verifiers = append(l.verifiers, inProcess{f.Verifier})
			}
		}
		gone := &pulled{kid: activeKey(h.House(), "ES256")}
		l.judge = func(one loaded, err error) error {
			if one.kid == gone.kid && errors.Is(err, verify.ErrRevoked) {
				return nil
			}
			return err
		}
		old := l.client.token(h.Client())
		keeper, later := verifierAt(h, len(h.Replicas)-1), time.Duration(0)
		clock := func() time.Time { return h.Clock.Now().Add(later) }
		keeper.Now = clock
		keeper.Keys.(*verify.RemoteKeys).Now = clock
		if err := keeper.check(t, old, h.Clock.Now()); err != nil {
			t.Fatal(err)
		}
		l.start()
		half := time.NewTimer(loadTime(t) / 2)
		<-half.C
		l.pull(gone, old, feeds)
		half.Reset(loadTime(t) / 2)
		<-half.C
		l.stop()
		// Who has no feed keeps what it has for as long as Cache-Control lets it.
		if err := keeper.check(t, old, h.Clock.Now()); err != nil {
			t.Logf("who keeps the JWK Set refuses already: %v", err)
		}
		later = notice
		if err := keeper.check(t, old, h.Clock.Now()); !errors.Is(err, verify.ErrInvalid) {
			t.Errorf("who keeps the JWK Set says %v once it is too old; want ErrInvalid", err)
		}
	})
}

// pull revokes a key at the first replica, and measures who refuses when.
func (l *load) pull(gone *pulled, old string, feeds []*consumer) {
	t, h := l.t, l.h
	t.Helper()
	admin := h.Client().As(h.Login(h.Admin).Access)
	admin.Post("/api/v1/signing-keys/"+gone.kid+"/revoke", nil).Expect(http.StatusNoContent)
	replied := time.Now()
	gone.told.Store(replied.UnixMicro())
	use := func(replica int) int { return h.At(replica).As(old).Get("/api/v1/agents").Status }
	if status := use(0); status != http.StatusUnauthorized {
		t.Errorf("the replica that revoked the key answers %d", status)
	}
	if kid := kidOf(t, l.client.token(h.Client())); kid == gone.kid {
		t.Error("the replica that revoked the key still signs with it")
	}
	for i := range h.Replicas {
		eventually(t, "every replica refuses", func() bool { return use(i) == http.StatusUnauthorized })
		took := time.Since(replied)
		fresh := l.client.token(h.At(i))
		if took > bound || kidOf(t, fresh) == gone.kid {
			t.Errorf("replica %d took %s, and signs with the revoked key: %v", i, took, kidOf(t, fresh) == gone.kid)
		}
		for j := range h.Replicas {
			h.At(j).As(fresh).Get("/api/v1/agents").Expect(http.StatusOK)
		}
		t.Logf("replica %d refused %s after the reply", i, took)
	}
	for i, f := range feeds {
		took := f.refusal(t, old, replied)
		if took > bound {
			t.Errorf("consumer %d of the feed took %s", i, took)
		}
		t.Logf("consumer %d of the feed refused %s after the reply", i, took)
	}
}

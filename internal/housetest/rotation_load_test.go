package housetest_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/housetest"
	"github.com/tokenhouse/tokenhouse/server"
)

// rotations is how many a load lives through.
const rotations = 10

// underLoad starts two replicas on PostgreSQL, one on SQLite, and the load.
func underLoad(t *testing.T, test func(t *testing.T, h *housetest.Harness, l *load)) {
	for name, o := range map[string]housetest.Options{"sqlite": {}, "postgres": {Postgres: true, Replicas: 2}} {
		t.Run(name, func(t *testing.T) {
			h := housetest.Start(t, o)
			l := &load{t: t, h: h, client: enrol(h.Client().As(h.Login(h.Admin).Access), []string{"agents:read"}, nil)}
			test(t, h, l)
		})
	}
}

// INV-12, FLT-CLU-04: under 200 requests a second of issuing and verifying, keys
// are replaced ten times, and no verification fails: neither of
// tokens/verify nor of jose, which keep the JWK Set. The set never lacks a key
// that a living token needs, and no key signs before it was published for as
// long as the set may be kept, and two minutes.
func TestTenRotationsUnderLoad(t *testing.T) {
	underLoad(t, func(t *testing.T, h *housetest.Harness, l *load) {
		for i := range h.Replicas {
			l.verifiers = append(l.verifiers, verifierAt(h, i), verifierAt(h, i))
		}
		l.verifiers = append(l.verifiers, startNode(t, h, len(h.Replicas)-1))
		w := &watch{t: t, h: h, seen: map[string]time.Time{}, first: map[string]time.Time{}, ahead: map[string]time.Duration{}}
		w.look(l)
		initial := activeKey(h.House(), "ES256")
		l.start()
		rotate := func(n int) {
			house := h.Replicas[n%len(h.Replicas)].House
			if _, err := house.Ring.Rotate(t.Context(), house.Operator(""), "ES256"); err != nil { // of RSA keys, ten take long to make
				t.Error(err)
			}
		}
		rotate(0)
		const steps = rotations * int((notice+step)/step)
		pace := time.NewTicker(loadTime(t) / time.Duration(steps))
		defer pace.Stop()
		last, changed := initial, 0
		for i := 0; changed < rotations && i < 2*steps; i++ {
			<-pace.C
			l.calm.Lock() // no clock jumps between a request and its answer
			h.Advance(step)
			l.calm.Unlock()
			tendTogether(t, h)
			w.look(l)
			if now := activeKey(h.House(), "ES256"); now != last {
				last = now
				if changed++; changed == rotations/2 {
					l.calm.Lock() // so that keys may be forgotten: no more than ten are published
					h.Advance(26 * time.Hour)
					tendAll(t, h)
					l.mu.Lock()
					l.live = nil
					l.mu.Unlock()
					l.calm.Unlock()
				}
				rotate(changed)
			}
		}
		l.stop()
		if changed != rotations {
			t.Errorf("%d rotations; want %d", changed, rotations)
		}
		w.judge(initial)
	})
}

// step is how far the clock moves at a time.
const step = time.Minute

// tendTogether rotates on every replica at the same time: one of them acts.
func tendTogether(t *testing.T, h *housetest.Harness) {
	t.Helper()
	var all sync.WaitGroup
	for i, r := range h.Replicas {
		all.Go(func() {
			if err := r.House.Ring.Tend(context.Background()); err != nil {
				t.Errorf("replica %d cannot rotate: %v", i, err)
			}
		})
	}
	all.Wait()
}

// watch writes down when keys appear in the JWK Set and when they first sign.
type watch struct {
	t     *testing.T
	h     *housetest.Harness
	seen  map[string]time.Time     // first in every replica's set
	first map[string]time.Time     // first signed a token
	ahead map[string]time.Duration // from its publication until it may sign, as stored
}

func (w *watch) look(l *load) {
	w.t.Helper()
	now := w.h.Clock.Now()
	needed := l.signers(w.h.Config.Tokens.AccessTTL)
	everywhere := map[string]int{}
	for i, r := range w.h.Replicas {
		for _, k := range cleanKeys(w.t, r.URL+"/.well-known/jwks.json").Keys {
			everywhere[k.KeyID]++
		}
		for kid, until := range needed {
			if everywhere[kid] != i+1 {
				w.t.Errorf("the set of replica %d lacks %s, which signed a token that is good until %s", i, kid, until)
			}
		}
	}
	for kid, n := range everywhere {
		if _, known := w.seen[kid]; !known && n == len(w.h.Replicas) {
			w.seen[kid] = now
		}
	}
	for _, k := range w.h.House().Ring.Loaded() {
		if !k.ActivatedAt.IsZero() {
			w.ahead[k.ID] = k.ActivatedAt.Sub(k.CreatedAt)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, one := range l.live {
		if at, known := w.first[one.kid]; !known || one.at.Before(at) {
			w.first[one.kid] = one.at
		}
	}
}

// notice is how long a key must have been published before it signs.
const notice = server.JWKSAge + 2*time.Minute

func (w *watch) judge(initial string) {
	w.t.Helper()
	signed := 0
	for kid, at := range w.first {
		if kid == initial {
			continue
		}
		signed++
		if w.ahead[kid] < notice || w.seen[kid].IsZero() || at.Sub(w.seen[kid]) < server.JWKSAge {
			w.t.Errorf("key %s was published %s before it was active and seen %s before its first token; want %s", kid, w.ahead[kid], at.Sub(w.seen[kid]), notice)
		}
	}
	if signed < rotations-1 {
		w.t.Errorf("only %d keys signed after the first", signed)
	}
}

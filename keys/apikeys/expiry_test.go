package apikeys_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
)

const day = 24 * time.Hour

// told is what was recorded of expiries, in order: the name of the key and what
// was said.
func (r *replica) toldOfExpiry() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, e := range r.events {
		if e.Name == audit.APIKeyExpiring || e.Name == audit.APIKeyExpired {
			out = append(out, fmt.Sprintf("%s %s %s", e.Targets[0].Name, e.Name, e.Meta["notice"]))
		}
	}
	return out
}

// Each key is spoken of two weeks and a day before it expires, and when it has:
// once each, however many replicas look at the same moment.
func TestExpiriesAreToldOnce(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(testing.TB) *deployment{"SQLite": onSQLite, "PostgreSQL": onPostgreSQL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := start(t)
			a, b := d.replica(t), d.replica(t)
			alice := d.person("user_alice", "org_a", engineer)
			for key, life := range map[string]time.Duration{"month": 30 * day, "week": 7 * day, "hour": time.Hour, "ever": 0} {
				n := apikeys.New{Name: key, Permissions: []string{"agents:read"}}
				if life > 0 {
					n.ExpiresAt = d.clock.now().Add(life)
				}
				_, _, err := a.Create(t.Context(), alice, n)
				must(t, err)
			}
			gone, _, err := a.Create(t.Context(), alice, apikeys.New{Name: "gone", Permissions: []string{"agents:read"}, ExpiresAt: d.clock.now().Add(30 * day)})
			must(t, err)
			must(t, a.Revoke(t.Context(), alice, gone.ID))
			began := d.clock.now()
			for _, step := range []struct {
				after    time.Duration
				want     []string
				expiring int
			}{
				{0, nil, 2}, // the week and the hour expire soon, which whoever made them knows
				{time.Hour, []string{"hour api_key.expired "}, 1},
				{6 * day, []string{"week api_key.expiring 24h0m0s"}, 1},
				{7 * day, []string{"week api_key.expired "}, 0},
				{16*day + time.Minute, []string{"month api_key.expiring 336h0m0s"}, 1},
				{28 * day, nil, 1},
				{29*day + time.Minute, []string{"month api_key.expiring 24h0m0s"}, 1},
				{40 * day, []string{"month api_key.expired "}, 0},
				{90 * day, nil, 0},
			} {
				d.clock.advance(began.Add(step.after).Sub(d.clock.now()))
				before := append(a.toldOfExpiry(), b.toldOfExpiry()...)
				var all sync.WaitGroup
				for _, r := range []*replica{a, b, a, b} {
					all.Go(func() {
						if n, err := r.MarkExpiring(t.Context()); err != nil || n != step.expiring {
							t.Errorf("after %s: %d keys expire, %v; want %d", step.after, n, err, step.expiring)
						}
					})
				}
				all.Wait()
				after := append(a.toldOfExpiry(), b.toldOfExpiry()...)
				slices.Sort(after)
				for _, e := range before {
					i := slices.Index(after, e)
					after = slices.Delete(after, i, i+1)
				}
				if !slices.Equal(after, step.want) {
					t.Errorf("after %s: told %q, want %q", step.after, after, step.want)
				}
			}
		})
	}
}

// Nobody looked for a long time: only what still matters is told.
func TestExpiriesThatNobodySawInTime(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	alice := d.person("user_alice", "org_a", engineer)
	for key, life := range map[string]time.Duration{"long ago": 20 * day, "lately": 80 * day, "tomorrow": 90*day + 20*time.Hour} {
		_, _, err := r.Create(t.Context(), alice, apikeys.New{Name: key, Permissions: []string{"agents:read"}, ExpiresAt: d.clock.now().Add(life)})
		must(t, err)
	}
	d.clock.advance(90 * day)
	if n, err := r.MarkExpiring(t.Context()); n != 1 || err != nil {
		t.Errorf("%d keys expire, %v", n, err)
	}
	if got, want := r.toldOfExpiry(), []string{"lately api_key.expired ", "tomorrow api_key.expiring 24h0m0s"}; !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
}

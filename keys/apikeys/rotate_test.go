package apikeys_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
)

// K24, O32, SEC-KEY-18: same key, new credential; the old one until its grace ends.
// AK-15, AK-45, AK-46, AK-47.
func TestTheOldCredentialWorksUntilItsGraceEnds(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	alice := d.person("user_alice", "org_a", engineer)
	k, old := r.make(t, alice, "metrics:read")
	r.as(t, old)
	got, plain, err := r.Rotate(t.Context(), alice, k.ID, 24*time.Hour)
	must(t, err)
	fresh := plain.Reveal()
	if got.ID != k.ID || fresh == old || fresh[:16] != old[:16] {
		t.Errorf("rotated %s to %s, %+v", old, fresh, got)
	}
	if r.as(t, old).Key != k.ID || r.as(t, fresh).Key != k.ID {
		t.Error("a credential is of another key")
	}
	d.clock.advance(24*time.Hour - time.Microsecond)
	must(t, r.feed.Poll(t.Context()))
	r.as(t, old)
	d.clock.advance(time.Microsecond)
	refused(t, r, old)
	r.as(t, fresh)
	if e := r.named(audit.APIKeyRotated); len(e) != 1 || e[0].Key != k.ID || e[0].Meta["grace"] != "24h0m0s" {
		t.Errorf("events = %+v", e)
	}
}

// K24: with no grace the old credential ends at once.
// AK-47.
func TestWithoutGraceTheOldCredentialEndsAtOnce(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	alice := d.person("user_alice", "org_a", engineer)
	k, old := r.make(t, alice, "metrics:read")
	r.as(t, old)
	_, fresh, err := r.Rotate(t.Context(), alice, k.ID, 0)
	must(t, err)
	refused(t, r, old)
	r.as(t, fresh.Reveal())
}

// AK-14.
func TestAThirdCredentialDropsTheFirst(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	alice := d.person("user_alice", "org_a", engineer)
	k, first := r.make(t, alice, "metrics:read")
	_, second, err := r.Rotate(t.Context(), alice, k.ID, time.Hour)
	must(t, err)
	got, third, err := r.Rotate(t.Context(), alice, k.ID, time.Hour)
	must(t, err)
	refused(t, r, first)
	r.as(t, second.Reveal())
	r.as(t, third.Reveal())
	if len(got.Secrets) != 2 {
		t.Errorf("the key has %d credentials", len(got.Secrets))
	}
}

// SEC-KEY-18
func TestOfRotationsInParallelOneWins(t *testing.T) {
	t.Parallel()
	for name, d := range map[string]*deployment{"SQLite": onSQLite(t), "PostgreSQL": onPostgreSQL(t)} {
		t.Run(name, func(t *testing.T) {
			r := d.replica(t)
			alice := d.person("user_alice", "org_a", engineer)
			k, old := r.make(t, alice, "metrics:read")
			// Everybody reads the key before anybody changes it.
			meeting := &meetingStore{Store: r.Store}
			meeting.arrived.Add(8)
			r.Store = meeting
			var won, lost []string
			var mu sync.Mutex
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					_, plain, err := r.Rotate(context.Background(), alice, k.ID, time.Hour)
					mu.Lock()
					defer mu.Unlock()
					switch {
					case err == nil:
						won = append(won, plain.Reveal())
					case errors.Is(err, fault.Conflict):
						lost = append(lost, err.Error())
					default:
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if len(won) != 1 || len(lost) != 7 {
				t.Fatalf("%d won, %d lost; want 1 and 7", len(won), len(lost))
			}
			r.as(t, won[0])
			r.as(t, old)
		})
	}
}

// meetingStore lets nobody into a transaction before everybody has read.
type meetingStore struct {
	apikeys.Store
	arrived sync.WaitGroup
}

func (m *meetingStore) APIKey(ctx context.Context, t ident.Tenant, id ident.APIKeyID) (apikeys.Key, error) {
	k, err := m.Store.APIKey(ctx, t, id)
	m.arrived.Done()
	m.arrived.Wait()
	return k, err
}

func TestWhatCannotBeRotated(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	alice := d.person("user_alice", "org_a", engineer)
	k, key := r.make(t, alice, "metrics:read")
	for _, grace := range []time.Duration{-1, apikeys.MaxGrace + 1} {
		if _, _, err := r.Rotate(t.Context(), alice, k.ID, grace); !errors.Is(err, fault.Invalid) || fault.Of(err).Fields[0].Name != "grace" {
			t.Errorf("grace %s: %v; want it refused", grace, err)
		}
	}
	if _, _, err := r.Rotate(t.Context(), alice, k.ID, apikeys.MaxGrace); err != nil {
		t.Errorf("the longest grace: %v", err)
	}
	r.as(t, key)
	short, _, err := r.Create(t.Context(), alice, apikeys.New{Name: "x", Permissions: []string{"metrics:read"}, ExpiresAt: d.clock.now().Add(time.Minute)})
	must(t, err)
	d.clock.advance(time.Minute)
	if _, _, err := r.Rotate(t.Context(), alice, short.ID, 0); !errors.Is(err, fault.Conflict) {
		t.Errorf("an expired key: %v; want Conflict", err)
	}
}

// Whoever rotates a key holds it, so rotation must not be a way to more.
func TestRotatingAnothersKeyTakesWhatTheKeyMay(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	root := d.person("user_root", "org_a", catalogue.All())
	big, _ := r.make(t, root, "users:create", "metrics:read")
	small, _ := r.make(t, root, "metrics:read")
	wide, _ := r.make(t, root, "agents:*")
	managing := scope.Of(append(slices.Clone(engineer), "api-keys:manage")...)
	manager := d.person("user_manager", "org_a", managing)
	_, plain, err := r.Create(t.Context(), root, apikeys.New{
		Name: "manager", Permissions: []string{"api-keys:rotate", "api-keys:manage", "metrics:read", "agents:read", "agents:create", "agents:delete"}, ExpiresAt: d.clock.now().Add(time.Hour),
	})
	must(t, err)
	key := r.as(t, plain.Reveal())
	for name, c := range map[string]struct {
		caller  ident.Caller
		id      ident.APIKeyID
		lacking []string
	}{
		"a manager who lacks it":               {manager, big.ID, []string{"users:create"}},
		"a key that lacks it":                  {key, big.ID, []string{"users:create"}},
		"a key that lacks tomorrow's wildcard": {key, wide.ID, []string{"agents:*"}},
	} {
		if _, _, err := r.Rotate(t.Context(), c.caller, c.id, 0); !errors.Is(err, fault.InsufficientPermissions) || !slices.Equal(fault.Of(err).Required, c.lacking) {
			t.Errorf("%s: %v; want it to lack %v", name, err, c.lacking)
		}
	}
	if _, _, err := r.Rotate(t.Context(), key, small.ID, 0); !errors.Is(err, fault.Conflict) {
		t.Errorf("a key that ends first: %v; want Conflict", err)
	}
	if _, _, err := r.Rotate(t.Context(), manager, small.ID, 0); err != nil {
		t.Errorf("a manager who has it: %v", err)
	}
	if _, _, err := r.Rotate(t.Context(), key, key.Key, 0); err != nil {
		t.Errorf("a key itself: %v", err)
	}
}

// O36: due after 90 days, told once, until it is rotated.
func TestAnOldCredentialIsDueForRotation(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	one, two := d.replica(t), d.replica(t)
	alice := d.person("user_alice", "org_a", engineer)
	k, _ := one.make(t, alice, "metrics:read")
	gone, _ := one.make(t, alice, "metrics:read")
	must(t, one.Revoke(t.Context(), alice, gone.ID))
	status := func() apikeys.Status {
		got, err := one.Get(t.Context(), alice, k.ID)
		must(t, err)
		keys, err := one.List(t.Context(), alice, ident.Page{Limit: 10})
		must(t, err)
		if i := slices.IndexFunc(keys, func(x apikeys.Key) bool { return x.ID == k.ID }); keys[i].Status != got.Status {
			t.Errorf("listed as %s, got as %s", keys[i].Status, got.Status)
		}
		return got.Status
	}
	due := func(r *replica) int {
		n, err := r.MarkDue(t.Context())
		must(t, err)
		return n
	}
	d.clock.advance(apikeys.DefaultRotateAfter)
	if got := status(); got != apikeys.Active || due(one) != 0 {
		t.Errorf("after exactly 90 days: %s", got)
	}
	d.clock.advance(time.Second)
	if got := status(); got != apikeys.RotationDue {
		t.Errorf("after 90 days: %s", got)
	}
	for range 3 {
		if a, b := due(one), due(two); a != 1 || b != 1 {
			t.Errorf("due: %d and %d; want 1", a, b)
		}
	}
	if events := append(one.named(audit.APIKeyDue), two.named(audit.APIKeyDue)...); len(events) != 1 || events[0].Key != k.ID || events[0].Org != "org_a" {
		t.Errorf("events = %+v; want one", events)
	}
	_, _, err := one.Rotate(t.Context(), alice, k.ID, 0)
	must(t, err)
	if got := status(); got != apikeys.Active || due(one) != 0 {
		t.Errorf("after rotation: %s", got)
	}
	d.clock.advance(apikeys.DefaultRotateAfter + time.Second)
	if due(two) != 1 || len(two.named(audit.APIKeyDue)) != 1 {
		t.Error("the next credential is not told when it is due")
	}
}

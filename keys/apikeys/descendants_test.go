package apikeys_test

import (
	"errors"
	"testing"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
)

// A family of many generations and members ends in one commit, and in
// statements that do not grow with the members.
// AK-53.
func TestAFamilyEndsTogether(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	alice := d.person("user_alice", "org_a", engineer)
	root, key := r.make(t, alice, "agents:read", "api-keys:create")
	line, all := []string{key}, []string{key}
	for range apikeys.MaxGenerations - 1 {
		_, next := r.make(t, r.as(t, line[len(line)-1]), "agents:read", "api-keys:create")
		line = append(line, next)
		for range 20 {
			_, leaf := r.make(t, r.as(t, line[len(line)-2]), "agents:read")
			all = append(all, leaf)
		}
	}
	last := r.as(t, line[len(line)-1])
	if _, _, err := r.Create(t.Context(), last, apikeys.New{Name: "one too many", Permissions: []string{"agents:read"}}); !errors.Is(err, fault.Conflict) {
		t.Errorf("generation %d: %v; want Conflict", apikeys.MaxGenerations+1, err)
	}
	must(t, r.Revoke(t.Context(), alice, root.ID))
	for _, k := range append(all, line...) {
		if _, err := r.Verify(t.Context(), k, origin); !errors.Is(err, fault.InvalidAPIKey) {
			t.Fatalf("one of the family goes on: %v", err)
		}
	}
	events := r.named(audit.APIKeyRevoked)
	if want := 1 + 21*(apikeys.MaxGenerations-1); len(events) != want {
		t.Errorf("%d ends were recorded, want %d", len(events), want)
	}
	for _, e := range events[1:] {
		if e.Reason != "maker_revoked" || !e.Time.Equal(events[0].Time) {
			t.Fatalf("recorded %+v", e)
		}
	}
	for _, k := range r.everyKey(t, alice) {
		if k.Status != apikeys.Revoked || k.RevokedBy != "user_alice" {
			t.Fatalf("%s is %s, by %s", k.ID, k.Status, k.RevokedBy)
		}
	}
}

// cascade=false ends the maker alone; ending what it made later reaches through
// those that ended before.
// AK-54.
func TestAFamilyOutlivesAMakerThatEndedAlone(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	alice := d.person("user_alice", "org_a", engineer)
	root, key := r.make(t, alice, "agents:read", "api-keys:create")
	middle, middleKey := r.make(t, r.as(t, key), "agents:read", "api-keys:create")
	_, leaf := r.make(t, r.as(t, middleKey), "agents:read")
	must(t, r.RevokeAlone(t.Context(), alice, middle.ID))
	r.as(t, leaf)
	must(t, r.Revoke(t.Context(), alice, root.ID))
	if _, err := r.Verify(t.Context(), leaf, origin); !errors.Is(err, fault.InvalidAPIKey) {
		t.Errorf("the leaf goes on: %v", err)
	}
}

// everyKey lists all keys of the caller's organisation.
func (r *replica) everyKey(t *testing.T, c ident.Caller) (out []apikeys.Key) {
	t.Helper()
	for p := (ident.Page{Limit: 200}); ; p.Before = string(out[len(out)-1].ID) {
		keys, err := r.List(t.Context(), c, p)
		must(t, err)
		if out = append(out, keys...); len(keys) < p.Limit {
			return out
		}
	}
}

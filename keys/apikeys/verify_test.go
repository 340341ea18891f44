package apikeys_test

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
)

// O40 and O37: whatever is wrong with a key, the caller sees one answer; the
// audit log has the reason and the address.
// AK-24, AK-25, AK-34.
func TestEveryRefusalLooksTheSameAndIsRecordedAsWhatItIs(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	alice := d.person("user_alice", "org_a", engineer)
	bob := d.person("user_bob", "org_a", engineer)
	presented := map[string]string{}
	known := map[string]ident.APIKeyID{}
	add := func(reason string, k apikeys.Key, key string) { presented[reason], known[reason] = key, k.ID }

	k, key := r.make(t, alice, "metrics:read")
	add("revoked", k, key)
	must(t, r.Revoke(t.Context(), alice, k.ID))
	k, plain, err := r.Create(t.Context(), alice, apikeys.New{Name: "x", Permissions: []string{"metrics:read"}, ExpiresAt: d.clock.now().Add(time.Minute)})
	must(t, err)
	add("expired", k, plain.Reveal())
	k, key = r.make(t, alice, "metrics:read")
	add("superseded", k, key)
	_, _, err = r.Rotate(t.Context(), alice, k.ID, time.Minute)
	must(t, err)
	k, key = r.make(t, bob, "metrics:read")
	add("owner_inactive", k, key)
	d.owner.set("user_bob", "org_a", nil)
	k, key = r.make(t, alice, "metrics:read")
	add("mismatch", k, anotherSecret(key))
	presented["unknown"] = anotherLookup(key)
	presented["malformed"] = key[:len(key)-1] + flip(key[len(key)-1])
	otherPrefix := "th_live" + key[len("kw_live"):len(key)-6]
	presented["mismatch "] = otherPrefix + checksum(otherPrefix) // another prefix: the digest covers it
	d.clock.advance(time.Minute)

	var answer *fault.Error
	for reason, credential := range presented {
		caller, err := r.Verify(t.Context(), credential, origin)
		got := fault.Of(err)
		if !errors.Is(err, fault.InvalidAPIKey) || !reflect.DeepEqual(caller, ident.Caller{}) || r.lastResult() != strings.TrimSpace(reason) {
			t.Errorf("%s: %+v, %v, result %s", reason, caller, err, r.lastResult())
		}
		if answer == nil {
			answer = got
		}
		if !reflect.DeepEqual(got, answer) {
			t.Errorf("%s answers %+v, others %+v", reason, got, answer)
		}
	}
	must(t, r.Flush(t.Context()))
	for reason, id := range known {
		events, err := r.db.Audit().Events(t.Context(), alice.Tenant(), audit.Filter{Name: audit.APIKeyRefused, Key: id}, 0, 10)
		must(t, err)
		if i := slices.IndexFunc(events, func(e audit.Event) bool { return e.Reason == reason }); i < 0 || events[i].Origin != origin || events[i].Outcome != audit.Failure {
			t.Errorf("%s: recorded %+v", reason, events)
		}
	}
	for _, e := range r.named(audit.APIKeyRefused) {
		if e.Reason == "mismatch" && (e.Actor.Type != "anonymous" || e.Actor.ID != "") {
			t.Errorf("who guessed at a key is recorded as the key: %+v", e.Actor)
		}
	}
}

// Whatever character differs, it is another key.
func TestAKeyIsComparedWhole(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	_, key := r.make(t, d.person("user_alice", "org_a", engineer), "metrics:read")
	for i := range key {
		changed := key[:i] + flip(key[i]) + key[i+1:]
		changed = changed[:len(changed)-6] + checksum(changed[:len(changed)-6])
		if changed == key {
			continue // the change was in the checksum
		}
		if _, err := r.Verify(t.Context(), changed, origin); !errors.Is(err, fault.InvalidAPIKey) {
			t.Errorf("with character %d changed: %v", i, err)
		}
	}
}

// A warm key is verified without the database, and so is an id that no key
// has; a silent feed means asking, and a database that does not answer means
// no (SEC-KEY-09).
// AK-22, AK-42.
func TestAWarmKeyReadsNoDatabase(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	_, key := r.make(t, d.person("user_alice", "org_a", engineer), "metrics:read")
	stranger := anotherLookup(key)
	r.as(t, key)
	_, _ = r.Verify(t.Context(), stranger, origin)
	r.gate.shut.Store(true)
	before := r.gate.calls.Load()
	for range 100 {
		r.as(t, key)
		if _, err := r.Verify(t.Context(), stranger, origin); !errors.Is(err, fault.InvalidAPIKey) {
			t.Fatalf("an unknown key: %v", err)
		}
	}
	if n := r.gate.calls.Load() - before; n != 0 {
		t.Errorf("200 verifications of warm keys took %d statements", n)
	}
	d.clock.advance(changes.DefaultMaxSilence + time.Second) // the feed was not heard since
	for _, credential := range []string{key, stranger} {
		if _, err := r.Verify(t.Context(), credential, origin); !errors.Is(err, fault.Unavailable) || r.lastResult() != "unavailable" {
			t.Errorf("with a silent feed and no database: %v, %s; want Unavailable", err, r.lastResult())
		}
	}
	r.gate.shut.Store(false)
	r.as(t, key)
	if r.gate.calls.Load() == before {
		t.Error("with a silent feed the cache was believed")
	}
}

// SEC-KEY-10: what is remembered of an id, or of its absence, ends with it.
func TestAnUnknownKeyWorksAsSoonAsItExists(t *testing.T) {
	t.Parallel()
	elsewhere := onSQLite(t)
	twin := elsewhere.replica(t)
	twin.Random = neverEnding('x')
	_, key := twin.make(t, elsewhere.person("user_eve", "org_e", engineer), "metrics:read")

	d := onSQLite(t)
	r := d.replica(t)
	if _, err := r.Verify(t.Context(), key, origin); !errors.Is(err, fault.InvalidAPIKey) {
		t.Fatalf("a key of another deployment: %v", err)
	}
	r.Random = neverEnding('x')
	if _, again := r.make(t, d.person("user_alice", "org_a", engineer), "metrics:read"); again != key {
		t.Fatal("the test does not make the same key")
	}
	r.as(t, key)
	if _, err := twin.Verify(t.Context(), key, origin); err != nil {
		t.Errorf("the other deployment: %v", err)
	}
}

// SEC-KEY-08, INV-08: rights follow the owner's, at once.
// AK-28, AK-52.
func TestAKeyLosesWhatItsOwnerLoses(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	_, key := r.make(t, d.person("user_alice", "org_a", engineer), "agents:*", "metrics:read")
	for _, c := range []struct{ owner, want scope.Set }{
		{engineer, scope.Of("agents:read", "agents:create", "agents:delete", "metrics:read")},
		{scope.Of("agents:read", "metrics:read", "users:create"), scope.Of("agents:read", "metrics:read")},
		{scope.Of("users:create"), nil},
		{catalogue.All(), scope.Of("agents:read", "agents:create", "agents:delete", "metrics:read")},
	} {
		d.owner.set("user_alice", "org_a", c.owner)
		if got := r.as(t, key).Permissions; !slices.Equal(got, c.want) {
			t.Errorf("of an owner who may %v the key may %v; want %v", c.owner, got, c.want)
		}
	}
	d.owner.set("user_alice", "org_a", nil)
	if _, err := r.Verify(t.Context(), key, origin); !errors.Is(err, fault.InvalidAPIKey) {
		t.Errorf("the owner left: %v", err)
	}
}

// SEC-KEY-07: the key of one organisation is no key of its owner's other one.
func TestAKeyStaysInItsOrganisation(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	inA := d.person("user_alice", "org_a", engineer)
	inB := d.person("user_alice", "org_b", catalogue.All())
	k, key := r.make(t, inA, "api-keys:read", "metrics:read")
	other, _ := r.make(t, inB, "metrics:read")
	caller := r.as(t, key)
	if caller.Org != "org_a" || caller.May("users:create") {
		t.Errorf("caller = %+v", caller)
	}
	if keys, err := r.List(t.Context(), caller, ident.Page{Limit: 10}); err != nil || len(keys) != 1 || keys[0].ID != k.ID {
		t.Errorf("the list of the key has %v, %v", keys, err)
	}
	if _, err := r.Get(t.Context(), caller, other.ID); !errors.Is(err, fault.NotFound) {
		t.Errorf("a key of the other organisation: %v", err)
	}
	d.owner.set("user_alice", "org_a", nil) // removed from A, still in B
	if _, err := r.Verify(t.Context(), key, origin); !errors.Is(err, fault.InvalidAPIKey) {
		t.Errorf("after its owner left its organisation: %v", err)
	}
}

// failing is a directory whose database is away.
type failing struct{}

func (failing) Standing(context.Context, ident.UserID, ident.OrgID) (apikeys.Standing, error) {
	return apikeys.Standing{}, fault.Unavailable
}

func TestAnOwnerWhoCannotBeLookedUpIsNoReasonToAccept(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	_, key := r.make(t, d.person("user_alice", "org_a", engineer), "metrics:read")
	r.Owners = failing{}
	if caller, err := r.Verify(t.Context(), key, origin); !errors.Is(err, fault.Unavailable) || caller.Kind != "" {
		t.Errorf("Verify = %+v, %v; want Unavailable", caller, err)
	}
}

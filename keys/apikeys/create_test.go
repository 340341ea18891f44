package apikeys_test

import (
	"context"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
)

// K13, O20, O21, O27: the key has the form of the deployment, keeps the order
// of its permissions and belongs to its maker's organisation.
// AK-08, AK-11, AK-13.
func TestAKeyIsMadeForItsMakerAndWorks(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	alice := d.person("user_alice", "org_a", catalogue.All())
	k, plain, err := r.Create(t.Context(), alice, apikeys.New{Name: "  CI/CD Pipeline ", Permissions: []string{"incidents:read", "incidents:create", "procedures:execute", "incidents:read"}})
	must(t, err)
	if !regexp.MustCompile(`^kw_live_[0-9A-Za-z]{46}$`).MatchString(plain.Reveal()) {
		t.Errorf("the key is %s", plain.Reveal())
	}
	if want := []scope.Permission{"incidents:read", "incidents:create", "procedures:execute"}; !slices.Equal(k.Permissions, want) {
		t.Errorf("permissions = %v; want %v", k.Permissions, want)
	}
	if k.Name != "CI/CD Pipeline" || k.Org != "org_a" || k.Owner != "user_alice" || k.CreatedBy != (apikeys.Creator{User: "user_alice"}) ||
		!k.CreatedAt.Equal(d.clock.now()) || !k.ExpiresAt.IsZero() || k.Status != apikeys.Active {
		t.Errorf("key = %+v", k)
	}
	if want := "kw_live_" + k.Lookup + "…" + plain.Reveal()[50:]; k.Hint() != want {
		t.Errorf("hint = %s; want %s", k.Hint(), want)
	}
	caller := r.as(t, plain.Reveal())
	if caller.Kind != ident.APIKey || caller.Org != "org_a" || caller.User != "user_alice" || caller.Key != k.ID || caller.Email != "user_alice@example.com" || caller.Origin != origin {
		t.Errorf("caller = %+v", caller)
	}
	if want := scope.Of("incidents:read", "incidents:create", "procedures:execute"); !slices.Equal(caller.Permissions, want) {
		t.Errorf("the key may %v; want %v", caller.Permissions, want)
	}
	made := r.named(audit.APIKeyCreated)
	if len(made) != 1 || made[0].Key != k.ID || made[0].Actor.ID != "user_alice" || made[0].Org != "org_a" || made[0].Origin != origin {
		t.Errorf("events = %+v", made)
	}
}

// K9
func TestAKeyWithoutExpiryWorksForYears(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	_, key := r.make(t, d.person("user_alice", "org_a", engineer), "metrics:read")
	d.clock.advance(10 * 365 * 24 * time.Hour)
	must(t, r.feed.Poll(t.Context()))
	r.as(t, key)
}

// O31: until revoked or expired; SEC-KEY-11: an expired key is refused.
// AK-24.
func TestAKeyEndsWithItsExpiry(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	k, plain, err := r.Create(t.Context(), d.person("user_alice", "org_a", engineer), apikeys.New{Name: "x", Permissions: []string{"metrics:read"}, ExpiresAt: d.clock.now().Add(time.Second)})
	must(t, err)
	d.clock.advance(time.Second - time.Microsecond)
	r.as(t, plain.Reveal())
	d.clock.advance(time.Microsecond)
	if _, err := r.Verify(t.Context(), plain.Reveal(), origin); !errors.Is(err, fault.InvalidAPIKey) || r.lastResult() != "expired" {
		t.Errorf("at its expiry: %v, %s", err, r.lastResult())
	}
	if got, err := r.Get(t.Context(), d.person("user_alice", "org_a", engineer), k.ID); err != nil || got.Status != apikeys.Expired {
		t.Errorf("status = %v, %v", got.Status, err)
	}
}

// K11, O20, SEC-KEY-11: what is refused, and by which field.
func TestWhatIsWrongWithANewKeyIsSaidFieldByField(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	alice := d.person("user_alice", "org_a", engineer)
	good := []string{"metrics:read"}
	for name, c := range map[string]struct {
		n      apikeys.New
		fields []string
	}{
		"empty name":          {apikeys.New{Permissions: good}, []string{"name"}},
		"blank name":          {apikeys.New{Name: " \t", Permissions: good}, []string{"name"}},
		"long name":           {apikeys.New{Name: strings.Repeat("é", 101), Permissions: good}, []string{"name"}},
		"control character":   {apikeys.New{Name: "a\x00b", Permissions: good}, []string{"name"}},
		"not UTF-8":           {apikeys.New{Name: "a\xff", Permissions: good}, []string{"name"}},
		"no permissions":      {apikeys.New{Name: "x", Permissions: []string{}}, []string{"permissions"}},
		"too many":            {apikeys.New{Name: "x", Permissions: make([]string, 101)}, []string{"permissions"}},
		"unknown permission":  {apikeys.New{Name: "x", Permissions: []string{"metrics:read", "bicycles:ride"}}, []string{"permissions[1]"}},
		"unknown wildcard":    {apikeys.New{Name: "x", Permissions: []string{"bicycles:*"}}, []string{"permissions[0]"}},
		"malformed":           {apikeys.New{Name: "x", Permissions: []string{"", "agents", "agents:read "}}, []string{"permissions[0]", "permissions[1]", "permissions[2]"}},
		"expired already":     {apikeys.New{Name: "x", Permissions: good, ExpiresAt: d.clock.now()}, []string{"expires_at"}},
		"unknown preset":      {apikeys.New{Name: "x", Preset: "root"}, []string{"preset"}},
		"preset and list":     {apikeys.New{Name: "x", Preset: "admin-agent", Permissions: good}, []string{"preset"}},
		"everything together": {apikeys.New{Permissions: []string{"x"}, ExpiresAt: d.clock.now().Add(-time.Hour)}, []string{"name", "permissions[0]", "expires_at"}},
	} {
		_, _, err := r.Create(t.Context(), alice, c.n)
		var got []string
		for _, f := range fault.Of(err).Fields {
			got = append(got, f.Name)
		}
		if !errors.Is(err, fault.Invalid) || !slices.Equal(got, c.fields) {
			t.Errorf("%s: %v, fields %v; want %v", name, err, got, c.fields)
		}
	}
	if keys, err := r.List(t.Context(), alice, ident.Page{Limit: 10}); err != nil || len(keys) != 0 {
		t.Errorf("refused keys exist: %v, %v", keys, err)
	}
	r.make(t, alice, "metrics:read") // K11: two keys may share a name
	r.make(t, alice, "metrics:read")
	longest := apikeys.New{Name: strings.Repeat("é", 100), Permissions: good}
	if _, _, err := r.Create(t.Context(), alice, longest); err != nil {
		t.Errorf("a name of 100 characters: %v", err)
	}
}

// O19: never more than its maker may, and it is named what is lacking.
// AK-49, AK-50.
func TestAKeyIsNeverGivenMoreThanItsMakerHas(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	viewer := d.person("user_vera", "org_a", scope.Of("metrics:read", "api-keys:read"))
	alice := d.person("user_alice", "org_a", engineer)
	parent, credential := r.make(t, alice, "api-keys:create", "incidents:read", "agents:read", "agents:create", "agents:delete")
	key := r.as(t, credential)
	for name, c := range map[string]struct {
		caller      ident.Caller
		permissions []string
		lacking     []string
	}{
		"a viewer":                          {viewer, []string{"metrics:read"}, []string{"api-keys:create"}},
		"nobody":                            {ident.Caller{}, []string{"metrics:read"}, []string{"api-keys:create"}},
		"a person, of another's permission": {alice, []string{"metrics:read", "users:create"}, []string{"users:create"}},
		"a person, by a wildcard":           {alice, []string{"api-keys:*"}, []string{"api-keys:manage", "api-keys:policy"}},
		"a person, everything":              {alice, []string{"*:*"}, []string{"api-keys:manage", "api-keys:policy", "procedures:execute", "service-accounts:manage", "users:create"}},
		"a key":                             {key, []string{"procedures:execute"}, []string{"procedures:execute"}},
		"a key, what its owner has":         {key, []string{"metrics:read"}, []string{"metrics:read"}},
		// All agents permissions there are today, but not those of tomorrow.
		"a key, by a wildcard it was not given": {key, []string{"agents:*"}, []string{"agents:*"}},
	} {
		_, _, err := r.Create(t.Context(), c.caller, apikeys.New{Name: "x", Permissions: c.permissions})
		if got := fault.Of(err).Required; !errors.Is(err, fault.InsufficientPermissions) || !slices.Equal(got, c.lacking) {
			t.Errorf("%s: %v, lacking %v; want %v", name, err, got, c.lacking)
		}
	}
	// The first two are refused, and recorded, before they get here.
	if denied := r.named(audit.PermissionDenied); len(denied) != 6 || denied[0].Outcome != audit.Denied || denied[0].Org != "org_a" || denied[0].Meta["required"] == "" {
		t.Errorf("refusals recorded: %+v; want six", denied)
	}
	child, childCredential := r.make(t, key, "incidents:read")
	if child.CreatedBy != (apikeys.Creator{Key: parent.ID}) || child.Owner != "user_alice" || child.Org != "org_a" {
		t.Errorf("the child is %+v", child)
	}
	if got := r.as(t, childCredential).Permissions; !slices.Equal(got, scope.Of("incidents:read")) {
		t.Errorf("the child may %v", got)
	}
}

// A wildcard means what exists when it is used, within what the owner may do.
// AK-56.
func TestAWildcardFollowsTheCatalogueWithinTheOwnersRole(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	_, credential := r.make(t, d.person("user_alice", "org_a", engineer), "agents:*")
	if got, want := r.as(t, credential).Permissions, scope.Of("agents:read", "agents:create", "agents:delete"); !slices.Equal(got, want) {
		t.Errorf("agents:* is %v; want %v", got, want)
	}
	larger, err := scope.NewCatalogue(append(catalogue.All().Strings(), "agents:restart", "agents:audit")...)
	must(t, err)
	r.Catalogue = larger
	d.owner.set("user_alice", "org_a", scope.Of("agents:read", "agents:restart", "metrics:read"))
	if got, want := r.as(t, credential).Permissions, scope.Of("agents:read", "agents:restart"); !slices.Equal(got, want) {
		t.Errorf("after the catalogue grew and the role changed agents:* is %v; want %v", got, want)
	}
}

// K16
func TestThePresetOfAnAgentIsMetricsAndAgentsOnly(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	admin := d.person("user_admin", "org_a", catalogue.All())
	k, plain, err := r.Create(t.Context(), admin, apikeys.New{Name: "agent", Preset: "admin-agent"})
	must(t, err)
	if want := []scope.Permission{"metrics:read", "agents:*"}; !slices.Equal(k.Permissions, want) {
		t.Errorf("permissions = %v", k.Permissions)
	}
	agent := r.as(t, plain.Reveal())
	for p, want := range map[scope.Permission]bool{
		"metrics:read": true, "agents:create": true, "agents:delete": true, "users:create": false, "api-keys:create": false, "incidents:read": false,
	} {
		if agent.May(p) != want {
			t.Errorf("the agent may %s: %v; want %v", p, !want, want)
		}
	}
	if _, _, err := r.Create(t.Context(), agent, apikeys.New{Name: "more", Preset: "admin-agent"}); !errors.Is(err, fault.InsufficientPermissions) {
		t.Errorf("the agent makes keys: %v", err)
	}
}

// AK-51.
func TestAKeyDoesNotOutliveTheKeyThatMadeIt(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	end := d.clock.now().Add(time.Hour)
	_, plain, err := r.Create(t.Context(), d.person("user_alice", "org_a", engineer), apikeys.New{Name: "parent", Permissions: []string{"api-keys:create", "metrics:read"}, ExpiresAt: end})
	must(t, err)
	parent := r.as(t, plain.Reveal())
	n := apikeys.New{Name: "child", Permissions: []string{"metrics:read"}}
	if k, _, err := r.Create(t.Context(), parent, n); err != nil || !k.ExpiresAt.Equal(end) {
		t.Errorf("without an expiry: %v, %v; want its maker's %v", k.ExpiresAt, err, end)
	}
	n.ExpiresAt = end.Add(time.Microsecond)
	if _, _, err := r.Create(t.Context(), parent, n); !errors.Is(err, fault.Invalid) || fault.Of(err).Fields[0].Name != "expires_at" {
		t.Errorf("with a later one: %v; want expires_at refused", err)
	}
	n.ExpiresAt = end
	if _, _, err := r.Create(t.Context(), parent, n); err != nil {
		t.Errorf("with the same: %v", err)
	}
}

func TestTheOperatorMakesKeysForOthers(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	d.person("user_alice", "org_a", engineer)
	operator := ident.OperatorOf("org_a", catalogue.All())
	k, plain, err := r.Create(t.Context(), operator, apikeys.New{Name: "x", Permissions: []string{"metrics:read", "users:create"}, Owner: "user_alice"})
	must(t, err)
	if k.Owner != "user_alice" || k.CreatedBy != (apikeys.Creator{}) {
		t.Errorf("key = %+v", k)
	}
	if got := r.as(t, plain.Reveal()).Permissions; !slices.Equal(got, scope.Of("metrics:read")) {
		t.Errorf("the key may %v, which its owner may not", got)
	}
	for _, owner := range []ident.UserID{"", "user_stranger"} {
		if _, _, err := r.Create(t.Context(), operator, apikeys.New{Name: "x", Permissions: []string{"metrics:read"}, Owner: owner}); !errors.Is(err, fault.Invalid) {
			t.Errorf("for %q: %v; want Invalid", owner, err)
		}
	}
	// SEC-KEY-02: nobody else makes a key in another person's name.
	mallory := d.person("user_mallory", "org_a", engineer)
	if _, _, err := r.Create(t.Context(), mallory, apikeys.New{Name: "x", Permissions: []string{"metrics:read"}, Owner: "user_alice"}); !errors.Is(err, fault.Invalid) {
		t.Errorf("in another's name: %v; want Invalid", err)
	}
	if err := r.Revoke(t.Context(), operator, k.ID); err != nil {
		t.Error(err)
	}
	if got, err := r.Get(t.Context(), operator, k.ID); err != nil || got.RevokedBy != "operator" {
		t.Errorf("revoked by %q, %v", got.RevokedBy, err)
	}
}

// A lookup id that is taken costs another try, not the request.
// AK-09.
func TestATakenLookupIDIsTriedAgain(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	alice := d.person("user_alice", "org_a", engineer)
	r.Random = io.MultiReader(strings.NewReader(strings.Repeat("a", 1<<10)), neverEnding('b'))
	first, key := r.make(t, alice, "metrics:read")
	r.Random = io.MultiReader(strings.NewReader(strings.Repeat("a", 1<<7)), neverEnding('c'))
	second, other := r.make(t, alice, "metrics:read")
	if first.Lookup == second.Lookup || key == other {
		t.Errorf("two keys share the lookup id %s", first.Lookup)
	}
	r.as(t, key)
	r.as(t, other)
	r.Random = neverEnding('c')
	if _, _, err := r.Create(context.Background(), alice, apikeys.New{Name: "x", Permissions: []string{"metrics:read"}}); err == nil {
		t.Error("a random source that repeats itself makes keys")
	}
}

type neverEnding byte

func (b neverEnding) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(b)
	}
	return len(p), nil
}

package apikeys_test

import (
	"context"
	"errors"
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

// ear writes down what was announced.
type ear struct{ heard []changes.Change }

func (e *ear) Hear(cs []changes.Change) { e.heard = append(e.heard, cs...) }
func (e *ear) Forget()                  {}

func (e *ear) ended(id ident.APIKeyID) bool {
	return slices.ContainsFunc(e.heard, func(c changes.Change) bool { return c.Kind == changes.APIKeyRevoked && c.Key == string(id) })
}

// family is a key that made another, which made a third.
func family(t *testing.T, r *replica, d *deployment) (ids []ident.APIKeyID, credentials []string) {
	t.Helper()
	caller := d.person("user_1", "org_1", engineer)
	for range 3 {
		k, credential := r.make(t, caller, "agents:read", "api-keys:create", "api-keys:rotate")
		ids, credentials = append(ids, k.ID), append(credentials, credential)
		caller = r.as(t, credential)
	}
	return ids, credentials
}

func (r *replica) refuses(t *testing.T, credential, result string) {
	t.Helper()
	if _, err := r.Verify(t.Context(), credential, origin); !errors.Is(err, fault.InvalidAPIKey) || r.lastResult() != result {
		t.Errorf("%v, %s; want a refusal that is %s", err, r.lastResult(), result)
	}
}

// Whoever shows a key can end it, with the keys that it made and its tokens.
// AK-71.
func TestALeakedKeyIsRevokedWithAllThatCameOfIt(t *testing.T) {
	d := onSQLite(t)
	r, other := d.replica(t), d.replica(t)
	e := &ear{}
	r.feed.Subscribe(e)
	var told []string
	r.ObserveLeak = func(result string) { told = append(told, result) }
	ids, credentials := family(t, r, d)
	_, untouched := r.make(t, d.person("user_1", "org_1", engineer), "agents:read")
	other.as(t, credentials[2]) // warm
	forged := credentials[0][:len(credentials[0])-1] + "x"
	err := r.Leaked(t.Context(), apikeys.Leak{
		Credentials: []string{"nonsense", credentials[0], forged, credentials[0], ""}, Source: "a crawler", URL: "https://paste.example/1\n\x00",
	}, ident.Origin{IP: origin.IP, Request: "req_leak"})
	must(t, err)
	for i, c := range credentials {
		r.refuses(t, c, "revoked")
		if !e.ended(ids[i]) {
			t.Errorf("tokens of key %d live on", i)
		}
	}
	must(t, other.feed.Poll(t.Context()))
	other.refuses(t, credentials[2], "revoked")
	r.as(t, untouched)
	leaks, ends := r.named(audit.APIKeyLeaked), r.named(audit.APIKeyRevoked)
	if len(leaks) != 1 || leaks[0].Meta["url"] != "https://paste.example/1" || leaks[0].Meta["source"] != "a crawler" || leaks[0].Reason != "revoked" ||
		leaks[0].Key != ids[0] || leaks[0].Org != "org_1" || leaks[0].Actor.Type != "anonymous" || leaks[0].Origin.Request != "req_leak" {
		t.Errorf("recorded %+v", leaks)
	}
	if len(ends) != 3 || ends[0].Reason != "leaked" || ends[2].Reason != "maker_revoked" {
		t.Errorf("recorded %+v", ends)
	}
	slices.Sort(told)
	if !slices.Equal(told, []string{"ignored", "ignored", "ignored", "revoked"}) {
		t.Errorf("told %v", told)
	}
	k, err := r.Get(t.Context(), d.person("user_1", "org_1", engineer), ids[0])
	if err != nil || k.RevokedBy != "leak-report" {
		t.Errorf("revoked by %q, %v", k.RevokedBy, err)
	}
	must(t, r.Leaked(t.Context(), apikeys.Leak{Credentials: credentials}, origin)) // again: nothing happens
	if n := len(r.named(audit.APIKeyLeaked)); n != 1 {
		t.Errorf("%d reports were recorded", n)
	}
}

// A credential that a rotation replaced but still works is the key; one whose
// grace is over is not.
func TestALeakOfAPreviousSecret(t *testing.T) {
	d := onSQLite(t)
	r := d.replica(t)
	owner := d.person("user_1", "org_1", engineer)
	k, old := r.make(t, owner, "agents:read")
	_, fresh, err := r.Rotate(t.Context(), owner, k.ID, time.Hour)
	must(t, err)
	d.clock.advance(2 * time.Hour)
	must(t, r.feed.Poll(t.Context()))
	must(t, r.Leaked(t.Context(), apikeys.Leak{Credentials: []string{old}}, origin))
	r.as(t, fresh.Reveal())
	_, third, err := r.Rotate(t.Context(), owner, k.ID, time.Hour)
	must(t, err)
	must(t, r.Leaked(t.Context(), apikeys.Leak{Credentials: []string{fresh.Reveal()}}, origin))
	r.refuses(t, third.Reveal(), "revoked")
}

// AK-71.
func TestAQuarantinedKeyWaitsForItsOwner(t *testing.T) {
	d := onSQLite(t)
	r := d.replica(t)
	r.Settings.Leaked = apikeys.QuarantineLeaked
	e := &ear{}
	r.feed.Subscribe(e)
	ids, credentials := family(t, r, d)
	owner, stranger := d.person("user_1", "org_1", engineer), d.person("user_2", "org_1", engineer)
	maker := r.as(t, credentials[0])
	for range 2 { // the second report changes nothing
		must(t, r.Leaked(t.Context(), apikeys.Leak{Credentials: credentials[1:2]}, origin))
	}
	r.as(t, credentials[0])
	r.refuses(t, credentials[1], "quarantined")
	r.refuses(t, credentials[2], "quarantined")
	if !e.ended(ids[1]) || !e.ended(ids[2]) || len(r.named(audit.APIKeyQuarantined)) != 2 {
		t.Errorf("heard %v, recorded %v", e.heard, r.named(audit.APIKeyQuarantined))
	}
	if k, err := r.Get(t.Context(), owner, ids[1]); err != nil || k.Status != apikeys.Quarantined {
		t.Errorf("%s, %v", k.Status, err)
	}
	for name, c := range map[string]struct {
		caller ident.Caller
		id     ident.APIKeyID
		want   fault.Code
	}{
		"another member":        {stranger, ids[1], fault.InsufficientPermissions},
		"the key that made it":  {maker, ids[1], fault.InsufficientPermissions},
		"without the right":     {d.person("user_3", "org_1", scope.Of("agents:read")), ids[1], fault.InsufficientPermissions},
		"another organisation":  {d.person("user_4", "org_2", engineer), ids[1], fault.NotFound},
		"what is not held":      {owner, ids[0], fault.Conflict},
		"what does not exist":   {owner, "key_01hzzzzzzzzzzzzzzzzzzzzzzz", fault.NotFound},
		"an OAuth client's own": {ident.Caller{Kind: ident.ServiceClient, Org: "org_1", Permissions: engineer}, ids[1], fault.InsufficientPermissions},
	} {
		if _, err := r.Release(t.Context(), c.caller, c.id); !errors.Is(err, c.want) {
			t.Errorf("released by %s: %v", name, err)
		}
	}
	owner = d.person("user_1", "org_1", engineer)
	if k, err := r.Release(t.Context(), owner, ids[1]); err != nil || k.Status != apikeys.Active {
		t.Errorf("released: %s, %v", k.Status, err)
	}
	r.as(t, credentials[1])
	r.refuses(t, credentials[2], "quarantined") // each by itself
	_, fresh, err := r.Rotate(t.Context(), owner, ids[2], time.Hour)
	must(t, err)
	r.as(t, fresh.Reveal())
	r.refuses(t, credentials[2], "superseded") // whatever the grace: somebody has it
}

// A held key is revoked like any other, and a deployment that revokes what
// leaks revokes what is held.
func TestWhatIsQuarantinedCanBeRevoked(t *testing.T) {
	d := onSQLite(t)
	r := d.replica(t)
	r.Settings.Leaked = apikeys.QuarantineLeaked
	owner := d.person("user_1", "org_1", engineer)
	k, a := r.make(t, owner, "agents:read")
	_, b := r.make(t, owner, "agents:read")
	must(t, r.Leaked(t.Context(), apikeys.Leak{Credentials: []string{a, b}}, origin))
	must(t, r.Revoke(t.Context(), owner, k.ID))
	r.refuses(t, a, "revoked")
	if _, err := r.Release(t.Context(), owner, k.ID); !errors.Is(err, fault.NotFound) {
		t.Errorf("a revoked key is released: %v", err)
	}
	r.Settings.Leaked = apikeys.RevokeLeaked
	must(t, r.Leaked(t.Context(), apikeys.Leak{Credentials: []string{b}}, origin))
	r.refuses(t, b, "revoked")
}

// A report is bounded, and so is what one source reports.
func TestReportsAreBounded(t *testing.T) {
	d := onSQLite(t)
	r := d.replica(t)
	report := func(n int) error {
		return r.Leaked(t.Context(), apikeys.Leak{Credentials: slices.Repeat([]string{"no key at all"}, n)}, origin)
	}
	for range 4 {
		must(t, report(apikeys.MaxLeaked))
	}
	for _, n := range []int{0, apikeys.MaxLeaked + 1} {
		if err := report(n); !errors.Is(err, fault.Invalid) {
			t.Errorf("%d keys: %v", n, err)
		}
	}
	err := report(200)
	if f := fault.Of(err); f.Code != fault.RateLimited || f.RetryAfter != 10*time.Second {
		t.Fatalf("after 2000 keys: %v, again in %s", err, f.RetryAfter)
	}
	d.clock.advance(9 * time.Second)
	if err := report(200); !errors.Is(err, fault.RateLimited) { // and it cost nothing
		t.Errorf("9 s later: %v", err)
	}
	d.clock.advance(time.Second)
	must(t, report(200))
	if r.gate.calls.Load() > 2 {
		t.Errorf("what is no key cost %d statements", r.gate.calls.Load())
	}
	r.gate.shut.Store(true)
	_, credential := func() (apikeys.Key, string) {
		r.gate.shut.Store(false)
		return r.make(t, d.person("user_1", "org_1", engineer), "agents:read")
	}()
	r.gate.shut.Store(true)
	if err := r.Leaked(context.Background(), apikeys.Leak{Credentials: []string{credential}}, ident.Origin{}); !errors.Is(err, fault.Unavailable) {
		t.Errorf("without the database: %v", err)
	}
	if strings.Contains(err.Error(), "no key at all") {
		t.Error("the refusal repeats what was reported")
	}
}

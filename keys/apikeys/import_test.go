package apikeys_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
)

func importOf(credential string, permissions ...string) apikeys.Import {
	sum := sha256.Sum256([]byte(credential))
	return apikeys.Import{Hash: sum[:], Last4: credential[len(credential)-4:], New: apikeys.New{Name: "old", Permissions: permissions, Owner: "user_1"}}
}

func operator(org ident.OrgID) ident.Caller { return ident.OperatorOf(org, catalogue.All()) }

func (r *replica) take(t *testing.T, imports ...apikeys.Import) []error {
	t.Helper()
	problems, err := r.Import(t.Context(), operator("org_1"), imports, false)
	must(t, err)
	return problems
}

// foreign are credentials as other systems make them.
var foreign = []string{"sk_live_51H8xAbCdEfGhIjKlMnOpQrSt", "SG.abcdefghijklmnop.qrstuvwxyz0123456789", "deadbeefdeadbeefdeadbeefdeadbeef", "pat-na1-11111111-2222", "eyJ-but-no-jwt"}

// An imported key works as it is, at every replica, and is listed, rotated,
// limited to its owner's rights and revoked like any other.
func TestAnImportedKeyIsLikeAnyOther(t *testing.T) {
	d := onSQLite(t)
	r, other := d.replica(t), d.replica(t)
	owner := d.person("user_1", "org_1", engineer)
	for _, c := range foreign {
		other.refuses(t, c, "malformed") // remembered, and forgotten when the import is heard of
		if other.Foreign(t.Context(), c) {
			t.Error("there are no imported keys yet")
		}
	}
	var imports []apikeys.Import
	for _, c := range foreign {
		imports = append(imports, importOf(c, "agents:read", "users:create"))
	}
	for i, err := range r.take(t, imports...) {
		must(t, err)
		r.as(t, foreign[i])
	}
	must(t, other.feed.Poll(t.Context()))
	for _, c := range foreign {
		if got := other.as(t, c); got.User != "user_1" || got.Org != "org_1" || got.Permissions.String() != "agents:read" { // the owner may not create users
			t.Errorf("%+v", got)
		}
		if !other.Foreign(t.Context(), c) {
			t.Errorf("%s is not taken for a key", c)
		}
	}
	calls := other.gate.calls.Load()
	for range 10 {
		other.as(t, foreign[0])
	}
	if n := other.gate.calls.Load() - calls; n != 0 {
		t.Errorf("a warm imported key cost %d statements", n)
	}
	keys, err := r.List(t.Context(), owner, ident.Page{Limit: 10})
	if err != nil || len(keys) != len(foreign) {
		t.Fatalf("listed %d, %v", len(keys), err)
	}
	byLast4 := func(c string) apikeys.Key {
		i := slices.IndexFunc(keys, func(k apikeys.Key) bool { return k.Secrets[0].Last4 == c[len(c)-4:] })
		return keys[i]
	}
	k, fresh, err := r.Rotate(t.Context(), owner, byLast4(foreign[0]).ID, time.Hour)
	must(t, err)
	if !apikeys.LooksLike(fresh.Reveal()) || k.ID != byLast4(foreign[0]).ID {
		t.Errorf("rotated to %s", k.ID)
	}
	must(t, other.feed.Poll(t.Context()))
	for _, c := range []string{fresh.Reveal(), foreign[0]} { // the old one in its grace
		if got := other.as(t, c); got.Key != k.ID {
			t.Errorf("%s", got.Key)
		}
	}
	d.clock.advance(time.Hour)
	must(t, other.feed.Poll(t.Context()))
	other.refuses(t, foreign[0], "superseded")
	other.as(t, fresh.Reveal())
	must(t, r.Revoke(t.Context(), owner, byLast4(foreign[1]).ID))
	must(t, r.Leaked(t.Context(), apikeys.Leak{Credentials: foreign[2:3]}, origin))
	must(t, other.feed.Poll(t.Context()))
	other.refuses(t, foreign[1], "revoked")
	other.refuses(t, foreign[2], "revoked")
	other.RefuseImported = true
	other.refuses(t, foreign[3], "malformed")
}

// An import may be run again: what was imported is not imported again, even
// after it was rotated away twice.
func TestAnImportIsIdempotent(t *testing.T) {
	d := onSQLite(t)
	r := d.replica(t)
	owner := d.person("user_1", "org_1", engineer)
	first := importOf(foreign[0], "agents:read")
	if problems, err := r.Import(t.Context(), operator("org_1"), []apikeys.Import{first}, true); err != nil || problems[0] != nil || len(r.named(audit.APIKeyCreated)) != 0 {
		t.Errorf("a dry run: %v, %v", problems, err)
	}
	problems := r.take(t, first, importOf(foreign[1], "agents:read"), first)
	if problems[0] != nil || problems[1] != nil || !errors.Is(problems[2], fault.Conflict) {
		t.Errorf("one twice in a batch: %v", problems)
	}
	id := r.as(t, foreign[0]).Key
	for range 2 {
		_, _, err := r.Rotate(t.Context(), owner, id, 0)
		must(t, err)
	}
	if problems := r.take(t, first); !errors.Is(problems[0], fault.Conflict) {
		t.Errorf("again: %v", problems)
	}
	r.refuses(t, foreign[0], "mismatch")
	if es := r.named(audit.APIKeyCreated); len(es) != 2 || es[0].Meta["imported"] != "true" || es[0].Actor.Type != "operator" {
		t.Errorf("recorded %+v", es)
	}
}

func TestWhatCannotBeImported(t *testing.T) {
	d := onSQLite(t)
	r := d.replica(t)
	d.person("user_1", "org_1", engineer)
	good := importOf(foreign[0], "agents:read")
	change := func(do func(*apikeys.Import)) apikeys.Import { i := good; do(&i); return i }
	imports := []apikeys.Import{
		change(func(i *apikeys.Import) { i.Hash = i.Hash[:31] }),
		change(func(i *apikeys.Import) { i.Last4 = "longer than four" }),
		change(func(i *apikeys.Import) { i.Owner = "user_9" }),
		change(func(i *apikeys.Import) { i.Permissions = []string{"nothing:known"} }),
		change(func(i *apikeys.Import) { i.Name = "" }),
		change(func(i *apikeys.Import) { i.ExpiresAt = d.clock.now() }),
		good,
	}
	for i, err := range r.take(t, imports...) {
		if want := i < len(imports)-1; want != errors.Is(err, fault.Invalid) || !want && err != nil {
			t.Errorf("%d: %v", i, err)
		}
	}
	if _, err := r.Import(t.Context(), d.person("user_1", "org_1", catalogue.All()), nil, false); !errors.Is(err, fault.InsufficientPermissions) {
		t.Errorf("imported by a person: %v", err)
	}
	if _, err := r.Import(t.Context(), operator("org_1"), make([]apikeys.Import, apikeys.MaxImport+1), false); !errors.Is(err, fault.Invalid) {
		t.Errorf("too many: %v", err)
	}
}

// SEC-KEY-19: unknown credentials of any form cost one question each, a flood of
// them none, and neither locks anybody out of a key that is in memory.
func TestUnknownForeignKeysAreBounded(t *testing.T) {
	d := onSQLite(t)
	r := d.replica(t)
	r.Throttle = apikeys.Throttle{Burst: 10, PerSecond: 1}
	d.person("user_1", "org_1", engineer)
	r.take(t, importOf(foreign[0], "agents:read"))
	r.as(t, foreign[0])
	before := r.gate.imports.Load()
	for range 3 {
		r.refuses(t, "unknown but well formed", "malformed") // a blank
		r.refuses(t, "unknown-but-well-formed", "unknown")
	}
	if n := r.gate.imports.Load() - before; n != 1 {
		t.Errorf("asked %d times", n)
	}
	before = r.gate.imports.Load()
	for i := range 200 {
		_, _ = r.Verify(t.Context(), "flood-"+strings.Repeat("x", i+1), origin)
	}
	if n := r.gate.imports.Load() - before; n > 10 {
		t.Errorf("a flood of 200 asked %d times", n)
	}
	r.as(t, foreign[0])
	for _, c := range []string{"short", strings.Repeat("x", 513), "tab\tand more", "ümlaut-and-more"} {
		before := r.gate.imports.Load()
		if _, err := r.Verify(t.Context(), c, ident.Origin{}); !errors.Is(err, fault.InvalidAPIKey) || r.gate.imports.Load() != before {
			t.Errorf("%q: %v, asked %d times", c, err, r.gate.imports.Load()-before)
		}
	}
	if r.Foreign(t.Context(), "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln") {
		t.Error("a JWT is taken for a key")
	}
}

// Neither an imported key nor its bare hash is in the database.
func TestTheHashOfAnImportIsNotStored(t *testing.T) {
	d := onSQLite(t)
	r := d.replica(t)
	d.person("user_1", "org_1", engineer)
	i := importOf(foreign[0], "agents:read")
	must(t, r.take(t, i)[0])
	r.as(t, foreign[0])
	must(t, r.Close(t.Context()))
	files, err := filepath.Glob(filepath.Join(r.dir, "*"))
	must(t, err)
	read := 0
	for _, f := range files {
		b, err := os.ReadFile(f)
		must(t, err)
		read += len(b)
		for _, secret := range [][]byte{[]byte(foreign[0]), i.Hash, []byte(hex.EncodeToString(i.Hash)), []byte(strings.ToUpper(hex.EncodeToString(i.Hash)))} {
			if bytes.Contains(b, secret) {
				t.Errorf("%s holds %q", filepath.Base(f), secret)
			}
		}
	}
	if read == 0 {
		t.Error("nothing was read")
	}
}

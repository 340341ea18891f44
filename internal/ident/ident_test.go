package ident

import (
	"crypto/rand"
	"errors"
	"slices"
	"testing"
	"testing/iotest"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/scope"
)

func TestIdentifiersSortByAge(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var ids []string
	for i := range 1000 {
		ids = append(ids, string(NewUserID(at.Add(time.Duration(i)*time.Millisecond), rand.Reader)))
	}
	if !slices.IsSorted(ids) {
		t.Error("identifiers do not sort by age")
	}
	if id := NewUserID(at, rand.Reader); len(id) != len("user_")+26 {
		t.Errorf("id = %q", id)
	}
}

func TestParseAcceptsItsOwnKindOnly(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	user, org, sess, key := NewUserID(at, rand.Reader), NewOrgID(at, rand.Reader), NewSessionID(at, rand.Reader), NewAPIKeyID(at, rand.Reader)
	if _, err := ParseUserID(string(user)); err != nil {
		t.Error(err)
	}
	if _, err := ParseOrgID(string(org)); err != nil {
		t.Error(err)
	}
	if _, err := ParseSessionID(string(sess)); err != nil {
		t.Error(err)
	}
	if _, err := ParseAPIKeyID(string(key)); err != nil {
		t.Error(err)
	}
	for _, s := range []string{"", "user_", string(org), string(user) + "0", string(user)[:30], "user_!" + string(user)[6:], "user_8" + string(user)[6:], "USER_" + string(user)[5:]} {
		if _, err := ParseUserID(s); !errors.Is(err, ErrMalformed) {
			t.Errorf("ParseUserID(%q) = %v", s, err)
		}
	}
}

func FuzzSessionID(f *testing.F) {
	f.Add("sess_01h455vb4pex5vsknk084sn02q")
	f.Add("sess_")
	f.Fuzz(func(t *testing.T, s string) {
		b, err := SessionID(s).Bytes()
		if err == nil && string(SessionIDFrom(b)) != s {
			t.Errorf("%q changes to %q", s, SessionIDFrom(b))
		}
		if _, perr := ParseSessionID(s); (perr == nil) != (err == nil) {
			t.Errorf("Parse and Bytes disagree about %q", s)
		}
	})
}

func TestIdentifiersDifferEvenWithoutTheirSource(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	dry := iotest.ErrReader(errors.New("dry"))
	if first, second := NewOrgID(at, dry), NewOrgID(at, dry); first == second {
		t.Error("two organisations share an identifier")
	}
}

func TestTenantIsTheCallersOwn(t *testing.T) {
	c := Caller{Kind: Person, Org: "org_a", User: "user_a", Permissions: scope.Of("a:read")}
	if c.Tenant().Org() != "org_a" || (Tenant{}).Org() != "" {
		t.Error("the tenant is not the caller's")
	}
	if !c.May("a:read") || c.May("a:write") || (Caller{}).May("a:read") {
		t.Error("permissions are wrong")
	}
	if c.ID() != "user_a" || (Caller{Kind: APIKey, User: "user_a", Key: "key_a"}).ID() != "key_a" {
		t.Error("the principal's identifier is wrong")
	}
}

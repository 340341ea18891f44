package accounts

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/tokenhouse/tokenhouse/internal/scope"
)

func catalogue(t interface{ Fatal(...any) }) scope.Catalogue {
	c, err := NewCatalogue("agents:read", "agents:create", "agents:delete", "incidents:read", "incidents:create", "incidents:delete", "metrics:read", "procedures:execute")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestBuiltInRoles(t *testing.T) {
	c := catalogue(t)
	if own := Effective(c, RoleOwner, nil); !slices.Equal(own, c.All()) {
		t.Errorf("owner lacks %v", own.Lacks(c.All()))
	}
	if lacks := Effective(c, RoleAdmin, nil).Lacks(c.All()); !slices.Equal(lacks, scope.Of(OrganizationsDelete)) {
		t.Errorf("admin lacks %v, want %s alone", lacks, OrganizationsDelete)
	}
	engineer := Effective(c, RoleEngineer, nil)
	if lacks := engineer.Lacks(scope.Of("agents:delete", "incidents:create", "metrics:read", "procedures:execute", APIKeysCreate, APIKeysRotate)); lacks != nil {
		t.Errorf("engineer lacks %v", lacks)
	}
	for _, p := range []scope.Permission{UsersRead, UsersCreate, RolesManage, AuditRead, APIKeysManage, OrganizationsUpdate, SessionsRevoke} {
		if engineer.Allows(p) {
			t.Errorf("engineer may %s", p)
		}
	}
	for _, p := range Effective(c, RoleViewer, nil) {
		if p == AuditRead || p == SigningKeysRead || !scope.Permission("*:read").Covers(p) {
			t.Errorf("viewer may %s", p)
		}
	}
	if got := BuiltInRoles(c); len(got) != 4 || got[0].Name != RoleOwner || !got[3].BuiltIn {
		t.Errorf("built-in roles: %+v", got)
	}
	if IsBuiltIn("Owner") || !IsBuiltIn("viewer") {
		t.Error("IsBuiltIn")
	}
}

func TestEffectivePermissionsNeverExceedRoleOrCatalogue(t *testing.T) {
	// INV-08, as far as roles go
	part := rapid.SampledFrom([]string{"agents", "incidents", "users", "read", "create", "x", "*"})
	permission := rapid.Custom(func(t *rapid.T) scope.Permission {
		return scope.Permission(part.Draw(t, "resource") + ":" + part.Draw(t, "action"))
	})
	rapid.Check(t, func(t *rapid.T) {
		c := catalogue(t)
		custom := scope.Of(rapid.SliceOf(permission).Draw(t, "permissions")...)
		name := rapid.SampledFrom([]string{RoleOwner, RoleAdmin, RoleEngineer, RoleViewer, "custom", "", "OWNER"}).Draw(t, "role")
		got := Effective(c, name, custom)
		if lacks := c.All().Lacks(got); lacks != nil {
			t.Fatalf("%v are not in the catalogue", lacks)
		}
		for _, p := range got {
			if slices.Contains([]byte(p), '*') {
				t.Fatalf("%s is not concrete", p)
			}
			if !IsBuiltIn(name) && !custom.Allows(p) {
				t.Fatalf("%s is not of the role %v", p, custom)
			}
		}
		if !IsBuiltIn(name) && custom.Lacks(got) == nil && len(c.Expand(custom)) != len(got) {
			t.Fatalf("%v allows %v, got %v", custom, c.Expand(custom), got)
		}
	})
}

func TestNamesAndSlugs(t *testing.T) {
	for s, ok := range map[string]bool{"a": true, "on-call": true, "sre_2": true, "": false, "A": false, "2a": false, "-a": false, "a b": false, "ä": false} {
		if err := checkRoleName(s); (err == nil) != ok {
			t.Errorf("checkRoleName(%q) = %v", s, err)
		}
	}
	for s, ok := range map[string]bool{"a": true, "a-b-2": true, "2": true, "": false, "-a": false, "a-": false, "a--b": false, "A": false, "ä": false, "a.b": false} {
		if err := checkSlug(s); (err == nil) != ok {
			t.Errorf("checkSlug(%q) = %v", s, err)
		}
	}
	for name, want := range map[string]string{"Acme, Inc.": "acme-inc", "  ": "org", "Ünïcode GmbH": "n-code-gmbh", "日本": "org", "--a--": "a"} {
		if got := slugOf(name); got != want || checkSlug(got) != nil {
			t.Errorf("slugOf(%q) = %q, want %q", name, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		if s := slugOf(rapid.String().Draw(t, "name")); checkSlug(s+"-12345678") != nil {
			t.Fatalf("%q is no slug with a suffix", s)
		}
	})
}

func TestCleanName(t *testing.T) {
	for in, want := range map[string]string{" Anna  B ": "Anna  B", "Mu\u0308ller": "Müller", "": "", "👩\u200d🚀": "👩\u200d🚀"} {
		if got, err := cleanName("name", in); got != want || err != nil {
			t.Errorf("cleanName(%q) = %q, %v", in, got, err)
		}
	}
	long := make([]byte, 201)
	for i := range long {
		long[i] = 'a'
	}
	for _, in := range []string{"a\nb", "a\x00b", "a\u202eb", "a\u2028b", "\xff", string(long)} {
		if got, err := cleanName("name", in); err == nil {
			t.Errorf("cleanName(%q) = %q, want a refusal", in, got)
		}
	}
}

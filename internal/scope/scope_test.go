package scope

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestParsePermission(t *testing.T) {
	for text, ok := range map[string]bool{
		"incidents:read": true, "*:*": true, "agents:*": true, "*:read": true, "api-keys:create": true, "a.b_c:d": true,
		"": false, ":": false, "read": false, "a:": false, ":a": false, "A:read": false, "a:b:c": false, "a b:c": false,
		"**:a": false, "a*:b": false, "ä:b": false, "a:b\n": false,
	} {
		if _, err := ParsePermission(text); (err == nil) != ok {
			t.Errorf("ParsePermission(%q) = %v", text, err)
		}
	}
}

func FuzzPermission(f *testing.F) {
	for _, s := range []string{"a:b", "*:*", "a:*", "::", "a b:c", "\x00:a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePermission(s)
		if err != nil {
			return
		}
		if string(p) != s || !p.Covers(p) || !Permission("*:*").Covers(p) {
			t.Errorf("%q does not survive parsing", s)
		}
		if set, err := Parse(s); err != nil || set.String() != s {
			t.Errorf("Parse(%q) = %v, %v", s, set, err)
		}
	})
}

func TestSetAnswersByCovering(t *testing.T) {
	s := Of("agents:*", "metrics:read", "agents:*")
	if s.String() != "agents:* metrics:read" {
		t.Errorf("set = %q", s)
	}
	for p, want := range map[Permission]bool{"agents:read": true, "agents:*": true, "metrics:read": true, "metrics:*": false, "users:read": false, "*:read": false} {
		if s.Allows(p) != want {
			t.Errorf("%v allows %s = %v", s, p, !want)
		}
	}
	if got := s.Lacks(Of("agents:create", "users:read")); !slices.Equal(got, Of("users:read")) {
		t.Errorf("lacks %v", got)
	}
	if Set(nil).Allows("a:b") {
		t.Error("the zero set permits something")
	}
}

func TestCatalogue(t *testing.T) {
	c, err := NewCatalogue("agents:read", "agents:create", "metrics:read")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewCatalogue("agents:*"); err == nil {
		t.Error("a wildcard was taken for a permission that exists")
	}
	if !c.Knows("agents:*") || !c.Knows("*:read") || c.Knows("agents:fly") || c.Knows("planes:*") {
		t.Error("the catalogue does not know what exists")
	}
	if got := c.Expand(Of("agents:*")); !slices.Equal(got, Of("agents:create", "agents:read")) {
		t.Errorf("agents:* expands to %v", got)
	}
}

// INV-08: what two sets permit together is exactly what each of them permits.
func TestMeetIsTheIntersection(t *testing.T) {
	part := rapid.SampledFrom([]string{"*", "a", "b", "c"})
	permission := rapid.Custom(func(t *rapid.T) Permission {
		return Permission(part.Draw(t, "resource") + ":" + part.Draw(t, "action"))
	})
	set := rapid.Custom(func(t *rapid.T) Set { return Of(rapid.SliceOfN(permission, 0, 4).Draw(t, "set")...) })
	rapid.Check(t, func(t *rapid.T) {
		a, b, p := set.Draw(t, "a"), set.Draw(t, "b"), permission.Draw(t, "p")
		m := a.Meet(b)
		if m.Allows(p) != (a.Allows(p) && b.Allows(p)) {
			t.Fatalf("%v meet %v = %v is wrong about %s", a, b, m, p)
		}
		if !slices.Equal(m, b.Meet(a)) {
			t.Fatalf("meet depends on the order: %v, %v", m, b.Meet(a))
		}
	})
}

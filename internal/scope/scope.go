// Package scope holds permissions ("resource:action", either part may be *)
// and sets of them. A permission is also an OAuth scope name (RFC 6749 §3.3).
package scope

import (
	"errors"
	"slices"
	"strings"
)

// MaxLength is the longest permission accepted, in bytes.
const MaxLength = 128

// ErrMalformed is a permission that is not of the form resource:action.
var ErrMalformed = errors.New("a permission has the form resource:action, of a-z 0-9 . _ - or *")

// Permission is "resource:action". A * stands for every resource or action.
type Permission string

// ParsePermission accepts the form resource:action, each part being * or
// made of lower-case letters, digits, dot, underscore and hyphen.
func ParsePermission(s string) (Permission, error) {
	resource, action, ok := strings.Cut(s, ":")
	if !ok || len(s) > MaxLength || !part(resource) || !part(action) {
		return "", ErrMalformed
	}
	return Permission(s), nil
}

func part(s string) bool {
	if s == "*" {
		return true
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return s != ""
}

// Covers reports whether p permits everything that q does.
func (p Permission) Covers(q Permission) bool {
	m, ok := p.meet(q)
	return ok && m == q
}

// meet is the widest permission that both p and q cover.
func (p Permission) meet(q Permission) (Permission, bool) {
	pr, pa, _ := strings.Cut(string(p), ":")
	qr, qa, _ := strings.Cut(string(q), ":")
	r, ok1 := meetPart(pr, qr)
	a, ok2 := meetPart(pa, qa)
	return Permission(r + ":" + a), ok1 && ok2
}

func meetPart(a, b string) (string, bool) {
	switch {
	case a == "*":
		return b, true
	case b == "*" || a == b:
		return a, true
	default:
		return "", false
	}
}

// Set is a set of permissions, sorted and without repeats. The zero Set permits
// nothing.
type Set []Permission

// Of returns the set of the given permissions.
func Of(ps ...Permission) Set {
	s := slices.Clone(ps)
	slices.Sort(s)
	return Set(slices.Compact(s))
}

// Parse reads a space separated list (RFC 6749 §3.3).
func Parse(s string) (Set, error) {
	var out []Permission
	for f := range strings.FieldsSeq(s) {
		p, err := ParsePermission(f)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return Of(out...), nil
}

// Allows reports whether some member of s covers p.
func (s Set) Allows(p Permission) bool {
	return slices.ContainsFunc(s, func(q Permission) bool { return q.Covers(p) })
}

// Lacks returns the members of want that s does not allow.
func (s Set) Lacks(want Set) Set {
	var out Set
	for _, p := range want {
		if !s.Allows(p) {
			out = append(out, p)
		}
	}
	return out
}

// Meet returns what both sets permit: no more than either, and no less.
func (s Set) Meet(t Set) Set {
	var out []Permission
	for _, p := range s {
		for _, q := range t {
			if m, ok := p.meet(q); ok {
				out = append(out, m)
			}
		}
	}
	return Of(out...).reduced()
}

// reduced drops members that another member covers.
func (s Set) reduced() Set {
	return slices.DeleteFunc(slices.Clone(s), func(p Permission) bool {
		return slices.ContainsFunc(s, func(q Permission) bool { return q != p && q.Covers(p) })
	})
}

// Strings returns the members as strings, never nil.
func (s Set) Strings() []string {
	out := make([]string, len(s))
	for i, p := range s {
		out[i] = string(p)
	}
	return out
}

// String joins the members with spaces (RFC 6749 §3.3).
func (s Set) String() string {
	size := len(s)
	for _, p := range s {
		size += len(p)
	}
	var out strings.Builder
	out.Grow(size)
	for i, p := range s {
		if i > 0 {
			out.WriteByte(' ')
		}
		out.WriteString(string(p))
	}
	return out.String()
}

package scope

import "slices"

// Catalogue is the list of every permission that exists in a deployment: ours
// and those of the resource servers behind us. It holds no wildcards.
type Catalogue struct{ known Set }

// NewCatalogue returns the catalogue of the given permissions. A permission
// with a wildcard names no one thing, so it is malformed here.
func NewCatalogue(names ...string) (Catalogue, error) {
	var ps []Permission
	for _, n := range names {
		p, err := ParsePermission(n)
		if err != nil {
			return Catalogue{}, err
		}
		if slices.Contains([]byte(n), '*') {
			return Catalogue{}, ErrMalformed
		}
		ps = append(ps, p)
	}
	return Catalogue{known: Of(ps...)}, nil
}

// All returns every permission there is.
func (c Catalogue) All() Set { return slices.Clone(c.known) }

// Knows reports whether p covers at least one permission that exists.
func (c Catalogue) Knows(p Permission) bool {
	return slices.ContainsFunc(c.known, p.Covers)
}

// Expand returns the existing permissions that s allows, so that a reader
// needs no wildcard rule to use them.
func (c Catalogue) Expand(s Set) Set {
	var out Set
	for _, p := range c.known {
		if s.Allows(p) {
			out = append(out, p)
		}
	}
	return out
}

package apikeys

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/keys/sealing"
)

// A key that another system made has any form, and we were given its SHA-256
// alone. What is stored is what is stored of a key of ours, with "sha256:" and
// the hash where the credential would stand: an HMAC under the pepper, never the
// hash itself. The key is found by a lookup id that is such an HMAC too.

// ImportStore finds keys that another system made.
type ImportStore interface {
	// ImportedAPIKey returns the lookup id of the key that was imported under one
	// of these; fault.NotFound where none was.
	ImportedAPIKey(ctx context.Context, lookups []string) (string, error)
	// AnyAPIKeyImported reports whether any key ever was.
	AnyAPIKeyImported(ctx context.Context) (bool, error)
}

// Bounds of a credential that another system made, in bytes.
const (
	minForeign = 8
	maxForeign = 512
)

const (
	importPrefix = "imp_"             // of lookup ids of imports: those of our own keys have no underscore
	anyImport    = importPrefix + "*" // whether there are any
	someImports  = "some"
	maxPeppers   = 4 // that an import may have been made under
)

var errMalformed = errors.New("the credential has no form that a key has")

// locate returns the lookup id of the credential, which may be nobody's;
// errMalformed where it can be no key's, and errUnknown where it was never imported.
func (s *Service) locate(ctx context.Context, a *attempt) (string, error) {
	if lookup, ok := parse(a.credential); ok {
		return lookup, nil
	}
	ok, err := s.mayBeForeign(ctx, a.credential)
	if err != nil {
		return "", err
	}
	if !ok {
		return "", errMalformed
	}
	m, ids := s.memory(), s.importLookups(hashed(a.credential))
	return m.imports.Get(ctx, ids[0], func(ctx context.Context, id string) (string, error) {
		var found string
		_, err := m.unknown.Get(ctx, id, func(ctx context.Context, _ string) (struct{}, error) {
			if err := s.pay(a); err != nil {
				return struct{}{}, err
			}
			lookup, err := s.Store.ImportedAPIKey(ctx, ids)
			if errors.Is(err, fault.NotFound) {
				return struct{}{}, nil
			}
			if found = lookup; err == nil {
				err = errKnown
			}
			return struct{}{}, err
		})
		switch {
		case errors.Is(err, errKnown):
			return found, nil
		case err != nil:
			return "", err
		default:
			return "", errUnknown
		}
	})
}

// Foreign reports whether the credential may be a key that another system made:
// no JWT (RFC 7519 §7.2: two dots, and a header that begins with a brace), and
// some such key was imported. It asks the database seldom.
func (s *Service) Foreign(ctx context.Context, credential string) bool {
	if strings.HasPrefix(credential, "eyJ") && strings.Count(credential, ".") >= 2 {
		return false
	}
	ok, err := s.mayBeForeign(ctx, credential)
	return ok && err == nil
}

func (s *Service) mayBeForeign(ctx context.Context, credential string) (bool, error) {
	if s.RefuseImported || len(credential) < minForeign || len(credential) > maxForeign {
		return false, nil
	}
	for _, c := range []byte(credential) {
		if c <= ' ' || c > '~' {
			return false, nil
		}
	}
	some, err := s.memory().imports.Get(ctx, anyImport, func(ctx context.Context, _ string) (string, error) {
		some, err := s.Store.AnyAPIKeyImported(ctx)
		if err != nil || !some {
			return "", err
		}
		return someImports, nil
	})
	return some == someImports, err
}

// hearImport forgets what an import changed.
func (m *memory) hearImport(lookup string) {
	if strings.HasPrefix(lookup, importPrefix) {
		m.imports.Purge(lookup)
		m.imports.Purge(anyImport)
	}
}

// digested is the text that digests of the credential are made of.
func digested(credential string) string {
	if LooksLike(credential) {
		return credential
	}
	return hashed(credential)
}

func hashed(credential string) string { return digestedHash(secret.Sum(credential)) }

// digestedHash is the text for a credential of that SHA-256. No credential of
// ours has a colon.
func digestedHash(sum []byte) string { return "sha256:" + hex.EncodeToString(sum) }

// importLookups are the lookup ids that the credential of that text may have
// been imported under, the one of the present pepper first.
func (s *Service) importLookups(text string) []string {
	id, pepper := s.Peppers.Current(sealing.APIKeyPepper)
	out := []string{importLookup(pepper, text)}
	for n := int(id) - 1; n > 0 && len(out) < maxPeppers; n-- {
		if pepper, ok := s.Peppers.ByID(sealing.APIKeyPepper, uint8(n)); ok {
			out = append(out, importLookup(pepper, text))
		}
	}
	return out
}

func importLookup(pepper []byte, text string) string {
	return importPrefix + base64.RawURLEncoding.EncodeToString(secret.MAC(pepper, "import", text)[:18])
}

package apikeys

import (
	"context"
	"errors"
	"regexp"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/keys/sealing"
)

// MaxImport is how many keys one call of Import takes.
const MaxImport = 500

// Import is a key that another system made.
type Import struct {
	New
	Hash  []byte // SHA-256 of the whole old credential
	Last4 string // the last characters of the old credential, where known: at most four
}

// last4Form keeps what is shown of a key from being the key.
var last4Form = regexp.MustCompile(`^[!-~]{0,4}$`)

// Import makes keys of the caller's organisation whose credentials another
// system made. They are used, listed, rotated and revoked like any other; the
// first rotation gives a credential of ours. The settings and the policy hold for
// them as for any other new key. The caller is the operator. Of each
// key it tells what kept it from being imported: nil; fault.Conflict where the
// hash was imported before, so that an import may be run again; fault.Invalid.
// The error is that of the whole. With dry nothing is stored.
//
// A hash of something that people chose, or of few random bits, can be guessed
// from nobody but who has the pepper; but whoever has the old system's hashes
// can guess it there.
func (s *Service) Import(ctx context.Context, caller ident.Caller, imports []Import, dry bool) ([]error, error) {
	if caller.Kind != ident.Operator {
		return nil, fault.Lacking(string(PermCreate))
	}
	if len(imports) > MaxImport {
		return nil, fault.Refuse("keys", "at most 500 at once")
	}
	policy, err := s.presentPolicy(ctx, caller.Tenant().Org())
	if err != nil {
		return nil, err
	}
	now := s.Now()
	problems := make([]error, len(imports))
	judged := make([]judgedImport, 0, len(imports))
	for i, n := range imports {
		j := judgedImport{at: i}
		if j.key, problems[i] = s.judgeNew(ctx, caller, n.New, policy, now); problems[i] == nil {
			j.lookup, problems[i] = s.judgeImport(ctx, n, &j.key)
		}
		switch f := fault.Of(problems[i]); {
		case problems[i] == nil:
			judged = append(judged, j)
		case f.Code == fault.Unavailable || f.Code == fault.Internal:
			return nil, problems[i]
		}
	}
	if dry {
		return problems, nil
	}
	err = s.insertImports(ctx, caller, judged)
	if !errors.Is(err, fault.Conflict) {
		return problems, err
	}
	for _, j := range judged { // some hash stands there twice, or somebody else is importing: find out which
		if err := s.insertImports(ctx, caller, []judgedImport{j}); errors.Is(err, fault.Conflict) {
			problems[j.at] = err
		} else if err != nil {
			return nil, err
		}
	}
	return problems, nil
}

// judgedImport is a key that may be stored.
type judgedImport struct {
	at     int // among the imports
	key    Key
	lookup string
}

// judgeImport gives k its identity and secret, and returns the lookup id of the
// old credential.
func (s *Service) judgeImport(ctx context.Context, n Import, k *Key) (lookup string, err error) {
	var refused []fault.Field
	if len(n.Hash) != 32 {
		refused = append(refused, fault.Field{Name: "hash", Detail: "must be a SHA-256: 32 bytes"})
	}
	if !last4Form.MatchString(n.Last4) {
		refused = append(refused, fault.Field{Name: "last4", Detail: "must be at most four printable characters"})
	}
	if err := fault.Refusals(refused); err != nil {
		return "", err
	}
	text := digestedHash(n.Hash)
	ids := s.importLookups(text)
	if _, err := s.Store.ImportedAPIKey(ctx, ids); err == nil {
		return "", fault.New(fault.Conflict, "This key was imported already.")
	} else if !errors.Is(err, fault.NotFound) {
		return "", err
	}
	if k.Lookup, err = secret.Text(s.Random, lookupSize); err != nil {
		return "", err
	}
	id, pepper := s.Peppers.Current(sealing.APIKeyPepper)
	k.ID = ident.NewAPIKeyID(k.CreatedAt, s.Random)
	k.Secrets = []Secret{{Generation: 1, Digest: secret.MAC(pepper, text), Pepper: id, Last4: n.Last4, CreatedAt: k.CreatedAt}}
	return ids[0], nil
}

// insertImports stores all of them or none.
func (s *Service) insertImports(ctx context.Context, caller ident.Caller, imports []judgedImport) error {
	return s.Store.InTx(ctx, func(tx Tx) error {
		for _, j := range imports {
			if err := tx.InsertAPIKey(j.key); err != nil {
				return err
			}
			if err := tx.InsertAPIKeyImport(j.lookup, j.key.ID); err != nil {
				return err
			}
			if err := tx.Announce(changes.Change{Kind: changes.APIKey, Key: j.lookup, At: j.key.CreatedAt}); err != nil {
				return err
			}
			e := event(caller, j.key, audit.APIKeyCreated, j.key.CreatedAt)
			e.Meta = map[string]string{"imported": "true"}
			if err := note(tx, caller, j.key, e); err != nil {
				return err
			}
		}
		return nil
	})
}

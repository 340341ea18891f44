package storagetest

import (
	"crypto/rand"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// user is a person who is in no backend yet.
func (f *fixture) user(canonical string) accounts.User {
	return accounts.User{
		ID: ident.NewUserID(f.now, rand.Reader), Email: "As " + canonical, Canonical: canonical, Name: "Ünïcode O'Neil", Status: accounts.Active,
		PasswordHash: "$argon2id$1", CreatedAt: f.now, PasswordChangedAt: f.now.Add(time.Microsecond),
	}
}

func (f *fixture) org(slug string) accounts.Org {
	return accounts.Org{ID: ident.NewOrgID(f.now, rand.Reader), Name: "Org " + slug, Slug: slug, Status: accounts.Active, CreatedAt: f.now}
}

// people does fn in one transaction, which must commit.
func (f *fixture) people(t *testing.T, fn func(accounts.Tx) error) {
	t.Helper()
	if err := f.Accounts().InTx(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

// member adds user to org.
func (f *fixture) member(t *testing.T, u accounts.User, o accounts.Org, role string, at time.Time) {
	t.Helper()
	f.people(t, func(tx accounts.Tx) error {
		added, err := tx.InsertMembership(accounts.Membership{User: u.ID, Org: o.ID, Role: role, CreatedAt: at})
		if err == nil && !added {
			err = errors.New("not added")
		}
		return err
	})
}

// populate adds users and organisations, and makes each a member of each.
func (f *fixture) populate(t *testing.T, us []accounts.User, os []accounts.Org) {
	t.Helper()
	f.add(t, us, os)
	for _, u := range us {
		for _, o := range os {
			f.member(t, u, o, "engineer", f.now)
		}
	}
}

// add adds users and organisations.
func (f *fixture) add(t *testing.T, us []accounts.User, os []accounts.Org) {
	t.Helper()
	f.people(t, func(tx accounts.Tx) error {
		for _, u := range us {
			if added, err := tx.InsertUser(u); err != nil || !added {
				return fmt.Errorf("insert %s: %v, %w", u.Canonical, added, err)
			}
		}
		for _, o := range os {
			if added, err := tx.InsertOrg(o); err != nil || !added {
				return fmt.Errorf("insert %s: %v, %w", o.Slug, added, err)
			}
		}
		return nil
	})
}

func users(t *testing.T, f *fixture) {
	s, ctx := f.Accounts(), t.Context()
	if any, err := s.AnyUser(ctx); any || err != nil {
		t.Errorf("AnyUser of an empty backend = %v, %v", any, err)
	}
	anna, twin := f.user("anna@example.com"), f.user("anna@example.com")
	f.people(t, func(tx accounts.Tx) error {
		first, err1 := tx.InsertUser(anna)
		again, err2 := tx.InsertUser(twin)
		// The refusal must not have ended the transaction.
		any, err3 := tx.AnyUser()
		if !first || again || !any {
			t.Errorf("two of one address: %v, %v, any %v; want true, false, true", first, again, any)
		}
		return errors.Join(err1, err2, err3)
	})
	for name, read := range map[string]func() (accounts.User, error){
		"by id":        func() (accounts.User, error) { return s.User(ctx, anna.ID) },
		"by canonical": func() (accounts.User, error) { return s.UserByCanonical(ctx, anna.Canonical) },
	} {
		if got, err := read(); err != nil || !reflect.DeepEqual(got, anna) {
			t.Errorf("%s: user changed in storage:\n got %+v, %v\nwant %+v", name, got, err, anna)
		}
	}
	if _, err := s.User(ctx, twin.ID); !errors.Is(err, fault.NotFound) {
		t.Errorf("the refused twin: %v", err)
	}
	if _, err := s.UserByCanonical(ctx, "ANNA@example.com"); !errors.Is(err, fault.NotFound) {
		t.Errorf("another spelling of a canonical form: %v", err)
	}
	f.changesUser(t, anna)
}

func (f *fixture) changesUser(t *testing.T, u accounts.User) {
	bob := f.user("bob@example.com")
	f.add(t, []accounts.User{bob}, nil)
	f.people(t, func(tx accounts.Tx) error {
		got, err := tx.LockUser(u.ID)
		if err != nil || !reflect.DeepEqual(got, u) {
			t.Errorf("LockUser = %+v, %v", got, err)
		}
		if _, err := tx.LockUser("user_none"); !errors.Is(err, fault.NotFound) {
			t.Errorf("LockUser of nobody: %v", err)
		}
		u.Name, u.Status = "New", accounts.Disabled
		err = tx.UpdateUser(u)
		taken := u
		taken.Canonical = bob.Canonical
		if free, e := tx.UpdateEmail(taken); free || e != nil {
			t.Errorf("another's address: %v, %v; want false", free, e)
		}
		u.Email, u.Canonical = "Anna@Example.org", "anna@example.org"
		free, e := tx.UpdateEmail(u)
		if !free || e != nil {
			t.Errorf("a free address: %v, %v", free, e)
		}
		if free, e := tx.UpdateEmail(u); !free || e != nil {
			t.Errorf("one's own address: %v, %v", free, e)
		}
		wrong, e1 := tx.ReplaceHash(u.ID, "not the hash", "$argon2id$x", time.Time{})
		right, e2 := tx.ReplaceHash(u.ID, u.PasswordHash, "$argon2id$2", time.Time{})
		if wrong || !right {
			t.Errorf("ReplaceHash of a wrong and the right hash: %v, %v", wrong, right)
		}
		return errors.Join(err, e1, e2)
	})
	u.PasswordHash = "$argon2id$2"
	if got, err := f.Accounts().User(t.Context(), u.ID); err != nil || !reflect.DeepEqual(got, u) {
		t.Errorf("after changes:\n got %+v, %v\nwant %+v", got, err, u)
	}
	u.PasswordChangedAt = f.now.Add(time.Hour)
	f.people(t, func(tx accounts.Tx) error {
		_, err := tx.ReplaceHash(u.ID, u.PasswordHash, u.PasswordHash, u.PasswordChangedAt)
		return err
	})
	if got, err := f.Accounts().User(t.Context(), u.ID); err != nil || !reflect.DeepEqual(got, u) {
		t.Errorf("after a change of password:\n got %+v, %v\nwant %+v", got, err, u)
	}
	f.undone(t, u)
}

// undone: a transaction that fails leaves nothing behind, nor tells anybody.
func (f *fixture) undone(t *testing.T, u accounts.User) {
	before := len(f.committed())
	refusal := fault.New(fault.Conflict, "no")
	err := f.Accounts().InTx(t.Context(), func(tx accounts.Tx) error {
		_, err1 := tx.InsertUser(f.user("carol@example.com"))
		_, err2 := tx.InsertOrg(f.org("undone"))
		err3 := tx.Record(audit.Event{Time: f.now, Name: audit.UserCreated})
		err4 := tx.Announce(changes.Change{Kind: changes.User, Key: string(u.ID), At: f.now})
		return errors.Join(err1, err2, err3, err4, refusal)
	})
	if !errors.Is(err, fault.Conflict) {
		t.Errorf("the transaction's own refusal came out as %v", err)
	}
	_, err1 := f.Accounts().UserByCanonical(t.Context(), "carol@example.com")
	_, err2 := f.Accounts().OrgBySlug(t.Context(), "undone")
	if !errors.Is(err1, fault.NotFound) || !errors.Is(err2, fault.NotFound) || len(f.committed()) != before {
		t.Errorf("a failed transaction left a user (%v), an organisation (%v) or events", err1, err2)
	}
}

func setup(t *testing.T, f *fixture) {
	anna := f.user("anna@example.com")
	f.add(t, []accounts.User{anna}, nil)
	link := accounts.SetupLink{Digest: []byte{0, 1, 255}, User: anna.ID, ExpiresAt: f.now.Add(time.Hour)}
	f.people(t, func(tx accounts.Tx) error { return tx.InsertSetupLink(link) })
	valid := func(digest []byte, at time.Time, want bool) {
		t.Helper()
		if got, err := f.Accounts().SetupLinkValid(t.Context(), digest, at); got != want || err != nil {
			t.Errorf("SetupLinkValid(%x, %v) = %v, %v; want %v", digest, at, got, err, want)
		}
	}
	valid(link.Digest, f.now, true)
	valid(link.Digest, link.ExpiresAt.Add(-time.Microsecond), true)
	valid(link.Digest, link.ExpiresAt, false)
	valid([]byte{0, 1}, f.now, false)
	use := func(digest []byte, at time.Time) (got accounts.SetupLink, refusal error) {
		t.Helper()
		f.people(t, func(tx accounts.Tx) error {
			if got, refusal = tx.UseSetupLink(digest, at); refusal != nil && !errors.Is(refusal, fault.NotFound) {
				return refusal
			}
			return nil
		})
		return got, refusal
	}
	if _, err := use(link.Digest, link.ExpiresAt); err == nil {
		t.Error("an expired link was used")
	}
	if got, err := use(link.Digest, f.now); err != nil || !reflect.DeepEqual(got, link) {
		t.Errorf("UseSetupLink = %+v, %v; want %+v", got, err, link)
	}
	if _, err := use(link.Digest, f.now); err == nil {
		t.Error("a link was used twice")
	}
	valid(link.Digest, f.now, false)
}

// peopleAtOnce: of those who want the one thing at the same time one gets it,
// and what is locked changes under nobody.
func peopleAtOnce(t *testing.T, f *fixture) {
	anna, acme := f.user("first@example.com"), f.org("acme")
	f.add(t, []accounts.User{anna}, []accounts.Org{acme})
	link := accounts.SetupLink{Digest: []byte{1}, User: anna.ID, ExpiresAt: f.now.Add(time.Hour)}
	f.people(t, func(tx accounts.Tx) error { return tx.InsertSetupLink(link) })
	for name, try := range map[string]func(accounts.Tx) (bool, error){
		"SEC-LOG-17 one address":   func(tx accounts.Tx) (bool, error) { return tx.InsertUser(f.user("one@example.com")) },
		"one slug":                 func(tx accounts.Tx) (bool, error) { return tx.InsertOrg(f.org("one")) },
		"SEC-LOG-29 the first run": func(tx accounts.Tx) (bool, error) { return tx.ClaimFirstRun(f.now) },
		"one membership": func(tx accounts.Tx) (bool, error) {
			return tx.InsertMembership(accounts.Membership{User: anna.ID, Org: acme.ID, Role: "viewer", CreatedAt: f.now})
		},
		"SEC-LOG-29 one set-up link": func(tx accounts.Tx) (bool, error) {
			_, err := tx.UseSetupLink(link.Digest, f.now)
			if errors.Is(err, fault.NotFound) {
				return false, nil
			}
			return err == nil, err
		},
		"one hash": func(tx accounts.Tx) (bool, error) {
			return tx.ReplaceHash(anna.ID, anna.PasswordHash, "$argon2id$new", time.Time{})
		},
	} {
		var won atomic.Int32
		together(16, func() {
			var mine bool
			err := f.Accounts().InTx(t.Context(), func(tx accounts.Tx) (err error) {
				mine, err = try(tx)
				return err
			})
			if err != nil {
				t.Errorf("%s: %v", name, err)
			} else if mine {
				won.Add(1)
			}
		})
		if won.Load() != 1 {
			t.Errorf("%s: %d won, want 1", name, won.Load())
		}
	}
	together(16, func() {
		err := f.Accounts().InTx(t.Context(), func(tx accounts.Tx) error {
			u, err1 := tx.LockUser(anna.ID)
			o, err2 := tx.LockOrg(acme.ID)
			o.Name += "x"
			u.Name += "x"
			return errors.Join(err1, err2, tx.UpdateOrg(o), tx.UpdateUser(u))
		})
		if err != nil {
			t.Error(err)
		}
	})
	o, err1 := f.Accounts().Org(t.Context(), acme.ID)
	u, err2 := f.Accounts().User(t.Context(), anna.ID)
	if len(o.Name) != len(acme.Name)+16 || len(u.Name) != len(anna.Name)+16 {
		t.Errorf("changes were lost: %q, %q, %v, %v", o.Name, u.Name, err1, err2)
	}
}

// together runs fn n times at the same time.
func together(n int, fn func()) {
	var start, end sync.WaitGroup
	start.Add(1)
	for range n {
		end.Go(func() {
			start.Wait()
			fn()
		})
	}
	start.Done()
	end.Wait()
}

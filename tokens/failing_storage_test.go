package tokens_test

import (
	"context"
	"crypto/rand"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/oauth"
	"github.com/tokenhouse/tokenhouse/storage/faulty"
	"github.com/tokenhouse/tokenhouse/storage/gormstore"
	"github.com/tokenhouse/tokenhouse/storage/migrated"
	"github.com/tokenhouse/tokenhouse/tokens"
)

type oneMAC struct{}

func (oneMAC) Current() (uint8, []byte)       { return 1, []byte("0123456789abcdef0123456789abcdef") }
func (m oneMAC) ByID(id uint8) ([]byte, bool) { _, k := m.Current(); return k, id == 1 }

type anotherMAC struct{}

func (anotherMAC) Current() (uint8, []byte)       { return 1, []byte("fedcba9876543210fedcba9876543210") }
func (m anotherMAC) ByID(id uint8) ([]byte, bool) { _, k := m.Current(); return k, id == 1 }

// bench is the session service over a database that fails on demand.
type bench struct {
	*tokens.Service
	plan      faulty.Plan
	now       time.Time
	user      ident.UserID
	committed int // events and changes
	places    *tokens.PlaceBlocks
	leases    *leases
	log       changes.Log
}

// leases counts what is leased of the store.
type leases struct {
	tokens.PlaceStore
	mu    sync.Mutex
	asked []tokens.Lease
}

func (l *leases) LeasePlaces(ctx context.Context, a tokens.Lease) (tokens.PlaceRange, error) {
	l.mu.Lock()
	l.asked = append(l.asked, a)
	l.mu.Unlock()
	return l.PlaceStore.LeasePlaces(ctx, a)
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	revocations := &tokens.Revocations{Now: func() time.Time { return b.now }}
	db, err := gormstore.OpenSQLite(migrated.SQLite(t), gormstore.Options{
		Random: rand.Reader, Hooks: gormstore.Hooks{Before: b.plan.Before},
		OnCommit: func(es []audit.Event, cs []changes.Change) { b.committed += len(es) + len(cs); revocations.Hear(cs) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.user = ident.NewUserID(b.now, rand.Reader)
	err = db.Accounts().InTx(t.Context(), func(tx accounts.Tx) error {
		_, err := tx.InsertUser(accounts.User{ID: b.user, Email: "a@example.com", Canonical: "a@example.com", Status: accounts.Active, CreatedAt: b.now})
		if err != nil {
			return err
		}
		if _, err := tx.InsertOrg(accounts.Org{ID: "org_1", Name: "One", Slug: "one", Status: accounts.Active, CreatedAt: b.now}); err != nil {
			return err
		}
		_, err = tx.InsertMembership(accounts.Membership{User: b.user, Org: "org_1", Role: "owner", CreatedAt: b.now})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Clients().InClientTx(t.Context(), func(tx oauth.ClientTx) error {
		return tx.InsertClient(oauth.Registered{ID: "cli_web", Org: "org_1", AuthMethod: oauth.AuthNone, Status: oauth.ClientActive, CreatedAt: b.now})
	})
	if err != nil {
		t.Fatal(err)
	}
	b.log = db.Changes()
	b.leases = &leases{PlaceStore: db.StatusPlaces()}
	b.places = &tokens.PlaceBlocks{Store: b.leases, Now: func() time.Time { return b.now }, Random: rand.Reader}
	t.Cleanup(func() { _ = b.places.Close(context.Background()) })
	if _, err := b.places.Next(t.Context(), tokens.LeaseHolder{}); err != nil { // leased before anything is counted
		t.Fatal(err)
	}
	b.Service = &tokens.Service{
		Store: db.Sessions(), MACs: oneMAC{}, BrowserMACs: anotherMAC{}, Now: func() time.Time { return b.now }, Random: rand.Reader,
		Revocations: revocations, Fresh: func() bool { return true }, Places: b.places, StatusKey: []byte("a key of status lists, 32 bytes!"),
	}
	return b
}

// session is one login and what its owner holds.
type session struct {
	*bench
	id     ident.SessionID
	tokens []string // by generation
}

var (
	origin    = ident.Origin{IP: netip.MustParseAddr("192.0.2.1"), UserAgent: "a"}
	elsewhere = ident.Origin{IP: netip.MustParseAddr("203.0.113.1"), UserAgent: "b"}
)

func (b *bench) begin(ctx context.Context) (*session, error) {
	s := &session{bench: b}
	err := b.Store.InTx(ctx, func(tx tokens.Tx) error {
		f, token, err := b.Begin(tx, b.now, tokens.Opening{User: b.user, Org: "org_1", Client: "cli_api", Origin: origin, Refreshable: true})
		s.id, s.tokens = f.ID, []string{token.Reveal()}
		return err
	})
	return s, err
}

// used opens a session and refreshes it n times, an hour apart.
func (b *bench) used(t *testing.T, n int) *session {
	t.Helper()
	s, err := b.begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range n {
		b.now = b.now.Add(time.Hour)
		r, err := s.present(t.Context(), len(s.tokens)-1, origin)
		if err != nil {
			t.Fatal(err)
		}
		s.tokens = append(s.tokens, r.Token.Reveal())
	}
	b.now = b.now.Add(time.Hour)
	return s
}

func (s *session) present(ctx context.Context, generation int, o ident.Origin) (tokens.Refreshed, error) {
	return s.Refresh(ctx, tokens.Presented{Token: s.tokens[generation], Client: "cli_api", Origin: o})
}

func (s *session) caller() ident.Caller {
	return ident.Caller{Kind: ident.Person, Org: "org_1", User: s.user, Session: s.id, Origin: origin}
}

// operations is everything that writes, and how it ends when storage works.
var operations = []struct {
	name string
	do   func(context.Context, *session) error
	want string // the reason of the refusal; "" for success
}{
	{"refresh", func(ctx context.Context, s *session) error { _, err := s.present(ctx, 2, origin); return err }, ""},
	{"refresh again within the hour", func(ctx context.Context, s *session) error {
		if _, err := s.present(ctx, 2, origin); err != nil {
			return err
		}
		_, err := s.present(ctx, 2, ident.Origin{IP: elsewhere.IP, UserAgent: origin.UserAgent})
		return err
	}, ""},
	{"a refresh that disputes", func(ctx context.Context, s *session) error { _, err := s.present(ctx, 1, elsewhere); return err }, ""},
	{"a refresh that reveals a theft", func(ctx context.Context, s *session) error { _, err := s.present(ctx, 0, elsewhere); return err }, "reuse_detected"},
	{"logout", func(ctx context.Context, s *session) error { return s.Logout(ctx, s.caller()) }, ""},
	{"revoke one", func(ctx context.Context, s *session) error { return s.RevokeSession(ctx, s.caller(), s.id) }, ""},
	{"revoke all", func(ctx context.Context, s *session) error {
		_, err := s.RevokeOthers(ctx, s.caller(), true)
		return err
	}, ""},
	{"logout with a refresh token", func(ctx context.Context, s *session) error {
		return s.RevokePresented(ctx, tokens.Presented{Token: s.tokens[2], Client: "cli_api", Origin: origin})
	}, ""},
}

// Whichever statement fails, the reply is fault.Unavailable, never success and
// never a reason to sign out (O15); nothing is half done; and the same request
// succeeds afterwards.
func TestAFailingStatementLeavesNothingBehind(t *testing.T) {
	for _, op := range operations {
		t.Run(op.name, func(t *testing.T) {
			b := newBench(t)
			for n := 0; ; n++ {
				s := b.used(t, 2)
				before, _ := b.Store.Family(t.Context(), s.id)
				b.committed = 0
				b.plan.FailAt(n)
				err := op.do(t.Context(), s)
				fired := b.plan.Heal()
				if fired == "" {
					if fault.Of(err).Reason != op.want || (err == nil) != (op.want == "") {
						t.Errorf("with working storage: %v, want %q", err, op.want)
					}
					if n < 3 {
						t.Errorf("only %d statements: the plan is not in effect", n)
					}
					return
				}
				if f := fault.Of(err); !errors.Is(err, fault.Unavailable) || f.Reason != "" {
					t.Fatalf("statement %d (%s) fails: %v, want fault.Unavailable", n, fired, err)
				}
				after, err := b.Store.Family(t.Context(), s.id)
				if halfWay := op.name == "refresh again within the hour" && after.Version == before.Version+1 && b.committed == 1; err != nil || !halfWay && (after != before || b.committed > 0) {
					t.Fatalf("statement %d (%s) fails: left behind %+v, %d events and changes, %v", n, fired, after, b.committed, err)
				}
				if err := op.do(t.Context(), s); fault.Of(err).Reason != op.want || (err == nil) != (op.want == "") {
					t.Fatalf("statement %d (%s) had failed; again: %v, want %q", n, fired, err, op.want)
				}
			}
		})
	}
}

// A login whose commit fails has opened nothing.
func TestALoginThatFailsHasNoSession(t *testing.T) {
	b := newBench(t)
	for n := 0; ; n++ {
		b.plan.FailAt(n)
		s, err := b.begin(t.Context())
		if b.plan.Heal() == "" {
			if err != nil || n < 2 {
				t.Errorf("with working storage: %v after %d statements", err, n)
			}
			return
		}
		if !errors.Is(err, fault.Unavailable) {
			t.Fatalf("statement %d fails: %v", n, err)
		}
		if _, err := b.Store.Family(t.Context(), s.id); !errors.Is(err, fault.NotFound) {
			t.Fatalf("statement %d fails, and the session exists: %v", n, err)
		}
	}
}

// While the feed is silent and the database as well, no access token is
// believed, and none is called revoked.
func TestCheckFailsClosed(t *testing.T) {
	b := newBench(t)
	s := b.used(t, 0)
	b.Fresh = func() bool { return false }
	a := tokens.AccessID{Token: "tok_1", Session: s.id, User: b.user, IssuedAt: b.now}
	if err := b.Check(t.Context(), a); err != nil {
		t.Errorf("the database speaks for it: %v", err)
	}
	b.plan.FailAll()
	if err := b.Check(t.Context(), a); !errors.Is(err, fault.Unavailable) {
		t.Errorf("nobody can tell: %v, want fault.Unavailable", err)
	}
	b.plan.Heal()
	if err := b.Logout(t.Context(), s.caller()); err != nil {
		t.Fatal(err)
	}
	b.plan.FailAll()
	if err := b.Check(t.Context(), a); !errors.Is(err, fault.InvalidToken) {
		t.Errorf("known to be revoked: %v, want fault.InvalidToken", err)
	}
}

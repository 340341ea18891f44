package tokens_test

import (
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/tokens"
)

// accessTTL is how long access tokens live in these tests.
const accessTTL = 15 * time.Minute

// refreshed presents the newest token, which must be served, and returns where
// the access token stands.
func (s *session) refreshed(t *testing.T) tokens.Place {
	t.Helper()
	r, err := s.Refresh(t.Context(), tokens.Presented{Token: s.tokens[len(s.tokens)-1], Client: "cli_api", Origin: origin, AccessTTL: accessTTL})
	if err != nil {
		t.Fatal(err)
	}
	s.tokens = append(s.tokens, r.Token.Reveal())
	return r.Place
}

func (s *session) live(t *testing.T) []tokens.LivePlace {
	t.Helper()
	f, err := s.Store.Family(t.Context(), s.id)
	if err != nil {
		t.Fatal(err)
	}
	return f.Chain.Live.Alive(s.now)
}

func (b *bench) opened(t *testing.T) (*session, tokens.Place) {
	t.Helper()
	s := &session{bench: b}
	at := b.take(t, tokens.LeaseHolder{}, 1, map[tokens.Place]bool{})
	issued := b.now.Truncate(time.Second)
	err := b.Store.InTx(t.Context(), func(tx tokens.Tx) error {
		f, token, err := b.Begin(tx, b.now, tokens.Opening{
			User: b.user, Org: "org_1", Client: "cli_api", Origin: origin, Refreshable: true,
			Access: tokens.Access{Place: at, IssuedAt: issued, ExpiresAt: issued.Add(accessTTL)},
		})
		s.id, s.tokens = f.ID, []string{token.Reveal()}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s, at
}

// A session remembers where its living tokens stand. Within the cool-down a
// repeat is the same token by name and writes nothing for it.
func TestASessionRemembersItsPlaces(t *testing.T) {
	b := newBench(t)
	s, first := b.opened(t)
	if live := s.live(t); len(live) != 1 || live[0].Place != first || live[0].Until.Before(b.now.Add(accessTTL+time.Minute)) {
		t.Fatalf("after the login: %v", live)
	}
	b.now = b.now.Add(10 * time.Second)
	if at := s.refreshed(t); at != first {
		t.Errorf("a repeat within the cool-down stands at %v, not at %v", at, first)
	}
	b.now = b.now.Add(30 * time.Second)
	second := s.refreshed(t)
	committed := b.committed
	b.now = b.now.Add(29 * time.Second)
	if at := s.refreshed(t); at != second || at == first || b.committed != committed {
		t.Errorf("the rotation stands at %v, its repeat at %v; it committed %d", second, at, b.committed-committed)
	}
	if live := s.live(t); len(live) != 2 || live[1].Place != second {
		t.Errorf("alive are %v", live)
	}
	b.now = b.now.Add(accessTTL + 6*time.Minute)
	third := s.refreshed(t)
	if live := s.live(t); len(live) != 1 || live[0].Place != third {
		t.Errorf("alive are %v, want only the last: what has expired is forgotten", live)
	}
}

// A client that refreshes without pause gets no more places than a row can hold.
func TestASessionRemembersABoundedNumberOfPlaces(t *testing.T) {
	b := newBench(t)
	s, _ := b.opened(t)
	var last tokens.Place
	for range 120 {
		b.now = b.now.Add(31 * time.Second)
		r, err := s.Refresh(t.Context(), tokens.Presented{Token: s.tokens[len(s.tokens)-1], Client: "cli_api", Origin: origin, AccessTTL: 24 * time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		s.tokens, last = append(s.tokens, r.Token.Reveal()), r.Place
	}
	live := s.live(t)
	if n := len(live); n != 96 || live[95].Place != last || live[95].Until.Before(b.now.Add(24*time.Hour)) {
		t.Errorf("%d places, the last %v; the newest token stands at %v", n, live[95], last)
	}
}

// Once its tokens were revoked, a session that goes on gets new places, within
// the cool-down as well: nobody is given a token that reads "invalid".
func TestASessionThatGoesOnGetsNewPlaces(t *testing.T) {
	revoke := map[string]func(*testing.T, *session, tokens.Place){
		"all tokens of the user": func(t *testing.T, s *session, _ tokens.Place) {
			err := s.Store.InTx(t.Context(), func(tx tokens.Tx) error {
				return tx.Announce(changes.Change{Kind: changes.SubjectCutoff, Key: string(s.user), At: s.now, Until: s.now.Add(time.Hour)})
			})
			if err != nil {
				t.Fatal(err)
			}
		},
		"one token": func(t *testing.T, s *session, at tokens.Place) {
			by := ident.Caller{Kind: ident.ServiceClient, Org: "org_1", Client: "cli_web", Session: s.id}
			if err := s.RevokeAccess(t.Context(), by, tokens.TokenIDAt(s.StatusKey, at), s.now.Add(accessTTL), at); err != nil {
				t.Fatal(err)
			}
		},
	}
	for name, do := range revoke {
		b := newBench(t)
		s, first := b.opened(t)
		b.now = b.now.Add(time.Second)
		do(t, s, first)
		cs, _, err := b.log.Start(t.Context(), b.now)
		if err != nil {
			t.Fatal(err)
		}
		told := 0
		for _, c := range cs {
			if c.Kind == changes.StatusRevoked && c.Key == (tokens.PlaceRange{Place: first, Count: 1}).String() && !c.Until.Before(b.now.Add(accessTTL)) {
				told++
			}
		}
		if told != 1 {
			t.Errorf("%s: the place is announced %d times in %v", name, told, cs)
		}
		b.now = b.now.Add(time.Second)
		if at := s.refreshed(t); at == first || at == (tokens.Place{}) {
			t.Errorf("%s: the next token stands at %v", name, at)
		}
	}
}

// A session that an older release opened gets a place with its next token.
func TestASessionOfAnOlderReleaseGetsAPlace(t *testing.T) {
	b := newBench(t)
	s, err := b.begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b.now = b.now.Add(time.Second)
	at := s.refreshed(t)
	if live := s.live(t); len(live) != 1 || live[0].Place != at {
		t.Errorf("the token stands at %v, remembered are %v", at, live)
	}
}

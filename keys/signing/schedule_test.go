package signing_test

import (
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"pgregory.net/rapid"

	"github.com/tokenhouse/tokenhouse/keys/signing"
)

// The times of the schedules: what a verifier may keep, how far clocks are
// apart at most, and how long tokens live.
const (
	maxAge = 5 * time.Minute
	skew   = 2 * time.Minute
	ttl    = 24 * time.Hour
	life   = 30 * time.Hour
)

// minted is a token of a schedule.
type minted struct {
	token, kid string
	expires    time.Time
}

// schedule is two replicas on one database, and all that was ever signed. The
// replicas' clocks differ, and jump, by less than skew.
type schedule struct {
	t        *rapid.T
	store    *crashing
	now      time.Time
	offsets  [2]time.Duration
	rings    [2]*signing.Ring
	tokens   map[string]minted    // by kid, the one that lives longest
	seen     map[string]time.Time // when each key was first in the key set that every replica serves
	unheard  map[string]bool      // keys that signed without notice, as somebody asked
	revoked  map[string]bool
	firstUse map[string]bool
}

func (s *schedule) start(t *testing.T, i int) {
	r := ringOn(t, s.store)
	r.Now = func() time.Time { return s.now.Add(s.offsets[i]) }
	r.Retain, r.Announce, r.Lifetime = ttl+time.Hour, maxAge+skew, life
	s.store.left, s.store.after = -1, false
	if err := r.Load(t.Context()); err != nil {
		s.t.Fatal(err)
	}
	s.rings[i] = r
}

// mint signs a token on each replica. A key that signs for the first time must
// have been served for as long as verifiers keep the set, or somebody asked.
func (s *schedule) mint(t *testing.T) {
	for i, r := range s.rings {
		token, err := r.Sign(t.Context(), []byte("{}"), "at+jwt")
		if err != nil {
			s.t.Fatalf("replica %d cannot sign: %v", i, err)
		}
		kid := kidOf(t, token)
		if !s.firstUse[kid] && !s.unheard[kid] && s.now.Sub(s.seen[kid]) < maxAge {
			s.t.Fatalf("replica %d signs with a key that was published %s ago", i, s.now.Sub(s.seen[kid]))
		}
		s.firstUse[kid] = true
		if expires := r.Now().Add(ttl); expires.After(s.tokens[kid].expires) {
			s.tokens[kid] = minted{token, kid, expires}
		}
	}
}

// check verifies every token by the key set of every replica.
func (s *schedule) check() {
	for i, r := range s.rings {
		var set jose.JSONWebKeySet
		if err := json.Unmarshal(r.JWKS().Body, &set); err != nil || len(set.Keys) == 0 {
			s.t.Fatalf("replica %d serves %s, %v", i, r.JWKS().Body, err)
		}
		keys := map[string]jose.JSONWebKey{}
		for _, k := range set.Keys {
			if keys[k.KeyID] = k; s.seen[k.KeyID].IsZero() {
				s.seen[k.KeyID] = s.now
			}
		}
		for _, m := range s.tokens {
			k, published := keys[m.kid]
			_, trusted := r.PublicKey(m.kid)
			switch {
			case s.revoked[m.kid]:
				if published || trusted {
					s.t.Fatalf("replica %d knows a key that is revoked", i)
				}
			case s.now.Add(s.offsets[i]).After(m.expires):
			case !published || !trusted:
				s.t.Fatalf("replica %d lacks the key of a token that is good until %s", i, m.expires)
			default:
				jws, err := jose.ParseSignedCompact(m.token, []jose.SignatureAlgorithm{jose.ES256})
				if err != nil {
					s.t.Fatal(err)
				}
				if _, err := jws.Verify(k); err != nil {
					s.t.Fatal(err)
				}
			}
		}
	}
}

// without notes that the active keys may have had to sign without notice.
func (s *schedule) without() {
	for _, r := range s.rings {
		for _, k := range r.Loaded() {
			if k.State == signing.Active {
				s.unheard[k.ID] = true
			}
		}
	}
}

// follow has every replica load what changed.
func (s *schedule) follow(t *testing.T) {
	s.store.left, s.store.after = -1, false
	for _, r := range s.rings {
		if err := r.Load(t.Context()); err != nil {
			s.t.Fatal(err)
		}
	}
}

// SEC-JWT-35, INV-12: whatever the order of rotations, revocations, deaths,
// restarts and jumps of clocks, a token verifies until it expires unless its key
// was revoked, no key set is empty, and no key signs before verifiers can know it.
func TestNoScheduleBreaksAToken(t *testing.T) {
	t.Parallel()
	dir, n := t.TempDir(), 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		db := openSQLite(t, filepath.Join(dir, time.Duration(n).String()+".db"), &commits{})
		s := &schedule{
			t: rt, store: &crashing{Store: db.SigningKeys(), left: -1}, now: start,
			seen: map[string]time.Time{}, tokens: map[string]minted{}, unheard: map[string]bool{}, revoked: map[string]bool{}, firstUse: map[string]bool{},
		}
		for i := range s.rings {
			s.start(t, i)
		}
		s.without() // the very first key signs at once
		some := func(label string) int { return rapid.IntRange(0, 1).Draw(rt, label) }
		rt.Repeat(map[string]func(*rapid.T){
			"a moment":   func(*rapid.T) { s.now = s.now.Add(time.Minute) },
			"minutes":    func(*rapid.T) { s.now = s.now.Add(maxAge + 2*skew) },
			"half a day": func(*rapid.T) { s.now = s.now.Add(12 * time.Hour) },
			"a jump": func(rt *rapid.T) {
				s.offsets[some("clock")] = time.Duration(rapid.Int64Range(-int64(skew)/2+1, int64(skew)/2-1).Draw(rt, "offset"))
			},
			"tick": func(rt *rapid.T) {
				r := s.rings[some("replica")]
				s.mishap(rt)
				_, _ = r.Tend(t.Context()), r.Prune(t.Context())
			},
			"rotate": func(rt *rapid.T) { s.mishap(rt); _, _ = s.rings[some("replica")].Rotate(t.Context(), operator) },
			"rotate at once": func(rt *rapid.T) {
				s.mishap(rt)
				_, _ = s.rings[some("replica")].RotateNow(t.Context(), operator)
				s.follow(t)
				s.without()
			},
			"revoke": func(rt *rapid.T) {
				r := s.rings[some("replica")]
				keys := r.Loaded()
				id := keys[rapid.IntRange(0, len(keys)-1).Draw(rt, "key")].ID
				if r.Revoke(t.Context(), operator, id) == nil {
					s.revoked[id] = true
				}
				s.follow(t)
				s.without()
			},
			"restart": func(*rapid.T) { s.start(t, some("replica")) },
			"": func(*rapid.T) {
				s.follow(t)
				s.check()
				s.mint(t)
			},
		})
	})
}

// mishap lets the process die at a statement, after the commit, or not at all.
func (s *schedule) mishap(rt *rapid.T) {
	s.store.left = rapid.IntRange(-1, 6).Draw(rt, "dies at")
	s.store.after = rapid.Bool().Draw(rt, "dies after") && s.store.left < 0
}

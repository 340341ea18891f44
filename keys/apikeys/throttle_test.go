package apikeys_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
)

// SEC-KEY-19: of ten thousand wrong keys in a second from one address, the
// database sees a few hundred. A key that is guessed at stays good everywhere,
// for a neighbour of the one who guesses too; a source is forgiven with time.
func TestGuessesFromOneSourceAreThrottled(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	r.Throttle = apikeys.DefaultThrottle()
	alice := d.person("user_alice", "org_a", engineer)
	_, key := r.make(t, alice, "metrics:read")
	_, cold := r.make(t, alice, "metrics:read")
	r.as(t, key)
	before, throttled := r.gate.calls.Load(), 0
	const guesses = 10_000
	for i := range guesses {
		guess := anotherSecret(key)
		if i%2 == 0 {
			guess = withLookup(key, i)
		}
		_, err := r.Verify(t.Context(), guess, origin)
		switch f := fault.Of(err); {
		case f.Code == fault.RateLimited && f.RetryAfter >= time.Second:
			throttled++
		case f.Code != fault.InvalidAPIKey:
			t.Fatalf("guess %d: %v", i, err)
		}
		if i%100 == 0 {
			d.clock.advance(10 * time.Millisecond)
			r.as(t, key) // from the same address
		}
	}
	asked := r.gate.calls.Load() - before
	t.Logf("%d of %d guesses were throttled; %d questions to the database", throttled, guesses, asked)
	if asked > 350 || throttled < guesses-350 {
		t.Errorf("%d questions, %d throttled", asked, throttled)
	}
	if _, err := r.Verify(t.Context(), cold, from("198.51.100.4")); err != nil {
		t.Errorf("a key that was not in memory, from elsewhere: %v", err)
	}
	if _, err := r.VerifyFor(t.Context(), alice, apikeys.Question{Credential: anotherSecret(key)}); !errors.Is(err, fault.InvalidAPIKey) {
		t.Errorf("a resource server that does not say where a key came from: %v", err)
	}
	d.clock.advance(time.Minute)
	if _, err := r.Verify(t.Context(), anotherSecret(key), origin); !errors.Is(err, fault.InvalidAPIKey) {
		t.Errorf("a minute later: %v", err)
	}
}

// Sources are remembered within bounds, and right keys leave no trace.
func TestTheThrottleNeverRefusesRightKeys(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	r.Throttle = apikeys.Throttle{Burst: 1, PerSecond: 1}
	alice := d.person("user_alice", "org_a", engineer)
	for range 20 { // each is read from the database
		_, key := r.make(t, alice, "metrics:read")
		r.as(t, key)
	}
}

// withLookup is a well-formed credential with the n-th of many lookup ids.
func withLookup(key string, n int) string {
	s := key[:len(key)-46] + fmt.Sprintf("%08d", n) + strings.Repeat("Z", 32)
	return s + checksum(s)
}

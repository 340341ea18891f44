package storagetest

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// clientAssertions: each counts once for each client until it expires, whoever
// asks first of many.
func clientAssertions(t *testing.T, f *fixture) {
	s := f.ClientAssertions()
	expires := f.now.Add(time.Minute)
	use := func(client ident.ClientID, jti string) bool {
		t.Helper()
		first, err := s.UseAssertion(t.Context(), client, secret.Sum(jti), expires)
		if err != nil {
			t.Fatal(err)
		}
		return first
	}
	got := []bool{use("cli_a", "1"), use("cli_a", "1"), use("cli_a", "2"), use("cli_b", "1"), use("cli_b", "1")}
	if want := []bool{true, false, true, true, false}; !slices.Equal(got, want) {
		t.Errorf("first uses %v, want %v", got, want)
	}
	var won atomic.Int64
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if first, err := s.UseAssertion(t.Context(), "cli_a", secret.Sum("raced"), expires); err != nil {
				t.Error(err)
			} else if first {
				won.Add(1)
			}
		})
	}
	all.Wait()
	if won.Load() != 1 {
		t.Errorf("%d of 20 were first", won.Load())
	}
	remove := func(before time.Time, limit, want int) {
		t.Helper()
		if n, err := s.DeleteExpiredAssertions(t.Context(), before, limit); err != nil || n != want {
			t.Errorf("%d removed (%v), want %d", n, err, want)
		}
	}
	remove(expires, 10, 0) // it counts until then
	remove(expires.Add(time.Microsecond), 3, 3)
	remove(expires.Add(time.Microsecond), 3, 1)
	if !use("cli_a", "1") {
		t.Error("an expired assertion is remembered")
	}
}

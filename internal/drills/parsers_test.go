package drills_test

import (
	"context"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/outbound"
	"github.com/tokenhouse/tokenhouse/internal/scope"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
	"github.com/tokenhouse/tokenhouse/oauth"
	"github.com/tokenhouse/tokenhouse/tokens"
	"github.com/tokenhouse/tokenhouse/tokens/verify"
)

// parsers are what reads text of strangers. What goes wrong is their business.
func parsers() map[string]func(string) {
	judge := verify.Verifier{
		Issuer: "https://a.example", Audience: "https://a.example", Now: func() time.Time { return time.Unix(1_800_000_000, 0) },
		Keys: verify.Lookup(func(string) (jose.JSONWebKey, bool) { return jose.JSONWebKey{}, false }),
	}
	return map[string]func(string){
		"e-mail":      func(s string) { _, _ = accounts.ParseEmail(s) },
		"password":    func(s string) { _ = accounts.CheckHash(s) },
		"permission":  func(s string) { _, _ = scope.ParsePermission(s) },
		"permissions": func(s string) { _, _ = scope.Parse(s) },
		"scopes":      func(s string) { _, _ = oauth.ParseScopes(s) },
		"identifier":  func(s string) { _, _ = ident.ParseOwnerID(s) },
		"network":     func(s string) { _, _ = apikeys.ParseNetwork(s) },
		"limit":       func(s string) { _, _ = apikeys.ParseLimit(s) },
		"quota":       func(s string) { _, _ = apikeys.ParseQuota(s) },
		"places":      func(s string) { _, _ = tokens.ParsePlaceRange(s) },
		"URL":         func(s string) { _ = (&outbound.Client{}).CheckURL(s) },
		"token":       func(s string) { _, _ = judge.Verify(context.Background(), s) },
	}
}

// ofRequests read nothing but parts of a request's body, which has 64 KiB at most.
var ofRequests = map[string]bool{"permissions": true, "scopes": true, "limit": true, "quota": true, "network": true, "places": true}

// SEC-DOS-08: whatever somebody sends a megabyte of, it is read in 10 ms or
// refused for its size; it is given several chances. Under
// the race detector it is less, which shows all the same what grows faster than its
// input.
func TestAMegabyteOfNonsenseIsReadInNoTime(t *testing.T) {
	const limit = 10 * time.Millisecond * allowance
	seeds := []string{
		"a", "@", "<", `\"`, "(", ".", "a.", "%41", "%z", "/", ":", "[", "&a=b", " ", "é", "e\u0301", "\u202e", "0", "-", "_", "eyJ.", "1.", ",", "+", "a:b ", "?", "a@a,",
	}
	for name, parse := range parsers() {
		t.Run(name, func(t *testing.T) {
			size := 1 << 20 / watched
			if ofRequests[name] {
				size = min(size, 64<<10)
			}
			runtime.LockOSThread() // whose time counts, whoever else is at work
			defer runtime.UnlockOSThread()
			worst, of := time.Duration(0), ""
			for i, seed := range seeds {
				text := strings.Repeat(seed, size/len(seed))
				if !whole() && i%3 != 0 {
					continue
				}
				for _, input := range []string{text, "a@" + text, "https://a.example/" + text} {
					took := limit + 1
					for range 5 {
						began := worked(t)
						parse(input)
						if took = min(took, worked(t)-began); took <= limit {
							break
						}
					}
					if took > worst {
						worst, of = took, input[:20]
					}
				}
			}
			t.Logf("at most %s, for %q…", worst, of)
			if worst > limit {
				t.Errorf("more than %s for a megabyte of %q…", limit, of)
			}
		})
	}
}

// worked is how long this thread has been at work.
func worked(t *testing.T) time.Duration {
	t.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_THREAD, &used); err != nil {
		t.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

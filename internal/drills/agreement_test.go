package drills_test

import (
	"context"
	"encoding/base64"
	mathrand "math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/housetest"
	"github.com/tokenhouse/tokenhouse/tokens/verify"
)

// mutated changes a credential a little, as a fuzzer does: most of the time
// where it matters.
func mutated(r *mathrand.Rand, token, other string) string {
	b := []byte(token)
	at := r.IntN(len(b))
	switch r.IntN(9) {
	case 0:
		b[at] ^= 1 << r.IntN(7)
	case 1:
		b[at] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=~ "[r.IntN(68)]
	case 2:
		b = append(b[:at], b[at+1:]...)
	case 3:
		b = b[:at]
	case 4:
		return token + string(b[at:])
	case 5: // the unused bits of a base64 character
		b[len(b)-1] = "AQgwBRhx"[r.IntN(8)]
	case 6: // another member in the header or the claims
		parts := strings.Split(token, ".")
		if i := r.IntN(2); len(parts) == 3 {
			raw, _ := base64.RawURLEncoding.DecodeString(parts[i])
			raw[r.IntN(len(raw))] ^= 1 << r.IntN(7)
			parts[i] = base64.RawURLEncoding.EncodeToString(raw)
		}
		return strings.Join(parts, ".")
	case 7: // parts of two tokens
		mine, theirs := strings.Split(token, "."), strings.Split(other, ".")
		if i := r.IntN(3); len(mine) == 3 && len(theirs) == 3 {
			mine[i] = theirs[i]
		}
		return strings.Join(mine, ".")
	default:
		return token // as it is
	}
	return string(b)
}

// INV-14: for whatever looks like a token, the server and the library that
// resource servers use, with the published keys, say the same; and what they
// accept is nothing but a token that was issued, byte for byte. Refresh tokens
// and API keys are accepted as they were issued and in no other spelling.
func TestServerAndLibraryAgreeOnEveryToken(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	s, o := h.Login(h.Admin), h.Login(h.Person(h.Admin.Org, "other", "viewer"))
	_, key := h.Client().As(s.Access).CreateKey("k", "agents:read")
	h.Follow()
	judge := &verify.Verifier{
		Issuer: h.Config.Issuer, Audience: h.Config.Issuer, Now: h.Clock.Now,
		Keys: &verify.RemoteKeys{URL: h.Config.Issuer + "/.well-known/jwks.json", Now: h.Clock.Now},
	}
	ask := func(token string) int {
		r := httptest.NewRequest(http.MethodGet, "/api/v1/auth/verify", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		h.House().Handler.ServeHTTP(w, r)
		return w.Code
	}
	seed, n := uint64(time.Now().UnixNano()), sized(2_000, 1_000_000)
	var accepted atomic.Int64
	var all sync.WaitGroup
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		r := mathrand.New(mathrand.NewPCG(seed, uint64(w))) //nolint:gosec // a fuzzer
		all.Go(func() {
			for range n / workers {
				token := mutated(r, s.Access, o.Access)
				_, err := judge.Verify(context.Background(), token)
				status := ask(token)
				if (err == nil) != (status == http.StatusOK) {
					t.Errorf("seed %d, %d: the library says %v, the server %d, of %s", seed, w, err, status, token)
					return
				}
				if err == nil {
					accepted.Add(1)
					if token != s.Access && token != o.Access {
						t.Errorf("seed %d, %d: what was never issued is accepted: %s", seed, w, token)
						return
					}
				}
				k := mutated(r, key, key)
				if status := ask(k); (status == http.StatusOK) != (k == key) {
					t.Errorf("seed %d, %d: the key %s is answered %d", seed, w, k, status)
					return
				}
				if k := mutated(r, s.Refresh, o.Refresh); h.House().Sessions.IsRefreshToken(k) != (k == s.Refresh || k == o.Refresh) {
					t.Errorf("seed %d, %d: %s is taken for a refresh token, or is not", seed, w, k)
					return
				}
			}
		})
	}
	all.Wait()
	t.Logf("%d tokens, %d of them good; seed %d", n, accepted.Load(), seed)
	if accepted.Load() < int64(n/20) {
		t.Errorf("only %d of %d were accepted", accepted.Load(), n)
	}
}

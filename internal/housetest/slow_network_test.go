package housetest_test

import (
	"net/http"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// FLT-DB-05: the way to the database takes long, loses packets, which takes as long
// as sending them again, or lets nothing pass at all with requests under way. Each
// of more requests than there are connections is answered in a bounded time, with
// what it asked for or with 503; who needs no database notices nothing; and
// afterwards all is as before. TOKENHOUSE_TEST_DRILLS=full has the two seconds of
// the promise and a silence.
func TestASlowWayToTheDatabase(t *testing.T) {
	full := os.Getenv("TOKENHOUSE_TEST_DRILLS") == "full"
	h := housetest.Start(t, housetest.Options{Postgres: true, Config: func(c *house.Config) { c.Tokens.RefreshCooldown = 0 }})
	g, through := gagged(t, h.Config.Database.URL)
	h.Config.Database.URL, h.Config.Database.MaxConns = through, 4
	far := h.At(h.AddReplica())
	s := far.Login(h.Admin.Email, h.Admin.Password)
	late := 60 * time.Millisecond
	if full {
		late = 2 * time.Second
	}
	for _, trouble := range []struct {
		name   string
		delay  time.Duration // of what is sent, in either direction
		lossy  bool
		silent bool
		most   time.Duration // for an answer
		failed bool          // whether 503 is one
	}{
		{"two seconds there and back", late / 2, false, false, 30 * time.Second, full},
		{"one packet of twenty is lost", 0, true, false, 10 * time.Second, false},
		{"nothing passes", 0, false, true, 30 * time.Second, true},
	} {
		if trouble.silent && !full {
			continue
		}
		t.Run(trouble.name, func(t *testing.T) {
			g.delay.Store(int64(trouble.delay))
			g.lossy.Store(trouble.lossy)
			g.all.Store(trouble.silent)
			const asked = 16
			var slowest, served, failed atomic.Int64
			done := make(chan struct{}, asked)
			for range asked {
				c := far.As(s.Access).For(t)
				go func() {
					defer func() { done <- struct{}{} }()
					began := time.Now()
					r, err := c.Try("GET", "/api/v1/sessions", nil)
					if err != nil {
						t.Error(err)
						return
					}
					for took := int64(time.Since(began)); ; {
						was := slowest.Load()
						if took <= was || slowest.CompareAndSwap(was, took) {
							break
						}
					}
					switch {
					case r.Status == http.StatusOK:
						served.Add(1)
					case trouble.failed:
						clean(t, trouble.name, r)
						failed.Add(1)
					default:
						t.Errorf("%s", r)
					}
				}()
			}
			for n := 0; n < asked; {
				began := time.Now()
				far.Get("/.well-known/jwks.json").Expect(http.StatusOK)
				if took := time.Since(began); took > 2*time.Second {
					t.Errorf("the keys took %s", took)
				}
				select {
				case <-done:
					n++
				default:
				}
			}
			g.delay.Store(0)
			g.lossy.Store(false)
			g.all.Store(false)
			took := eventually(t, "all is as before", func() bool {
				r, err := far.Try("POST", "/api/v1/auth/login", map[string]string{"email": h.Admin.Email, "password": h.Admin.Password})
				return err == nil && r.Status == http.StatusOK
			})
			if worst := time.Duration(slowest.Load()); worst > trouble.most {
				t.Errorf("an answer took %s", worst)
			}
			t.Logf("%d served and %d told 503, the slowest after %s; %s until all was as before", served.Load(), failed.Load(), time.Duration(slowest.Load()), took)
		})
	}
}

package housetest_test

import (
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// A browser that is signed in, at a client that its user allowed before, costs
// two reads and one commit; userinfo costs one read; introspection and a
// client's own token write nothing.
func TestWhatOAuthAsksOfTheDatabase(t *testing.T) {
	var reads, writes, commits atomic.Int64
	count := func(kind string) error {
		switch kind {
		case "query", "row":
			reads.Add(1)
		case "commit":
			commits.Add(1)
		default:
			writes.Add(1)
		}
		return nil
	}
	h := housetest.Start(t, housetest.Options{Env: func(_ int, env *house.Env) { env.Hooks.Before = count }})
	p := attacked(t, h, nil)
	robot := enrol(h.Client().As(h.Login(h.Admin).Access), []string{"agents:read"}, nil)
	got := p.happy(nil)
	request := p.at(p.request(nil))
	for name, op := range map[string]struct {
		run                func()
		reads, writes, all int64
	}{
		"authorize": {func() { p.browser.Open(request); p.browser.FollowsTo(callback) }, 2, 2, 1},
		"userinfo":  {func() { h.Client().As(got.access).Get("/oauth2/userinfo").Expect(http.StatusOK) }, 1, 0, 0},
		"introspect": {func() {
			form(robot.by(h.Client()), "/oauth2/introspect", "token", got.access).Expect(http.StatusOK)
		}, 1, 0, 0},
		"client_credentials": {func() { robot.token(h.Client()) }, 0, 0, 0},
	} {
		op.run() // warm, and past what is written once an hour
		good := false
		for range 5 { // what the server does besides may fall in between
			reads.Store(0)
			writes.Store(0)
			commits.Store(0)
			op.run()
			good = good || reads.Load() <= op.reads && writes.Load() <= op.writes && commits.Load() <= op.all
		}
		if !good {
			t.Errorf("%s: %d reads, %d writes, %d commits", name, reads.Load(), writes.Load(), commits.Load())
		}
	}
}

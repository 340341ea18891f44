package housetest_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// gag stands between a replica and PostgreSQL. It keeps every socket open, also
// where it lets nothing pass any more.
type gag struct {
	address string       // where it listens
	all     atomic.Bool  // nothing passes, on connections old and new
	listen  atomic.Bool  // nothing passes on connections that LISTEN by now
	swallow atomic.Int64 // bytes that did not pass
	listens atomic.Int64 // connections that LISTENed so far
	delay   atomic.Int64 // how long what passes takes
	lossy   atomic.Bool  // one write of twenty is sent again, as TCP does after 200 ms
	network string
	target  string
	ends    sync.WaitGroup
}

// gagged puts a gag before the database that text names, and returns the URL to
// reach it through.
func gagged(t *testing.T, text string) (*gag, string) {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	g := &gag{network: "tcp", target: u.Host}
	if u.Port() == "" && u.Host != "" {
		g.target = net.JoinHostPort(u.Hostname(), "5432")
	}
	q := u.Query()
	if dir := q.Get("host"); dir != "" { // a socket of this machine
		g.network, g.target = "unix", filepath.Join(dir, ".s.PGSQL.5432")
		q.Del("host")
		u.RawQuery = q.Encode()
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g.address = l.Addr().String()
	u.Host = g.address
	q = u.Query()
	q.Set("sslmode", "disable")
	u.RawQuery = q.Encode()
	var open sync.Map
	g.ends.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			open.Store(c, true)
			g.ends.Go(func() { g.serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		open.Range(func(c, _ any) bool { _ = c.(net.Conn).Close(); return true })
		g.ends.Wait()
	})
	return g, u.String()
}

func (g *gag) serve(client net.Conn) {
	defer func() { _ = client.Close() }()
	server, err := net.Dial(g.network, g.target)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	var listens atomic.Bool
	broken := false // what did not pass is lost, so that the connection is of no use afterwards
	var mu sync.Mutex
	passes := func(n int) bool {
		g.linger()
		mu.Lock()
		defer mu.Unlock()
		broken = broken || g.all.Load() || g.listen.Load() && listens.Load()
		if broken {
			g.swallow.Add(int64(n))
		}
		return !broken
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { _ = client.Close() }()
		pump(client, server, passes, nil)
	}()
	pump(server, client, passes, func(b []byte) {
		if bytes.Contains(b, []byte("LISTEN ")) && !listens.Swap(true) {
			g.listens.Add(1)
		}
	})
	_ = server.Close()
	<-done
}

// linger lets the time pass that the way takes.
func (g *gag) linger() {
	d := time.Duration(g.delay.Load())
	if g.lossy.Load() && rand.IntN(20) == 0 {
		d += 200 * time.Millisecond
	}
	if d > 0 {
		<-time.After(d)
	}
}

// pump carries bytes from one end to the other while they pass.
func pump(to io.Writer, from io.Reader, passes func(int) bool, look func([]byte)) {
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		if look != nil {
			look(b[:n])
		}
		if n > 0 && passes(n) {
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// behindGag starts two replicas, the second of them behind a gag.
func behindGag(t *testing.T) (*housetest.Harness, *gag) {
	h := housetest.Start(t, housetest.Options{Postgres: true})
	g, through := gagged(t, h.Config.Database.URL)
	h.Config.Database.URL = through
	h.AddReplica()
	eventually(t, "the second replica listens", func() bool { return g.listens.Load() == 1 })
	return h, g
}

// FLT-DB-04, FLT-DB-22: whatever lies between a replica and its database keeps
// every socket open and lets nothing pass. Ten seconds later the replica
// believes nothing that it remembers, and when it hears again it recovers by
// itself, on connections that work.
func TestASilencedReplicaStopsBelievingItsCaches(t *testing.T) {
	h, g := behindGag(t)
	o := hold(t, h)
	cut := h.At(1)
	g.all.Store(true)
	h.Client().As(o.gone.Access).Post("/api/v1/auth/logout", nil).Expect(http.StatusNoContent)
	h.Client().As(o.live.Access).Delete("/api/v1/api-keys/" + o.goneKeyID).Expect(http.StatusNoContent)
	h.Clock.Advance(staleness - time.Second)
	cut.As(o.ended.Access).Get("/api/v1/me").Expect(http.StatusUnauthorized)
	cut.As(o.live.Access).Get("/api/v1/me").Expect(http.StatusOK) // from memory, while it may

	h.Clock.Advance(2 * time.Second)
	if h.Replicas[1].House.Feed.Fresh() {
		t.Error("the replica believes that it heard everything")
	}
	// What it answers from memory is refused at once; what it would have to ask
	// the database waits for that, as TestAReplicaCutOffFromTheDatabase shows.
	cut.Get("/.well-known/revocations").Expect(http.StatusServiceUnavailable)
	cut.As(o.ended.Access).Get("/api/v1/me").Expect(http.StatusUnauthorized)
	eventually(t, "the other replica goes on", func() bool { return h.Client().As(o.live.Access).Get("/api/v1/me").Status == http.StatusOK })

	g.all.Store(false)
	took := eventually(t, "the replica recovers", func() bool { return cut.As(o.live.Access).Get("/api/v1/me").Status == http.StatusOK })
	t.Logf("it recovered %s after the silence, which swallowed %d bytes", took, g.swallow.Load())
	never200(t, cut, "after it recovered", o.revoked())
	never200(t, cut, "after it recovered", o.unheard())
	cut.WithKey(o.liveKey).Get("/api/v1/me").Expect(http.StatusOK)
	if g.swallow.Load() == 0 {
		t.Error("nothing was swallowed: the test shows nothing")
	}
}

// FLT-DB-22: only the connection that wakes the replica falls silent, its socket
// open. Looking into the log keeps the bound, so that the caches are rightly
// believed; and the replica notices and listens on another connection.
func TestASilencedWakeUpIsNoticed(t *testing.T) {
	h, g := behindGag(t)
	admin := h.Client().As(h.Login(h.Admin).Access)
	g.listen.Store(true)
	var took lags
	for i := range 5 {
		id, key := admin.CreateKey("k"+string(rune('0'+i)), "agents:read")
		use := func(replica int) housetest.Reply { return h.At(replica).WithKey(key).Get("/api/v1/me") }
		use(1).Expect(http.StatusOK)
		admin.Delete("/api/v1/api-keys/" + id).Expect(http.StatusNoContent)
		took = append(took, chase(t, use))
	}
	took.judge(t)
	g.listen.Store(false)
	if g.swallow.Load() == 0 {
		t.Error("nothing was swallowed: the test shows nothing")
	}
	again := eventually(t, "the replica listens on another connection", func() bool {
		h.OpsAt(1).Get("/healthz")
		return g.listens.Load() > 1
	})
	t.Logf("it listened again %s later", again)
}

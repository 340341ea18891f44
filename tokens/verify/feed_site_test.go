package verify_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/tokens"
	"github.com/tokenhouse/tokenhouse/tokens/verify"
)

// pipes is a listener whose connections lie in memory, so that a real HTTP
// server and a real client talk in a bubble with a clock of its own.
type pipes struct {
	incoming chan net.Conn
	closed   chan struct{}
	once     sync.Once
}

func newPipes() *pipes { return &pipes{incoming: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.incoming:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes"} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.incoming <- theirs:
		return ours, nil
	case <-p.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// feedSite serves a feed in its three modes, each of which a test may replace.
// It lives in a bubble of synctest.
type feedSite struct {
	*issuer
	feed               atomic.Pointer[tokens.RevocationFeed]
	set                *tokens.Revocations
	stream, wait, poll *site
	follow             *verify.RemoteRevocations
	mu                 sync.Mutex
	errs               []error // which Report heard
	elsewhere          atomic.Int64
	stop               func()
}

func newFeedSite(t *testing.T, mode verify.FeedMode) *feedSite {
	t.Helper()
	s := &feedSite{issuer: newIssuer(t), set: &tokens.Revocations{Now: time.Now}, stream: &site{}, wait: &site{}, poll: &site{}}
	s.restart()
	s.honest()
	listener := newPipes()
	server := &http.Server{Handler: s, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(listener) }()
	transport := &http.Transport{DialContext: listener.dial}
	s.follow = &verify.RemoteRevocations{
		URL: "http://issuer/.well-known/revocations", Issuer: issuerURL, Keys: verify.Lookup(s.lookup), Now: time.Now,
		Client: &http.Client{Transport: transport}, Mode: mode, Report: s.report,
	}
	verify.ReadAtMost(s.follow, 1<<20) // as 32 MiB, and cheaper
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	s.stop = func() {
		cancel()
		<-ended
		transport.CloseIdleConnections()
		_ = server.Close()
	}
	go func() { defer close(ended); s.follow.Run(ctx) }()
	return s
}

func (s *feedSite) report(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.errs = append(s.errs, err)
}

// reported is what Report heard so far.
func (s *feedSite) reported() []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.errs)
}

// restart makes the feed as the next process of the server has it; open streams end.
func (s *feedSite) restart() {
	next := &tokens.RevocationFeed{Signer: s.issuer, Issuer: issuerURL, Now: time.Now, Entries: s.set.Entries}
	if old := s.feed.Swap(next); old != nil {
		old.End()
	}
}

func (s *feedSite) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path != "/.well-known/revocations":
		s.elsewhere.Add(1)
	case r.Header.Get("Accept") == "text/event-stream":
		s.stream.ServeHTTP(w, r)
	case r.URL.Query().Get("wait") != "":
		s.wait.ServeHTTP(w, r)
	default:
		s.poll.ServeHTTP(w, r)
	}
}

// honest makes every mode work as the server does it.
func (s *feedSite) honest() {
	s.stream.serve(func(w http.ResponseWriter, r *http.Request) {
		stream, err := s.feed.Load().Stream(r.Header.Get("Last-Event-ID"))
		if err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		defer stream.Close()
		w.Header().Set("Content-Type", "text/event-stream")
		for {
			d, ok, err := stream.Next(r.Context(), 10*time.Second)
			if err != nil || !ok {
				return
			}
			if !tell(w, string(d.Body)) {
				return
			}
		}
	})
	s.wait.serve(func(w http.ResponseWriter, r *http.Request) {
		seconds, _ := strconv.Atoi(r.URL.Query().Get("wait"))
		d, err := s.feed.Load().Await(r.Context(), r.URL.Query().Get("since"), time.Duration(seconds)*time.Second)
		if err == nil {
			_, _ = w.Write(d.Body)
		}
	})
	s.poll.serve(func(w http.ResponseWriter, r *http.Request) {
		d, err := s.feed.Load().Document(r.Context())
		if err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("ETag", d.ETag)
		if r.Header.Get("If-None-Match") == d.ETag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = w.Write(d.Body)
	})
}

// tell sends one event at once.
func tell(w http.ResponseWriter, data string) bool {
	w.Header().Set("Content-Type", "text/event-stream")
	_, err := fmt.Fprintf(w, "data: %s\n\n", data)
	return errors.Join(err, http.NewResponseController(w).Flush()) == nil
}

func (s *feedSite) fails(sites ...*site) {
	for _, one := range sites {
		one.serve(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	}
}

// revoke ends a session at this moment.
func (s *feedSite) revoke(sid string) {
	c := []changes.Change{{Kind: changes.SessionRevoked, Key: sid, At: time.Now(), Until: time.Now().Add(time.Hour)}}
	s.set.Hear(c)
	s.feed.Load().Hear(c)
}

// verdict is how a token of the session is judged at this moment.
func (s *feedSite) verdict(sid string) string {
	now := time.Now()
	v := s.verifier()
	v.Now, v.Revoked = time.Now, s.follow
	_, err := v.Verify(s.t.Context(), s.token(claim{"sid", sid}, claim{"iat", now.Unix()}, claim{"nbf", now.Unix()}, claim{"exp", now.Add(time.Hour).Unix()}))
	return verify.Result(err)
}

func (s *feedSite) expect(what, sid, want string) {
	s.t.Helper()
	if got := s.verdict(sid); got != want {
		s.t.Errorf("%s: %s is %s, want %s; reported: %v", what, sid, got, want, s.reported())
	}
}

// document is a feed document with the changes applied.
func (s *feedSite) document(typ string, changes ...claim) string {
	now := time.Now()
	return s.sign(s.header(claim{"typ", typ}), object(s.t, append([]claim{
		{"iss", issuerURL}, {"iat", now.Unix()}, {"exp", now.Add(30 * time.Second).Unix()}, {"max_staleness", 30}, {"cursor", "1.a.b"}, {"entries", []any{}},
	}, changes...)))
}

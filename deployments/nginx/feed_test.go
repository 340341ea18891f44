package nginx_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/tokens/verify"
)

const issuer = "https://" + host

// follow makes an offline verifier that reaches the issuer through nginx, and is
// told of revocations in that mode alone. heard has something whenever it was told.
func (p *proxy) follow(t *testing.T, mode verify.FeedMode) (v *verify.Verifier, heard chan struct{}) {
	t.Helper()
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{ServerName: host, InsecureSkipVerify: true}, ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, p.secure)
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: transport}
	keys := &verify.RemoteKeys{URL: issuer + "/.well-known/jwks.json", Client: client, Now: time.Now}
	heard = make(chan struct{}, 1)
	feed := &verify.RemoteRevocations{
		URL: issuer + "/.well-known/revocations", Issuer: issuer, Keys: keys, Client: client, Now: time.Now, Mode: mode,
		Interval: time.Hour, // so that nothing is learnt by polling
		Report:   func(err error) { t.Errorf("mode %d: %v", mode, err) },
		Heard: func() {
			select {
			case heard <- struct{}{}:
			default:
			}
		},
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); feed.Run(ctx) }()
	t.Cleanup(func() { stop(); <-ended })
	return &verify.Verifier{Issuer: issuer, Audience: issuer, Keys: keys, Now: time.Now, Revoked: feed}, heard
}

// becomes waits until the verifier judges the token so, nil for good.
func becomes(t *testing.T, v *verify.Verifier, heard chan struct{}, token string, want error) {
	t.Helper()
	late := time.After(10 * time.Second)
	for {
		_, err := v.Verify(t.Context(), token)
		if errors.Is(err, want) {
			return
		}
		select {
		case <-heard:
		case <-late:
			t.Fatalf("still %v, want %v", err, want)
		}
	}
}

// feedArrives: streams and long polls pass through nginx event by event: a logout reaches
// who follows the feed by them within two seconds.
func feedArrives(t *testing.T, p *proxy) {
	for name, mode := range map[string]verify.FeedMode{"stream": verify.FeedStream, "long poll": verify.FeedLongPoll} {
		t.Run(name, func(t *testing.T) {
			v, heard := p.follow(t, mode)
			for range 3 { // a buffer that is filled by the first events would let them pass
				token, _ := p.login(t)
				becomes(t, v, heard, token, nil)
				reply, body := p.do(t, "POST", "https://"+p.secure+"/api/v1/auth/logout", http.Header{"Authorization": {"Bearer " + token}}, "")
				if reply.StatusCode != http.StatusNoContent {
					t.Fatalf("logout: %s %s", reply.Status, body)
				}
				replied := time.Now()
				becomes(t, v, heard, token, verify.ErrRevoked)
				if took := time.Since(replied); took > 2*time.Second {
					t.Errorf("it took %v, at most 2 s are promised", took)
				} else {
					t.Logf("it took %v", took)
				}
			}
		})
	}
}

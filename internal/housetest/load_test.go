package housetest_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/housetest"
	"github.com/tokenhouse/tokenhouse/tokens/verify"
)

// loadTime is how long load is kept up: as TOKENHOUSE_TEST_LOAD says, such as
// 10m, or three seconds.
func loadTime(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("TOKENHOUSE_TEST_LOAD")
	if text == "" {
		return 3 * time.Second
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// perSecond is how many tokens are issued, and then verified, in a second.
const perSecond = 200

// loaded is a token of a load.
type loaded struct {
	token, kid string
	at         time.Time
}

// checker verifies a token, which was issued or is still good at now.
type checker interface {
	check(t *testing.T, token string, now time.Time) error
}

// inProcess is a resource server that keeps the JWK Set.
type inProcess struct{ *verify.Verifier }

func (v inProcess) check(t *testing.T, token string, _ time.Time) error {
	_, err := v.Verify(t.Context(), token)
	return err
}

func verifierAt(h *housetest.Harness, replica int) inProcess {
	return inProcess{&verify.Verifier{
		Issuer: h.Config.Issuer, Audience: h.Config.Issuer, Now: h.Clock.Now,
		Keys: &verify.RemoteKeys{URL: h.Replicas[replica].URL + "/.well-known/jwks.json", Now: h.Clock.Now},
	}}
}

// nodeProgram verifies the token of each line with jose's remote JWK Set, as
// jose keeps it by default. The clock of the process is that of the line.
const nodeProgram = `
import { createInterface } from 'node:readline'
import { createRemoteJWKSet, jwtVerify } from 'jose'
let now = 0
Date.now = () => now
const [url, issuer] = process.argv.slice(1)
const keys = createRemoteJWKSet(new URL(url))
for await (const line of createInterface({ input: process.stdin })) {
  const ask = JSON.parse(line)
  now = ask.now
  try {
    await jwtVerify(ask.token, keys, { issuer, audience: issuer, typ: 'at+jwt', algorithms: ['ES256'], currentDate: new Date(ask.now) })
    console.log('ok')
  } catch (e) {
    console.log(e.code + ' ' + e.message)
  }
}
`

// nodeProcess is a resource server in Node.js.
type nodeProcess struct {
	mu  sync.Mutex
	in  io.WriteCloser
	out *bufio.Scanner
}

func startNode(t *testing.T, h *housetest.Harness, replica int) *nodeProcess {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "node", "--input-type=module", "--eval", nodeProgram, h.Replicas[replica].URL+"/.well-known/jwks.json", h.Config.Issuer)
	cmd.Dir = "../../docs/examples/node-verify" // where jose is installed (make testenv)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close(); _ = cmd.Wait() })
	return &nodeProcess{in: in, out: bufio.NewScanner(out)}
}

func (n *nodeProcess) check(_ *testing.T, token string, now time.Time) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := json.NewEncoder(n.in).Encode(map[string]any{"token": token, "now": now.UnixMilli()}); err != nil {
		return err
	}
	if !n.out.Scan() {
		return fmt.Errorf("node ended: %w", n.out.Err())
	}
	if n.out.Text() != "ok" {
		return fmt.Errorf("jose: %s", n.out.Text())
	}
	return nil
}

// load issues tokens and has them verified, until it is told to stop.
type load struct {
	t         *testing.T
	h         *housetest.Harness
	client    serviceClient
	verifiers []checker
	// judge says what an error of a verifier means; nil where none is allowed.
	judge func(loaded, error) error

	calm     sync.RWMutex // held by whoever moves the clock further than tokens live
	mu       sync.Mutex
	live     []loaded
	ended    chan struct{}
	workers  sync.WaitGroup
	issued   atomic.Int64
	verified atomic.Int64
	began    time.Time
}

// loadWorkers issue at the same time.
const loadWorkers = 8

func (l *load) start() {
	l.ended, l.began = make(chan struct{}), time.Now()
	for n := range loadWorkers {
		l.workers.Go(func() {
			pace := time.NewTicker(time.Second * loadWorkers / perSecond)
			defer pace.Stop()
			for i := n; ; i++ {
				select {
				case <-pace.C:
				case <-l.ended:
					return
				}
				l.once(i)
			}
		})
	}
}

func (l *load) stop() {
	close(l.ended)
	l.workers.Wait()
	took := time.Since(l.began)
	l.t.Logf("%d tokens were issued and %d verifications made in %s, %.0f requests a second", l.issued.Load(), l.verified.Load(), took,
		float64(l.issued.Load()+l.verified.Load())/took.Seconds())
}

// once issues a token and has it verified, and one that was issued earlier.
func (l *load) once(i int) {
	l.calm.RLock()
	defer l.calm.RUnlock()
	r, err := l.client.by(l.h.At(i%len(l.h.Replicas)).For(l.t)).With("Content-Type", "application/x-www-form-urlencoded").
		Try(http.MethodPost, "/oauth2/token", "grant_type=client_credentials")
	if err != nil || r.Status != http.StatusOK {
		l.t.Errorf("not issued: %s, %v", r, err)
		return
	}
	l.issued.Add(1)
	token := r.Text("access_token")
	got := loaded{token: token, at: l.h.Clock.Now()}
	got.kid = kidOf(l.t, token)
	l.mu.Lock()
	l.live = append(l.live, got)
	earlier := l.live[rand.IntN(len(l.live))]
	l.mu.Unlock()
	v := l.verifiers[i%len(l.verifiers)]
	for _, one := range []loaded{got, earlier} {
		err := v.check(l.t, one.token, l.h.Clock.Now())
		l.verified.Add(1)
		if err != nil && l.judge != nil {
			err = l.judge(one, err)
		}
		if err != nil {
			l.t.Errorf("verifier %d refuses a token issued %s ago by key %s: %v", i%len(l.verifiers), l.h.Clock.Now().Sub(one.at), one.kid, err)
		}
	}
}

// kidOf is the key that the header of a token names.
func kidOf(t *testing.T, token string) string {
	var header struct{ Kid string }
	if err := json.Unmarshal(decodedPart(t, token, 0), &header); err != nil {
		t.Error(err)
	}
	return header.Kid
}

// signers are the keys that signed the tokens that are still good, and until
// when they must be published.
func (l *load) signers(life time.Duration) map[string]time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.h.Clock.Now()
	kept := l.live[:0]
	out := map[string]time.Time{}
	for _, one := range l.live {
		if until := one.at.Add(life - time.Minute); until.After(now) {
			kept = append(kept, one)
			if until.After(out[one.kid]) {
				out[one.kid] = until
			}
		}
	}
	l.live = kept
	return out
}

package examples_test

import (
	"bufio"
	"bytes"
	"compress/zlib"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// conversation is an example that runs: it is given tokens, and says of each
// what it holds of it.
type conversation struct {
	t       *testing.T
	cmd     *exec.Cmd
	in      io.WriteCloser
	answers chan string
	ended   error
}

func (e example) talk(t *testing.T, env ...string) *conversation {
	t.Helper()
	c := &conversation{t: t, answers: make(chan string)}
	c.cmd = exec.Command(e.command[0], e.command[1:]...)
	c.cmd.Dir, c.cmd.Env = e.dir, append(os.Environ(), env...)
	out, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	c.cmd.Stdout, c.cmd.Stderr = w, w
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	go func() {
		defer close(c.answers)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			c.answers <- lines.Text()
		}
		c.ended = c.cmd.Wait()
		out.Close()
	}()
	t.Cleanup(func() { c.end() })
	return c
}

// end lets the example end, and returns the most memory it took, in bytes.
func (c *conversation) end() int64 {
	_ = c.in.Close()
	late := time.AfterFunc(patience, func() { _ = c.cmd.Process.Kill() })
	defer late.Stop()
	for range c.answers { // until it has ended
	}
	usage, _ := c.cmd.ProcessState.SysUsage().(*syscall.Rusage)
	return usage.Maxrss << 10
}

// ask returns "ok", or why the token is refused.
func (c *conversation) ask(token string) string {
	c.t.Helper()
	if _, err := io.WriteString(c.in, token+"\n"); err != nil {
		c.t.Fatal(err)
	}
	select {
	case answer, ok := <-c.answers:
		if !ok {
			c.t.Fatal("the example has ended")
		}
		if json.Valid([]byte(answer)) {
			return "ok"
		}
		return answer
	case <-time.After(patience):
		c.t.Fatal("the example does not answer")
	}
	return ""
}

// expect asks, and demands an answer that contains want.
func (c *conversation) expect(what, token, want string) {
	c.t.Helper()
	if got := c.ask(token); !strings.Contains(got, want) {
		c.t.Errorf("%s: %s, want %s", what, got, want)
	}
}

// becomes asks until the answer contains want.
func (c *conversation) becomes(what, token, want string) {
	c.t.Helper()
	got := ""
	for start := time.Now(); time.Since(start) < patience/2; {
		if got = c.ask(token); strings.Contains(got, want) {
			return
		}
	}
	c.t.Fatalf("%s: still %s, want %s", what, got, want)
}

// falseIssuer has keys and status lists that a tokenhouse would never serve.
type falseIssuer struct {
	t     *testing.T
	url   string
	key   *ecdsa.PrivateKey
	keys  atomic.Int64 // requests of the key set
	mu    sync.Mutex
	lists map[string]http.HandlerFunc // by id
	asked map[string]int
}

func newFalseIssuer(t *testing.T) *falseIssuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	f := &falseIssuer{t: t, key: key, lists: map[string]http.HandlerFunc{}, asked: map[string]int{}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, isList := strings.CutPrefix(r.URL.Path, "/oauth2/status-lists/")
		if !isList {
			f.keys.Add(1)
			_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &key.PublicKey, KeyID: "k1", Algorithm: "ES256", Use: "sig"}}})
			return
		}
		f.mu.Lock()
		f.asked[id]++
		serve := f.lists[id]
		f.mu.Unlock()
		if serve == nil {
			serve = http.NotFound
		}
		serve(w, r)
	}))
	t.Cleanup(server.Close)
	f.url = server.URL
	return f
}

func (f *falseIssuer) serve(id string, h http.HandlerFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lists[id] = h
}

func (f *falseIssuer) serveText(id, text string) {
	f.serve(id, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/statuslist+jwt")
		_, _ = io.WriteString(w, text)
	})
}

func (f *falseIssuer) times(id string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked[id]
}

// forget counts from zero.
func (f *falseIssuer) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = map[string]int{}
	f.keys.Store(0)
}

func (f *falseIssuer) list(id string) string { return f.url + "/oauth2/status-lists/" + id }

type object map[string]any

// sign makes a JWT of the claims, with the changes; nil takes a claim away.
func (f *falseIssuer) sign(typ, kid string, key *ecdsa.PrivateKey, claims ...object) string {
	f.t.Helper()
	all := object{}
	for _, some := range claims {
		for name, value := range some {
			if all[name] = value; value == nil {
				delete(all, name)
			}
		}
	}
	payload, err := json.Marshal(all)
	if err != nil {
		f.t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: kid}}, (&jose.SignerOptions{}).WithType(jose.ContentType(typ)))
	if err != nil {
		f.t.Fatal(err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		f.t.Fatal(err)
	}
	compact, err := jws.CompactSerialize()
	if err != nil {
		f.t.Fatal(err)
	}
	return compact
}

// token is a good access token at that place, with the changes.
func (f *falseIssuer) token(id string, index any, changes ...object) string {
	now := time.Now().Unix()
	return f.sign("at+jwt", "k1", f.key, append([]object{{
		"iss": f.url, "aud": f.url, "sub": "user_1", "jti": "tok_1", "org_id": "org_1", "iat": now, "exp": now + 3600,
		"status": object{"status_list": object{"idx": index, "uri": f.list(id)}},
	}}, changes...)...)
}

// statusList is a good list of those bytes, with the changes.
func (f *falseIssuer) statusList(id string, bytes []byte, changes ...object) string {
	return f.sign("statuslist+jwt", "k1", f.key, append([]object{f.listClaims(id, deflate(f.t, bytes))}, changes...)...)
}

func (f *falseIssuer) listClaims(id string, deflated []byte) object {
	now := time.Now().Unix()
	return object{
		"iss": f.url, "sub": f.list(id), "iat": now, "exp": now + 300, "ttl": 60,
		"status_list": object{"bits": 1, "lst": base64.RawURLEncoding.EncodeToString(deflated)},
	}
}

func deflate(t *testing.T, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := zlib.NewWriter(&out)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

package vault_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// engine is a transit engine to test with.
type engine struct {
	url    string // scheme, host and mount: vault+http://127.0.0.1:1/transit
	token  string
	create func(key string)
	rotate func(key string)
}

// engines are a stand-in that answers as the engine's manual says and, where
// TOKENHOUSE_TEST_OPENBAO names its binary, a real OpenBao (make test-openbao).
func engines(t *testing.T, test func(t *testing.T, e engine)) {
	t.Run("stand-in", func(t *testing.T) {
		s := &standIn{keys: map[string][]cipher.AEAD{}}
		srv := httptest.NewServer(s)
		t.Cleanup(srv.Close)
		grow := func(key string) { s.grow(t, key) }
		test(t, engine{strings.Replace(srv.URL, "http://", "vault+http://", 1) + "/transit", standInToken, grow, grow})
	})
	if binary := os.Getenv("TOKENHOUSE_TEST_OPENBAO"); binary != "" {
		t.Run("OpenBao", func(t *testing.T) { test(t, openBao(t, binary)) })
	}
}

const standInToken = "hvs.stand-in-token"

// standIn answers encrypt, decrypt and rewrap of a mount "transit".
type standIn struct {
	mu    sync.Mutex
	keys  map[string][]cipher.AEAD // by name, one for each version
	asked int
	mood  func(w http.ResponseWriter, r *http.Request) bool // answers instead, where it says so
}

func (s *standIn) grow(t *testing.T, name string) {
	t.Helper()
	block, err := aes.NewCipher([]byte(rand.Text() + rand.Text())[:32])
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[name] = append(s.keys[name], aead)
}

func (s *standIn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if s.mood != nil && s.mood(w, r) {
		return
	}
	complain := func(status int, text string) {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]any{"errors": []string{text}})
	}
	part := strings.Split(strings.TrimPrefix(r.URL.Path, "/v1/transit/"), "/")
	var ask struct{ Plaintext, Ciphertext string }
	if json.NewDecoder(r.Body).Decode(&ask) != nil || len(part) != 2 || r.Method != http.MethodPost {
		complain(http.StatusNotFound, "no handler for route")
		return
	}
	versions := s.keys[part[1]]
	switch {
	case r.Header.Get("X-Vault-Token") != standInToken:
		complain(http.StatusForbidden, "permission denied")
		return
	case len(versions) == 0:
		complain(http.StatusBadRequest, "encryption key not found")
		return
	}
	plain, err := base64.StdEncoding.DecodeString(ask.Plaintext)
	if part[0] != "encrypt" && err == nil {
		plain, err = open(versions, ask.Ciphertext)
	}
	if err != nil {
		complain(http.StatusBadRequest, err.Error())
		return
	}
	data := map[string]any{"plaintext": base64.StdEncoding.EncodeToString(plain)}
	if part[0] != "decrypt" {
		n := len(versions)
		data = map[string]any{"key_version": n, "ciphertext": fmt.Sprintf("vault:v%d:%s", n, base64.StdEncoding.EncodeToString(versions[n-1].Seal(nil, nil, plain, nil)))}
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"request_id": "x", "lease_duration": 0, "data": data})
}

func open(versions []cipher.AEAD, text string) ([]byte, error) {
	part := strings.SplitN(text, ":", 3)
	if len(part) != 3 || part[0] != "vault" {
		return nil, fmt.Errorf("invalid ciphertext: no prefix")
	}
	n, err := strconv.Atoi(strings.TrimPrefix(part[1], "v"))
	if err != nil || n < 1 || n > len(versions) {
		return nil, fmt.Errorf("invalid ciphertext: version could not be decoded")
	}
	sealed, err := base64.StdEncoding.DecodeString(part[2])
	if err != nil {
		return nil, fmt.Errorf("invalid ciphertext: could not decode base64")
	}
	return versions[n-1].Open(nil, nil, sealed, nil)
}

// openBao starts a real one in memory, with a transit engine.
func openBao(t *testing.T, binary string) engine {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	token := "root-" + rand.Text()
	var log bytes.Buffer
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, binary, "server", "-dev", "-dev-no-store-token", "-dev-root-token-id="+token, "-dev-listen-address="+address)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	ask := func(method, path, body string) int {
		req, err := http.NewRequest(method, "http://"+address+"/v1/"+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Vault-Token", token)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0
		}
		defer func() { _ = res.Body.Close() }()
		_, _ = io.Copy(io.Discard, res.Body)
		return res.StatusCode
	}
	for began := time.Now(); ask("GET", "sys/health", "") != http.StatusOK; {
		if time.Since(began) > 30*time.Second {
			t.Fatal("OpenBao does not start")
		}
	}
	must := func(status int) {
		if status/100 != 2 {
			t.Fatalf("OpenBao answers %d", status)
		}
	}
	must(ask("POST", "sys/mounts/transit", `{"type":"transit"}`))
	return engine{
		"vault+http://" + address + "/transit", token,
		func(key string) { must(ask("POST", "transit/keys/"+key, "{}")) },
		func(key string) { must(ask("POST", "transit/keys/"+key+"/rotate", "{}")) },
	}
}

package vault_test

import (
	"bytes"
	"crypto/cipher"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"encoding/pem"

	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/keys/masterkey/vault"
	"github.com/tokenhouse/tokenhouse/keys/sealing"
)

func transit(t *testing.T, text, token string) *vault.Transit {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	c, err := vault.New(u, secret.Of(token))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAKeyOfTheEngineWrapsAndUnwraps(t *testing.T) {
	engines(t, func(t *testing.T, e engine) {
		e.create("house")
		e.create("other")
		key := []byte("0123456789abcdefghijklmnopqrstu\xff")
		c := transit(t, e.url+"/house", e.token)
		wrapped, err := c.Wrap(t.Context(), key)
		if err != nil || bytes.Contains(wrapped, key) {
			t.Fatalf("Wrap = %q, %v", wrapped, err)
		}
		if got, err := c.Unwrap(t.Context(), wrapped); err != nil || !bytes.Equal(got, key) {
			t.Errorf("Unwrap = %q, %v", got, err)
		}
		e.rotate("house")
		newer, err := c.Rewrap(t.Context(), wrapped)
		if err != nil || !strings.HasPrefix(string(newer), "vault:v2:") {
			t.Errorf("Rewrap = %s, %v; want the second version", newer, err)
		}
		for _, w := range [][]byte{wrapped, newer} {
			if got, err := c.Unwrap(t.Context(), w); err != nil || !bytes.Equal(got, key) {
				t.Errorf("after the rotation: %q, %v", got, err)
			}
		}
		for name, w := range map[string][]byte{"another key's": must(transit(t, e.url+"/other", e.token).Wrap(t.Context(), key)), "nonsense": []byte("vault:v1:AAAA"), "no prefix": []byte("x")} {
			if _, err := c.Unwrap(t.Context(), w); !errors.Is(err, sealing.ErrNotWrapped) {
				t.Errorf("%s: %v; want ErrNotWrapped", name, err)
			}
		}
		_, err = transit(t, e.url+"/house", "a wrong token").Unwrap(t.Context(), wrapped)
		if err == nil || errors.Is(err, sealing.ErrNotWrapped) || errors.Is(err, sealing.ErrAway) || strings.Contains(err.Error(), "a wrong token") {
			t.Errorf("a wrong token: %v", err)
		}
		if text := c.String(); strings.Contains(text, e.token) || !strings.Contains(text, "transit/house") {
			t.Errorf("String = %s", text)
		}
	})
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

// What an agent renews in a file is read anew for each request.
func TestTheTokenFileIsReadEachTime(t *testing.T) {
	engines(t, func(t *testing.T, e engine) {
		e.create("house")
		file := filepath.Join(t.TempDir(), "token")
		c := transit(t, e.url+"/house?token_file="+url.QueryEscape(file), "")
		if _, err := c.Wrap(t.Context(), []byte("key")); !errors.Is(err, sealing.ErrAway) {
			t.Errorf("before the agent wrote it: %v; want ErrAway", err)
		}
		for _, step := range []struct {
			content string
			good    bool
		}{{"expired\n", false}, {e.token + "\n", true}, {"", false}, {e.token + "\nmore", false}} {
			if err := os.WriteFile(file, []byte(step.content), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Wrap(t.Context(), []byte("key")); (err == nil) != step.good {
				t.Errorf("%q: %v", step.content, err)
			}
		}
	})
}

// Answers that are not those of an engine, or that it is away, are told apart,
// and cost bounded memory.
func TestBadAnswers(t *testing.T) {
	for name, bad := range map[string]struct {
		answer func(http.ResponseWriter)
		away   bool
	}{
		"sealed": {func(w http.ResponseWriter) {
			http.Error(w, `{"errors":["Vault is sealed"]}`, http.StatusServiceUnavailable)
		}, true},
		"too many":    {func(w http.ResponseWriter) { w.WriteHeader(http.StatusTooManyRequests) }, true},
		"standing by": {func(w http.ResponseWriter) { w.WriteHeader(473) }, true},
		"not found":   {func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) }, false},
		"redirected": {func(w http.ResponseWriter) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(http.StatusTemporaryRedirect)
		}, false},
		"no JSON":        {func(w http.ResponseWriter) { _, _ = w.Write([]byte("<html>")) }, false},
		"nothing in it":  {func(w http.ResponseWriter) { _, _ = w.Write([]byte(`{"data":{}}`)) }, false},
		"not base64":     {func(w http.ResponseWriter) { _, _ = w.Write([]byte(`{"data":{"plaintext":"%"}}`)) }, false},
		"without an end": {func(w http.ResponseWriter) { _, _ = w.Write(bytes.Repeat([]byte(" "), 1<<20)) }, false},
		"cut in the body": {func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte(`{"data"`))
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := &standIn{keys: map[string][]cipher.AEAD{}, mood: func(w http.ResponseWriter, _ *http.Request) bool { bad.answer(w); return true }}
			srv := httptest.NewServer(s)
			defer srv.Close()
			c := transit(t, strings.Replace(srv.URL, "http://", "vault+http://", 1)+"/transit/house", standInToken)
			_, err := c.Unwrap(t.Context(), []byte("vault:v1:x"))
			if err == nil || errors.Is(err, sealing.ErrAway) != bad.away || s.asked != 1 {
				t.Errorf("%v after %d requests; away: %v", err, s.asked, bad.away)
			}
		})
	}
	c := transit(t, "vault+http://127.0.0.1:1/transit/house", standInToken)
	if _, err := c.Wrap(t.Context(), []byte("key")); !errors.Is(err, sealing.ErrAway) {
		t.Errorf("nobody listens: %v", err)
	}
}

// The token is shown to nobody but the engine with the certificate we expect.
func TestTheEngineMustShowACertificateWeTrust(t *testing.T) {
	s := &standIn{keys: map[string][]cipher.AEAD{}}
	s.grow(t, "house")
	srv := httptest.NewTLSServer(s)
	defer srv.Close()
	base := strings.Replace(srv.URL, "https://", "vault://", 1) + "/transit/house"
	if _, err := transit(t, base, standInToken).Wrap(t.Context(), []byte("key")); err == nil || errors.Is(err, sealing.ErrAway) || s.asked != 0 {
		t.Errorf("a certificate of nobody we know: %v, and it was asked %d times", err, s.asked)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := transit(t, base+"?ca_file="+url.QueryEscape(file), standInToken).Wrap(t.Context(), []byte("key")); err != nil {
		t.Error(err)
	}
}

func TestURLsThatNameNoKey(t *testing.T) {
	for _, text := range []string{
		"vault://host", "vault://host/transit", "vault:///transit/key", "vault://user:pass@host/transit/key", "vault+http://vault.example/transit/key",
		"vault://host/transit/key?ca_file=no-such-file", "vault://host/transit/key?unknown=1", "vault://host/transit/key#x",
	} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := vault.New(u, secret.Of("token")); err == nil || strings.Contains(err.Error(), "pass@") {
			t.Errorf("%s: %v", text, err)
		}
	}
	u, _ := url.Parse("vault://host/transit/key")
	if _, err := vault.New(u, secret.Plain{}); err == nil {
		t.Error("without a token")
	}
}

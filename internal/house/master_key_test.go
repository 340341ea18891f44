package house

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/keys/sealing"
)

// A server that serves waits for the key management service, and works without
// it once it has started; a command does not wait.
func TestAServerWaitsForTheKeyManagementService(t *testing.T) {
	var away atomic.Bool
	var asked atomic.Int32
	engine := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1); away.CompareAndSwap(true, false) { // sealed, and unsealed a moment later
			http.Error(w, `{"errors":["Vault is sealed"]}`, http.StatusServiceUnavailable)
			return
		}
		var ask struct{ Plaintext, Ciphertext string }
		_ = json.NewDecoder(r.Body).Decode(&ask)
		_ = json.NewEncoder(w).Encode(map[string]any{"data": map[string]string{"ciphertext": "vault:v1:" + ask.Plaintext, "plaintext": strings.TrimPrefix(ask.Ciphertext, "vault:v1:")}})
	}))
	defer engine.Close()
	conf := Defaults()
	conf.DataDir = t.TempDir()
	conf.Database.URL = "sqlite://" + filepath.Join(conf.DataDir, "th.db")
	conf.Sealing.KeySealer, conf.Sealing.SealerToken = strings.Replace(engine.URL, "http://", "vault+http://", 1)+"/transit/house", secret.Of("token")
	env := Env{Now: time.Now, Random: rand.Reader}
	for name, step := range map[string]struct{ patient, away, fails bool }{"first start": {true, false, false}, "patient": {true, true, false}, "impatient": {false, true, true}} {
		away.Store(step.away)
		env.Patient = step.patient
		h, err := Open(context.Background(), conf, env)
		if step.fails {
			if !errors.Is(err, sealing.ErrAway) {
				t.Errorf("%s: %v; want ErrAway", name, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		before := asked.Load()
		if err := errors.Join(h.Ring.Load(t.Context()), h.Tend(t.Context())); err != nil || asked.Load() != before {
			t.Errorf("%s: %v; it was asked %d times after the start", name, err, asked.Load()-before)
		}
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	}
}

//go:build pkcs11 && cgo

package house

import (
	"context"
	"crypto/rand"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/internal/softhsmtest"
	"github.com/tokenhouse/tokenhouse/keys/masterkey"
	"github.com/tokenhouse/tokenhouse/keys/sealing"
)

// A deployment lives under a key in a token, restarts, works while the token is
// pulled out, and moves to another key in it.
func TestADeploymentUnderAPKCS11Token(t *testing.T) {
	tokens := softhsmtest.New(t)
	tokens.Add(t, "house")
	tokens.MakeKey(t, "house", "master", 1, false)
	tokens.MakeKey(t, "house", "next", 2, false)
	uri := func(object string) string {
		return "pkcs11:token=house;object=" + object + "?module-path=" + tokens.Module
	}
	conf := Defaults()
	conf.DataDir = t.TempDir()
	conf.Database.URL = "sqlite://" + filepath.Join(conf.DataDir, "th.db")
	conf.Sealing.KeySealer, conf.Sealing.SealerToken = uri("master"), secret.Of(softhsmtest.PIN)
	env := Env{Now: time.Now, Random: rand.Reader}
	open := func(conf Config) (*House, error) { return Open(context.Background(), conf, env) }

	h, err := open(conf)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := h.MasterKey().Seal([]byte("canary"), "place")
	if err != nil {
		t.Fatal(err)
	}
	back := tokens.Remove(t)
	if err := errors.Join(h.Ring.Load(t.Context()), h.Tend(t.Context())); err != nil {
		t.Errorf("without the token: %v", err)
	}
	if _, err := open(conf); !errors.Is(err, sealing.ErrAway) {
		t.Errorf("a start without the token: %v; want ErrAway", err)
	}
	back()
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}

	moved := conf
	moved.Sealing.KeySealer, moved.Sealing.Previous.KeySealer = uri("next"), uri("master")
	if h, err = open(moved); err != nil {
		t.Fatal(err)
	}
	if got, err := h.MasterKey().Open(sealed, "place"); err != nil || string(got) != "canary" {
		t.Errorf("with both keys: %q, %v", got, err)
	}
	if _, err := h.MasterKey().Change(t.Context(), ident.OperatorOf("", nil), masterkey.Progress{}); err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := open(conf); !errors.Is(err, sealing.ErrWrongMasterKey) {
		t.Errorf("with the earlier key alone: %v; want ErrWrongMasterKey", err)
	}
	moved.Sealing.Previous.KeySealer = ""
	if h, err = open(moved); err != nil {
		t.Fatal(err)
	}
	if err := h.MasterKey().Rewrap(t.Context(), ident.OperatorOf("", nil)); err != nil {
		t.Error(err)
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
}

package audit_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/storage/gormstore"
	"github.com/tokenhouse/tokenhouse/storage/migrated"
)

const issuer = "https://auth.example.com"

var start = time.Date(2026, 1, 2, 3, 4, 5, 678_000, time.UTC)

// penman signs with a key of its own.
type penman struct {
	key *ecdsa.PrivateKey
	id  string
}

func newPenman(t testing.TB, id string) *penman {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &penman{key: key, id: id}
}

func (p *penman) Sign(_ context.Context, payload []byte, typ string) (string, error) {
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: p.key, KeyID: p.id}},
		(&jose.SignerOptions{}).WithType(jose.ContentType(typ)))
	if err != nil {
		return "", err
	}
	jws, err := s.Sign(payload)
	if err != nil {
		return "", err
	}
	return jws.CompactSerialize()
}

func (p *penman) jwks() jose.JSONWebKeySet {
	return jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: p.key.Public(), KeyID: p.id, Algorithm: "ES256", Use: "sig"}}}
}

// world is a log in SQLite with a clock that tests move.
type world struct {
	*gormstore.DB
	now    time.Time
	pen    *penman
	sealer *audit.Sealer
	orgs   []ident.OrgID
	path   string
}

func newWorld(t testing.TB) *world {
	t.Helper()
	path := migrated.SQLite(t)
	db, err := gormstore.OpenSQLite(path, gormstore.Options{
		OnCommit: func([]audit.Event, []changes.Change) {}, Random: rand.Reader,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	w := &world{DB: db, now: start, pen: newPenman(t, "key-1"), path: path}
	w.orgs = []ident.OrgID{"", ident.NewOrgID(w.now, rand.Reader), ident.NewOrgID(w.now, rand.Reader)}
	w.sealer = &audit.Sealer{Store: db.Chain(), Signer: w.pen, Issuer: issuer, Now: func() time.Time { return w.now }}
	return w
}

// record commits n events of the organisation, a second apart.
func (w *world) record(t testing.TB, org ident.OrgID, name audit.Name, n int) {
	t.Helper()
	events := make([]audit.Event, n)
	for i := range events {
		w.now = w.now.Add(time.Second)
		events[i] = audit.Event{
			Time: w.now, Name: name, Outcome: audit.Failure, Reason: "wrong_password", Org: org,
			Actor:   audit.Actor{Type: "anonymous", Name: "o'neil+" + fmt.Sprint(i) + "@example.com", Via: "password"},
			Targets: []audit.Target{{Type: "user", ID: "user_1", Name: "\"<é\u2028😀>\"\n"}},
			Origin:  ident.Origin{IP: netip.MustParseAddr("2001:db8::1"), UserAgent: "curl/8\\", Request: "req_1"},
			Meta:    map[string]string{"k": "v", "a\u007f": "\x01"},
		}
	}
	for len(events) > 0 {
		part := events[:min(len(events), 1000)]
		if err := w.Recorder().RecordAll(t.Context(), part...); err != nil {
			t.Fatal(err)
		}
		events = events[len(part):]
	}
}

func (w *world) seal(t testing.TB) {
	t.Helper()
	if err := w.sealer.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (w *world) export(t testing.TB, e audit.Extent) []byte {
	t.Helper()
	var out bytes.Buffer
	if _, err := w.sealer.Export(t.Context(), &out, e, nil); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// verify proves an export with the keys of the world.
func (w *world) verify(export []byte) (audit.Report, error) {
	v := audit.Verifier{Keys: w.pen.jwks(), Issuer: issuer}
	return v.Verify(bytes.NewReader(export))
}

// lines splits an export; the last is the closing line.
func lines(export []byte) [][]byte {
	return bytes.SplitAfter(bytes.TrimSuffix(export, []byte("\n")), []byte("\n"))
}

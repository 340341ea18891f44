package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/storage"
	"github.com/tokenhouse/tokenhouse/storage/gormstore"
)

// auditLog prints what an event of the audit log costs where it is made, without
// the chain and while it is being chained as a server does it, and what chaining,
// exporting and proving so many events cost.
func (b bench) auditLog(ctx context.Context, url string, commits figure) error {
	if b.events == 0 {
		return nil
	}
	l, err := openLog(ctx, url)
	if err != nil {
		return err
	}
	defer func() { _ = l.db.Close() }()
	ended, err := b.profiled(backendOf(url) + ".audit")
	if err != nil {
		return err
	}
	defer ended()
	fmt.Printf("\nthe audit log on %s\n", backendOf(url))
	record := func(worker int) error { return l.record(ctx, worker, 1) }
	without := measure("record an event, no chain", b.workers, b.each, record)
	fmt.Println(without.row(&commits))
	if err := l.sealer.Seal(ctx); err != nil { // what is left from before
		return err
	}
	stop := l.keepSealing(ctx)
	with := measure("record an event, chained each second", b.workers, b.each, record)
	if err := stop(); err != nil {
		return err
	}
	fmt.Println(with.row(&commits))
	if err := errors.Join(without.last, with.last, l.sealer.Seal(ctx)); err != nil {
		return err
	}
	for made := 0; made < b.events; made += recordBatch {
		if err := l.record(ctx, made/recordBatch, min(recordBatch, b.events-made)); err != nil {
			return err
		}
	}
	return l.throughput(ctx, b.events, filepath.Join(b.dir, "audit.ndjson"))
}

// recordBatch is how many events one transaction has that makes many.
const recordBatch = 1000

type auditBench struct {
	db     storage.Backend
	sealer *audit.Sealer
	pen    benchPen
	orgs   []ident.OrgID
}

func openLog(ctx context.Context, url string) (*auditBench, error) {
	db, err := storage.Open(ctx, url, gormstore.Options{OnCommit: func([]audit.Event, []changes.Change) {}, Random: rand.Reader})
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	l := &auditBench{db: db, pen: benchPen{key}}
	for range 10 {
		l.orgs = append(l.orgs, ident.NewOrgID(time.Now(), rand.Reader))
	}
	l.sealer = &audit.Sealer{Store: db.Chain(), Signer: l.pen, Issuer: "https://bench.localhost", Now: time.Now}
	return l, nil
}

// record commits n events like those of failed logins together.
func (l *auditBench) record(ctx context.Context, worker, n int) error {
	events := make([]audit.Event, n)
	for i := range events {
		now := time.Now()
		events[i] = audit.Event{
			Time: now, Name: audit.LoginFailed, Outcome: audit.Failure, Reason: "wrong_password", Org: l.orgs[(worker+i)%len(l.orgs)],
			Actor:   audit.Actor{Type: "anonymous", Name: "somebody@example.com", Via: "password"},
			Targets: []audit.Target{{Type: "user", ID: "user_01jc0000000000000000000000", Name: "Somebody"}},
			Origin: ident.Origin{
				IP: netip.AddrFrom4([4]byte{192, 0, 2, byte(worker)}), Request: ident.NewRequestID(now, rand.Reader),
				UserAgent: "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
			},
		}
	}
	return l.db.Recorder().RecordAll(ctx, events...)
}

// keepSealing seals each second until it is stopped.
func (l *auditBench) keepSealing(ctx context.Context) (stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	failed := make(chan error, 1)
	go func() {
		each := time.NewTicker(time.Second)
		defer each.Stop()
		for {
			select {
			case <-ctx.Done():
				failed <- nil
				return
			case <-each.C:
			}
			if err := l.sealer.Seal(ctx); err != nil && ctx.Err() == nil {
				failed <- err
				return
			}
		}
	}()
	return func() error { cancel(); return <-failed }
}

// throughput prints how fast n events are chained, exported and proved.
func (l *auditBench) throughput(ctx context.Context, n int, path string) error {
	id, _, err := l.db.Chain().Newest(ctx, "")
	if err != nil {
		return err
	}
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"chain events", func() error { return l.sealer.Seal(ctx) }},
		{"export events", func() error {
			return written(path, func(w io.Writer) error {
				_, err := l.sealer.Export(ctx, w, audit.Extent{After: id}, nil)
				return err
			})
		}},
		{"prove exported events", func() error { return l.prove(path, n) }},
	} {
		began, before := time.Now(), cpuTime()
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		took, used := time.Since(began), cpuTime()-before
		fmt.Printf("  %-34s %10.0f /s   %d in %s   CPU %9s\n", step.name, float64(n)/took.Seconds(), n, short(took), short(used/time.Duration(n)))
	}
	return nil
}

func written(path string, by func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(f)
	return errors.Join(by(out), out.Flush(), f.Close())
}

func (l *auditBench) prove(path string, n int) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	v := audit.Verifier{Keys: l.pen.jwks()}
	r, err := v.Verify(f)
	if err == nil && r.Events != int64(n) {
		err = fmt.Errorf("%d events were proved, not %d", r.Events, n)
	}
	return err
}

// benchPen signs checkpoints as a signing key of ES256 does.
type benchPen struct{ key *ecdsa.PrivateKey }

// Sign implements audit.Signer.
func (p benchPen) Sign(_ context.Context, payload []byte, typ string) (string, error) {
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: p.key, KeyID: "bench"}}, (&jose.SignerOptions{}).WithType(jose.ContentType(typ)))
	if err != nil {
		return "", err
	}
	jws, err := s.Sign(payload)
	if err != nil {
		return "", err
	}
	return jws.CompactSerialize()
}

func (p benchPen) jwks() jose.JSONWebKeySet {
	return jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: p.key.Public(), KeyID: "bench", Algorithm: "ES256", Use: "sig"}}}
}

package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"time"
)

// soak keeps the server under a mix of operations and prints, ten times, how
// many goroutines and how much memory it holds: neither may grow.
func (b bench) soak(ctx context.Context, d time.Duration) (err error) {
	if b.dir, err = os.MkdirTemp("", "tokenhouse-soak-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	urls, drop, err := b.databases(ctx)
	if err != nil {
		return err
	}
	defer drop()
	for _, url := range urls {
		s, err := openSubject(ctx, url, b.dir, b.workers)
		if err != nil {
			return err
		}
		mix := func(w int) error {
			for _, op := range []operation{s.opRefresh, s.opToken, s.opAPIKey, s.opJWKS} {
				if err := op(w); err != nil {
					return err
				}
			}
			return nil
		}
		fmt.Printf("soak on %s\n", backendOf(url))
		for range 10 {
			f := measure("refresh, token, API key, JWKS", b.workers, d/10, mix)
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			fmt.Printf("%s   %d goroutines, %.1f MiB in use\n", f.row(nil), runtime.NumGoroutine(), float64(m.HeapInuse)/(1<<20))
			if f.failures > 0 {
				s.stop()
				return fmt.Errorf("%d requests failed: %w", f.failures, f.last)
			}
		}
		s.stop()
	}
	return nil
}

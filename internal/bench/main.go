// Command bench measures this machine's own limits and the server in one run,
// so that its figures are ratios that another machine would repeat.
//
// The databases are SQLite in a temporary directory and, where
// TOKENHOUSE_TEST_POSTGRES_URL is set (make bench sets it), PostgreSQL.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	workers := flag.Int("workers", 8, "how many clients ask at once")
	each := flag.Duration("for", 3*time.Second, "how long each figure is measured")
	soak := flag.Duration("soak", 0, "instead, keep the server under load for so long and print its memory")
	only := flag.String("only", "", "measure only operations whose name matches this regular expression")
	sizes := flag.String("keys", "1000,1000000", "numbers of stored API keys to verify among, growing; empty leaves that out")
	events := flag.Int("events", 100_000, "how many events of the audit log are chained, exported and proved; 0 leaves the log out")
	profile := flag.String("cpuprofile", "", "write CPU profiles of the operations to this file, with the name of the database appended")
	flag.Parse()
	pattern, err := regexp.Compile(*only)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench: -only:", err)
		os.Exit(2)
	}
	b := bench{workers: *workers, each: *each, only: pattern, profile: *profile, events: *events}
	for text := range strings.FieldsFuncSeq(*sizes, func(r rune) bool { return r == ',' }) {
		n, err := strconv.Atoi(text)
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench: -keys:", err)
			os.Exit(2)
		}
		b.sizes = append(b.sizes, n)
	}
	run := b.run
	if *soak > 0 {
		run = func(ctx context.Context) error { return b.soak(ctx, *soak) }
	}
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type bench struct {
	workers int
	each    time.Duration
	only    *regexp.Regexp // names of operations
	sizes   []int          // numbers of API keys
	events  int            // of the audit log
	profile string         // file for a CPU profile; none where empty
	dir     string
}

// run prints the limits of the machine, then ours beside them.
func (b bench) run(ctx context.Context) (err error) {
	if b.dir, err = os.MkdirTemp("", "tokenhouse-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	fmt.Printf("%s, %d CPUs, %d workers, %v each, load generator included\n\nlimits of this machine\n", runtime.Version(), runtime.NumCPU(), b.workers, b.each)
	signed, err := signatures(b.workers, b.each)
	if err != nil {
		return err
	}
	fmt.Println(signed.row(nil))
	hashed := hashes(runtime.NumCPU(), b.each)
	fmt.Println(hashed.row(nil))
	plain, err := plainGin(b.workers, b.each)
	if err != nil {
		return err
	}
	fmt.Println(plain.row(nil))
	urls, drop, err := b.databases(ctx)
	if err != nil {
		return err
	}
	defer drop()
	for _, url := range urls {
		commits, err := b.commits(ctx, url)
		if err != nil {
			return err
		}
		fmt.Println(commits.row(nil))
		if err := b.ours(ctx, url, limits{signed, hashed, plain, commits}); err != nil {
			return fmt.Errorf("%s: %w", backendOf(url), err)
		}
		if err := b.auditLog(ctx, url, commits); err != nil {
			return fmt.Errorf("the audit log on %s: %w", backendOf(url), err)
		}
	}
	return nil
}

type limits struct{ signed, hashed, plain, commits figure }

func (b bench) commits(ctx context.Context, url string) (figure, error) {
	if backendOf(url) == "SQLite" {
		return sqliteCommits(b.dir, b.each)
	}
	return postgresCommits(ctx, url, b.workers, b.each)
}

// profiled starts the CPU profile of one database's operations.
func (b bench) profiled(backend string) (stop func(), err error) {
	if b.profile == "" {
		return func() {}, nil
	}
	f, err := os.Create(b.profile + "." + backend)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, err
	}
	return func() {
		pprof.StopCPUProfile()
		_ = f.Close() // the profiler has written what it could
	}, nil
}

// ours prints the server's figures on one database, each beside the limit that
// binds it.
func (b bench) ours(ctx context.Context, url string, l limits) error {
	s, err := openSubject(ctx, url, b.dir, b.workers)
	if err != nil {
		return err
	}
	defer s.stop()
	fmt.Printf("\ntokenhouse on %s\n", backendOf(url))
	stop, err := b.profiled(backendOf(url))
	if err != nil {
		return err
	}
	defer stop()
	for _, m := range []struct {
		name  string
		op    operation
		limit figure
	}{
		{"login", s.opLogin, l.hashed},
		{"refresh (each one rotates)", s.opRefresh, l.commits},
		{"verify an access token", s.opToken, l.plain},
		{"verify an API key", s.opAPIKey, l.plain},
		{"client credentials", s.opClientCredentials, l.plain},
		{"introspect an access token", s.opIntrospect, l.plain},
		{"authorize, signed in and allowed", s.opAuthorize, l.commits},
		{"authorize and redeem the code", s.opRedeem, l.commits},
		{"refresh of an application", s.opDelegatedRefresh, l.commits},
		{"userinfo", s.opUserInfo, l.plain},
		{"JWKS", s.opJWKS, l.plain},
	} {
		if !b.only.MatchString(m.name) {
			continue
		}
		cost, err := s.cost(m.op)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		f := measure(m.name, b.workers, b.each, m.op)
		fmt.Println(f.row(&m.limit) + "   (" + cost + ")")
		if f.failures > 0 {
			return fmt.Errorf("%s: %d requests failed: %w", m.name, f.failures, f.last)
		}
	}
	if err := b.manyKeys(ctx, url, s, l.plain); err != nil {
		return err
	}
	fmt.Println()
	return nil
}

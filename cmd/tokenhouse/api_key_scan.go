package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokenhouse/tokenhouse/keys/apikeys"
)

// Bounds of a report of what was found.
const (
	reportBatch   = 500 // keys in one request
	reportTimeout = 30 * time.Second
)

func (p *process) apiKeyScanCommand() *cobra.Command {
	c := outputFlag(&cobra.Command{
		Use: "scan PATH…", Short: "Find API keys in files, without asking any server",
		Long: `Reads files and everything below directories, and tells where API keys stand in
them: hidden and ignored files too, binary files, files of any size. The checksum
in each key tells it from what only looks like one. Keys that another system made
and that were imported have no form of ours and are not found. Links are not
followed, what is compressed is not looked into, and neither is .git/objects.

The exit code is 1 where a key was found or a file could not be read. Keys are
shown without their secret. With --report they are revoked at once.`,
		Example: `  tokenhouse api-key scan .
  git log -p --all | tokenhouse api-key scan -
  tokenhouse api-key scan --report https://tokens.example.com /var/log`,
		RunE: func(c *cobra.Command, args []string) error { return p.scanForKeys(c.Context(), c, args) },
		Args: cobra.MinimumNArgs(1),
	})
	c.Flags().String("prefix", "", "what the keys begin with; any where left out")
	c.Flags().String("report", "", "URL of a token server: report to it what is found")
	return c
}

// keyScan is one run of the scanner.
type keyScan struct {
	p      *process
	prefix string
	out    io.Writer
	json   bool
	bar    *progress
	report *leakReport // nil where nothing is reported

	found, failed int
}

func (p *process) scanForKeys(ctx context.Context, c *cobra.Command, paths []string) error {
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	s := &keyScan{p: p, out: c.OutOrStdout(), json: asJSON, bar: p.progress("files")}
	s.prefix, _ = c.Flags().GetString("prefix")
	if s.prefix = strings.TrimSuffix(s.prefix, "_"); s.prefix != "" {
		if err := apikeys.CheckPrefix(s.prefix); err != nil {
			return err
		}
	}
	if url, _ := c.Flags().GetString("report"); url != "" {
		s.report = &leakReport{url: strings.TrimSuffix(url, "/") + "/api/v1/leaked-keys", told: map[string]bool{}}
	}
	for _, path := range paths {
		if err := s.look(ctx, path); err != nil {
			return err
		}
	}
	s.bar.done()
	if s.report != nil {
		if err := s.report.flush(ctx); err != nil {
			return err
		}
		fmt.Fprintf(p.Stderr, "%s reported to %s\n", plural(len(s.report.told), "key"), s.report.url)
	}
	if s.found+s.failed > 0 {
		return errSilent
	}
	return nil
}

// look scans a file, standard input, or everything below a directory.
func (s *keyScan) look(ctx context.Context, path string) error {
	if path == "-" {
		return s.scan(ctx, "-", s.p.Stdin)
	}
	info, err := os.Stat(path)
	if err != nil {
		return s.unreadable(path, err)
	}
	if !info.IsDir() {
		return s.file(ctx, path)
	}
	// With the separator a link to a directory is followed where it was asked for.
	return filepath.WalkDir(path+string(filepath.Separator), func(path string, d fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return s.unreadable(path, err)
		case d.IsDir() && d.Name() == "objects" && filepath.Base(filepath.Dir(path)) == ".git":
			return fs.SkipDir
		case !d.Type().IsRegular(): // links, which may lead round in circles; pipes and devices, which may never end
			return nil
		}
		return s.file(ctx, path)
	})
}

func (s *keyScan) unreadable(path string, err error) error {
	s.failed++
	var pe *os.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	_, err = fmt.Fprintf(s.p.Stderr, "%s: it cannot be read: %v\n", oneLine(path), err)
	return err
}

func (s *keyScan) file(ctx context.Context, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return s.unreadable(path, err)
	}
	defer func() { _ = f.Close() }() // only read
	return s.scan(ctx, path, f)
}

// scan looks through one stream, and ends early with ctx.
func (s *keyScan) scan(ctx context.Context, path string, r io.Reader) error {
	var failed error
	err := apikeys.Scan(untilDone{ctx, r}, s.prefix, func(f apikeys.Found) {
		if failed == nil {
			failed = s.tell(ctx, path, f)
		}
	})
	s.bar.add(1)
	switch {
	case failed != nil || ctx.Err() != nil:
		return errors.Join(failed, ctx.Err())
	case err != nil:
		return s.unreadable(path, err)
	default:
		return nil
	}
}

func (s *keyScan) tell(ctx context.Context, path string, f apikeys.Found) (err error) {
	s.found++
	if s.json {
		err = json.NewEncoder(s.out).Encode(map[string]any{"path": path, "line": f.Line, "hint": f.Hint()})
	} else {
		_, err = fmt.Fprintf(s.out, "%s:%d: %s\n", oneLine(path), f.Line, f.Hint())
	}
	if err == nil && s.report != nil {
		err = s.report.add(ctx, f)
	}
	return err
}

// untilDone is a reader that fails when ctx has ended.
type untilDone struct {
	ctx context.Context
	r   io.Reader
}

func (u untilDone) Read(b []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.r.Read(b)
}

// leakReport tells a token server of keys, each once.
type leakReport struct {
	url  string
	told map[string]bool
	keys []string // not sent yet
}

func (l *leakReport) add(ctx context.Context, f apikeys.Found) error {
	key := f.Credential.Reveal()
	if l.told[key] {
		return nil
	}
	l.told[key] = true
	if l.keys = append(l.keys, key); len(l.keys) < reportBatch {
		return nil
	}
	return l.flush(ctx)
}

func (l *leakReport) flush(ctx context.Context) error {
	if len(l.keys) == 0 {
		return nil
	}
	body, err := json.Marshal(map[string]any{"keys": l.keys, "source": "tokenhouse api-key scan"})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("the keys were not reported: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusAccepted {
		return fmt.Errorf("the keys were not reported: %s answered %s", l.url, res.Status)
	}
	l.keys = nil
	return nil
}

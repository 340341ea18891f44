package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokenhouse/tokenhouse/audit"
)

const (
	// maxJWKS bounds a JWK Set, in bytes.
	maxJWKS = 1 << 20
	// jwksTimeout is how long a server may take to give it.
	jwksTimeout = 10 * time.Second
)

func (p *process) auditVerifyCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "verify FILE --jwks FILE|URL",
		Short: "Prove an export of the audit log, or name the first line that is wrong",
		Long: `Proves that an export has everything the log had, unchanged and in its order, and
names the first line that is wrong. FILE may be - for standard input, and may be
several exports one after another. Needs neither the database nor a
configuration, and with --jwks FILE no network: the JWK Set is what the server
publishes at /.well-known/jwks.json. Keep a copy of it beside an export: keys
that sign no more are not published for ever. --jwks may be given several times.

Places of events that retention removed are accepted where the log itself tells
that it removed them, and nowhere else.`,
		Example: `  tokenhouse audit verify audit.ndjson --jwks jwks.json
  tokenhouse audit export | tokenhouse audit verify - --jwks https://auth.example.com/.well-known/jwks.json`,
		Args: cobra.ExactArgs(1),
		RunE: p.verifyAudit,
	}
	c.Flags().StringArray("jwks", nil, "file or URL of the JWK Set that the checkpoints are signed by")
	c.Flags().String("issuer", "", "URL of the server that must have signed; any one where it is left out")
	_ = c.MarkFlagRequired("jwks") // fails where the flag does not exist
	return c
}

func (p *process) verifyAudit(c *cobra.Command, args []string) error {
	sources, _ := c.Flags().GetStringArray("jwks")
	issuer, _ := c.Flags().GetString("issuer")
	v := audit.Verifier{Issuer: issuer}
	for _, from := range sources {
		jwks, err := readSource(c.Context(), from)
		if err == nil {
			err = v.Trust(jwks)
		}
		if err != nil {
			return fmt.Errorf("the JWK Set %s: %w", from, err)
		}
	}
	in := p.Stdin
	if args[0] != "-" {
		f, err := os.Open(args[0])
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	bar := p.progress("lines")
	v.Progress = func(lines int64) { bar.add(int(lines) - bar.n) }
	r, err := v.Verify(in)
	bar.add(int(r.Lines) - bar.n)
	bar.done()
	var wrong *audit.LineError
	if errors.As(err, &wrong) {
		return fmt.Errorf("%s does not hold: %w", args[0], wrong)
	}
	if err != nil {
		return err
	}
	return p.tellVerified(r)
}

// tellVerified says what was proved, and what was not.
func (p *process) tellVerified(r audit.Report) error {
	whose := "the whole deployment"
	switch {
	case r.Org != nil && *r.Org == "":
		whose = "the deployment itself"
	case r.Org != nil:
		whose = "organisation " + string(*r.Org)
	}
	fmt.Fprintf(p.Stdout, "✓ the log of %s of %s holds up to %s: %s in %s, %s\n", whose, r.Issuer, r.Closed.Format(time.RFC3339),
		plural(int(r.Events), "event"), plural(r.Shards, "chain"), plural(int(r.Checkpoints), "checkpoint"))
	if r.After > 0 {
		fmt.Fprintf(p.Stdout, "  it begins after place %d; what came before is not in the file\n", r.After)
	}
	if r.Pruned > 0 {
		fmt.Fprintf(p.Stdout, "  retention removed %s, as the log tells\n", plural(int(r.Pruned), "event"))
	}
	if r.Unknown > 0 {
		fmt.Fprintf(p.Stdout, "  %s signed by keys that the JWK Set does not have: they prove nothing, those after them do\n", plural(int(r.Unknown), "checkpoint"))
	}
	return nil
}

func readSource(ctx context.Context, from string) ([]byte, error) {
	if !strings.HasPrefix(from, "https://") && !strings.HasPrefix(from, "http://") {
		return os.ReadFile(from)
	}
	ask, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, err
	}
	client := &http.Client{Timeout: jwksTimeout}
	answer, err := client.Do(ask)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %s", from, answer.Status)
	}
	return io.ReadAll(io.LimitReader(answer.Body, maxJWKS))
}

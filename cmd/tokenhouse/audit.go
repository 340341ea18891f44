package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/house"
)

func (p *process) auditCommand() *cobra.Command {
	export := &cobra.Command{
		Use:   "export",
		Short: "Write the audit log, oldest first, one JSON object a line, so that it can be proved",
		Long: `Writes the audit log to standard output as NDJSON: of the whole deployment, or of
one organisation with --org. Every event has its place in a chain of hashes;
between them stand signed checkpoints. The last line is signed and tells that
the export is complete; give its "through" to --after to go on from there.
"tokenhouse audit verify" proves what was written, without the database.`,
		Example: `  tokenhouse audit export >audit.ndjson
  tokenhouse audit export --after "$(tail -n 1 audit.ndjson | jq .through)" >>audit.ndjson
  tokenhouse audit verify audit.ndjson --jwks https://auth.example.com/.well-known/jwks.json`,
		RunE: func(c *cobra.Command, _ []string) error {
			return p.withHouse(c, func(ctx context.Context, h *house.House) error { return p.exportAudit(ctx, c, h) })
		},
	}
	export.Flags().Int64("after", 0, `begin after this place: the "through" of an earlier export`)
	export.Flags().String("org", "", "slug of the organisation; the whole deployment where it is left out")
	return group("audit", "Read and prove the audit log", export, p.auditVerifyCommand(), p.auditTailCommand())
}

func (p *process) exportAudit(ctx context.Context, c *cobra.Command, h *house.House) error {
	after, _ := c.Flags().GetInt64("after")
	if after < 0 {
		return fmt.Errorf("--after is a place in the log: %d is none", after)
	}
	extent, err := p.auditExtent(ctx, c, h)
	if err != nil {
		return err
	}
	extent.After = after
	bar := p.progress("events")
	if _, err := h.AuditSealer().Export(ctx, p.Stdout, extent, bar.add); err != nil {
		return err
	}
	bar.done()
	return nil
}

// auditExtent is the whole deployment, or the organisation that --org names.
func (p *process) auditExtent(ctx context.Context, c *cobra.Command, h *house.House) (audit.Extent, error) {
	if slug, _ := c.Flags().GetString("org"); slug == "" {
		return audit.Extent{}, nil
	}
	caller, err := p.caller(ctx, c, h)
	return audit.Extent{Org: &caller.Org}, err
}

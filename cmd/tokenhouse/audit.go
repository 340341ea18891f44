package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/storage"
)

// exportBatch is how many events are read at once.
const exportBatch = 1000

func (p *process) auditCommand() *cobra.Command {
	export := &cobra.Command{
		Use:   "export",
		Short: "Write the audit log of the whole deployment, oldest first, one JSON object a line",
		Long: `Writes the audit log to standard output as NDJSON. Each line has a seq that grows;
give the last one to --after to go on from there.`,
		Example: `  tokenhouse audit export >audit.ndjson
  tokenhouse audit export --after "$(tail -n 1 audit.ndjson | jq .seq)" >>audit.ndjson`,
		RunE: func(c *cobra.Command, _ []string) error {
			after, _ := c.Flags().GetInt64("after")
			return p.withDatabase(c, func(ctx context.Context, db storage.Backend) error { return p.exportAudit(ctx, db, after) })
		},
	}
	export.Flags().Int64("after", 0, "begin after the event of this seq")
	return group("audit", "Read the audit log", export)
}

func (p *process) exportAudit(ctx context.Context, db storage.Backend, after int64) error {
	switch n, err := pending(ctx, db); {
	case err != nil:
		return err
	case n > 0:
		return fmt.Errorf("the database lacks %s; start the server once, or run tokenhouse migrate up", plural(n, "migration"))
	}
	out := bufio.NewWriter(p.Stdout)
	lines := json.NewEncoder(out)
	lines.SetEscapeHTML(false)
	bar := p.progress("events")
	for {
		events, err := db.Audit().Export(ctx, after, exportBatch)
		if err != nil {
			return errors.Join(err, out.Flush())
		}
		for _, e := range events {
			if err := lines.Encode(audit.LineOf(e)); err != nil {
				return err
			}
			after = e.Seq
		}
		bar.add(len(events))
		if len(events) < exportBatch {
			bar.done()
			return out.Flush()
		}
	}
}

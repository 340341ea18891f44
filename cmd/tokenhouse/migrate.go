package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/storage"
)

func (p *process) migrateCommand() *cobra.Command {
	up := &cobra.Command{
		Use:   "up",
		Short: "Bring the database up to this release",
		Long: `Applies the migrations that are missing. serve does so by itself; this is for
those who want it to happen before. The previous release runs beside the new schema.`,
		Example: "  tokenhouse migrate up --config /etc/tokenhouse/tokenhouse.yaml",
		RunE: func(c *cobra.Command, _ []string) error {
			return p.withDatabase(c, func(ctx context.Context, db storage.Backend) error {
				before, err := pending(ctx, db)
				if err != nil {
					return err
				}
				if err := db.Migrate(ctx); err != nil {
					return err
				}
				fmt.Fprintf(p.Stdout, "%s applied; the database is up to date\n", plural(before, "migration"))
				return nil
			})
		},
	}
	status := outputFlag(&cobra.Command{
		Use:     "status",
		Short:   "List the migrations and which of them the database has",
		Long:    "Lists the migrations. The exit code is 1 where one is missing, so that scripts can ask.",
		Example: "  tokenhouse migrate status --output json",
		RunE: func(c *cobra.Command, _ []string) error {
			return p.withDatabase(c, func(ctx context.Context, db storage.Backend) error { return p.migrationStatus(c, db) })
		},
	})
	return group("migrate", "Look at the schema of the database, and bring it up to date", up, status)
}

type migrationView struct {
	Version int64  `json:"version"`
	Name    string `json:"name"`
	Applied bool   `json:"applied"`
}

func (p *process) migrationStatus(c *cobra.Command, db storage.Backend) error {
	all, err := db.Migrations(c.Context())
	if err != nil {
		return err
	}
	views, missing := make([]migrationView, len(all)), 0
	for i, m := range all {
		views[i] = migrationView{m.Version, m.Name, m.Applied}
		if !m.Applied {
			missing++
		}
	}
	err = printList(c, views, func(v migrationView) migrationView { return v }, []column[migrationView]{
		{"version", func(v migrationView) string { return strconv.FormatInt(v.Version, 10) }},
		{"name", func(v migrationView) string { return v.Name }},
		{"applied", func(v migrationView) string { return map[bool]string{true: "yes", false: "no"}[v.Applied] }},
	})
	if err == nil && missing > 0 {
		return fmt.Errorf("%s missing; tokenhouse migrate up applies them, and so does serve", plural(missing, "migration"))
	}
	return err
}

func pending(ctx context.Context, db storage.Backend) (int, error) {
	all, err := db.Migrations(ctx)
	n := 0
	for _, m := range all {
		if !m.Applied {
			n++
		}
	}
	return n, err
}

// withDatabase opens the database alone, without touching its schema.
func (p *process) withDatabase(c *cobra.Command, do func(context.Context, storage.Backend) error) error {
	conf, err := p.configuration(c)
	if err != nil {
		return err
	}
	db, err := house.OpenDatabase(c.Context(), conf.House, p.env(conf.Log.quiet().logger(p.Stderr)))
	if err != nil {
		return err
	}
	return errors.Join(do(c.Context(), db), db.Close())
}

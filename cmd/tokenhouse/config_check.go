package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (p *process) configCommand() *cobra.Command {
	check := outputFlag(&cobra.Command{
		Use:   "check",
		Short: "Explain every mistake of the configuration at once",
		Long: `Reads the configuration just as serve does, starts nothing, and explains every
mistake: unknown settings, values out of range, settings that contradict each
other, secrets that others may read. The exit code is 1 where there is a mistake.`,
		Example: `  tokenhouse config check --config /etc/tokenhouse/tokenhouse.yaml
  TOKENHOUSE_ISSUER=https://tokens.example.com tokenhouse config check --output json`,
		Annotations: map[string]string{"settings": "all"},
		RunE:        p.checkConfig,
	})
	return group("config", "Look at the configuration", check)
}

// source is where the configuration of this command comes from.
func (p *process) source(c *cobra.Command) source {
	file, _ := c.Flags().GetString("config")
	return source{file: file, flags: c.Flags(), environ: p.Environ}
}

func (p *process) checkConfig(c *cobra.Command, _ []string) error {
	_, found := p.source(c).load()
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	if asJSON {
		if found == nil {
			found = []mistake{}
		}
		if err := printJSON(p.Stdout, found); err != nil {
			return err
		}
	} else {
		p.tell(found)
	}
	if mistakes(found) > 0 {
		return errSilent
	}
	return nil
}

// tell prints what was found, mistakes first.
func (p *process) tell(found []mistake) {
	for _, m := range found {
		if !m.Warning {
			fmt.Fprintln(p.Stdout, m)
		}
	}
	for _, m := range found {
		if m.Warning {
			fmt.Fprintln(p.Stdout, "warning: "+m.String())
		}
	}
	switch n := mistakes(found); n {
	case 0:
		fmt.Fprintln(p.Stdout, "The configuration is good.")
	case 1:
		fmt.Fprintln(p.Stdout, "1 mistake")
	default:
		fmt.Fprintf(p.Stdout, "%d mistakes\n", n)
	}
}

// mistakes counts what keeps the server from starting.
func mistakes(found []mistake) int {
	n := 0
	for _, m := range found {
		if !m.Warning {
			n++
		}
	}
	return n
}

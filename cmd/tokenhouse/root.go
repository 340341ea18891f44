package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tokenhouse/tokenhouse/internal/fault"
)

// errSilent ends a command with exit code 1 after it has said everything itself.
var errSilent = errors.New("the command failed")

// run executes one command and returns the exit code: 0 where it did what was
// asked, else 1.
func (p *process) run(ctx context.Context) int {
	root := p.root()
	root.SetArgs(p.Args)
	root.SetIn(p.Stdin)
	root.SetOut(p.Stdout)
	root.SetErr(p.Stderr)
	if err := root.ExecuteContext(ctx); err != nil {
		if !errors.Is(err, errSilent) {
			fmt.Fprintln(p.Stderr, "tokenhouse: "+explain(err))
		}
		return 1
	}
	return 0
}

func (p *process) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "tokenhouse",
		Short: "A token server: logins, sessions, API keys",
		Long: `tokenhouse logs people in, refreshes and revokes their sessions, and makes API keys.

Settings are flags, environment variables (TOKENHOUSE_ISSUER) or lines of a YAML
file (issuer: …) named by --config; flags win over variables, variables over the
file. "tokenhouse config check" explains every mistake at once.`,
		Example: `  tokenhouse serve --demo
  tokenhouse quickstart`,
		RunE:              func(c *cobra.Command, _ []string) error { return c.Help() },
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.PersistentFlags().String("config", "", "configuration file (YAML)")
	p.settingFlags(root)
	root.AddCommand(
		p.serveCommand(), p.configCommand(), p.migrateCommand(),
		p.orgCommand(), p.userCommand(), p.invitationCommand(), p.roleCommand(), p.serviceAccountCommand(),
		p.apiKeyCommand(), p.clientCommand(), p.signingKeyCommand(), p.masterKeyCommand(), p.sessionCommand(), p.auditCommand(), p.explainCommand(), p.webhookCommand(),
		p.quickstartCommand(), p.healthcheckCommand(), p.versionCommand(),
	)
	forEach(root, func(c *cobra.Command) { c.Args = refuseStray(c.Args) })
	root.SetUsageFunc(usageOf(root))
	return root
}

// settingFlags adds a flag for each setting that is no secret.
func (p *process) settingFlags(root *cobra.Command) {
	for _, s := range settings() {
		if s.secret {
			continue
		}
		if s.toggle {
			root.PersistentFlags().Bool(s.flag(), false, s.help)
		} else {
			root.PersistentFlags().String(s.flag(), "", s.usage())
		}
	}
}

// everywhere are the settings whose flags every help shows.
var everywhere = []string{"config", "database-url", "data-dir", "master-key-file"}

// usageOf keeps the help of a command to what concerns it: all settings can be
// given as flags to every command, but only serve and config check list them.
func usageOf(root *cobra.Command) func(*cobra.Command) error {
	plain := root.UsageFunc()
	return func(c *cobra.Command) error {
		defer showFlags(c, c.Annotations["settings"] == "all")()
		return plain(c)
	}
}

func showFlags(c *cobra.Command, all bool) (restore func()) {
	flags := c.Root().PersistentFlags()
	show := func(hide bool) {
		for _, s := range settings() {
			if f := flags.Lookup(s.flag()); f != nil {
				f.Hidden = hide && !all && !slices.Contains(everywhere, f.Name)
			}
		}
	}
	show(true)
	return func() { show(false) }
}

func forEach(c *cobra.Command, do func(*cobra.Command)) {
	do(c)
	for _, sub := range c.Commands() {
		forEach(sub, do)
	}
}

// refuseStray makes a command without an argument rule of its own refuse
// arguments instead of ignoring them.
func refuseStray(rule cobra.PositionalArgs) cobra.PositionalArgs {
	if rule != nil {
		return rule
	}
	return func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		if c.HasSubCommands() {
			text := fmt.Sprintf("there is no command %q", c.CommandPath()+" "+args[0])
			if near := c.SuggestionsFor(args[0]); len(near) > 0 {
				text += "; did you mean " + strings.Join(near, " or ") + "?"
			}
			return errors.New(text)
		}
		return fmt.Errorf("%s takes no argument %q; see %s --help", c.CommandPath(), args[0], c.CommandPath())
	}
}

// group is a command that only has others.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(commands...)
	return c
}

// explain is the text of an error for whoever typed the command. What wraps a
// fault says what was being done; the fault says what is wrong.
func explain(err error) string {
	var f *fault.Error
	if !errors.As(err, &f) {
		return err.Error()
	}
	doing := strings.TrimSuffix(err.Error(), f.Error())
	if len(f.Fields) > 0 {
		var lines []string
		for _, field := range f.Fields {
			lines = append(lines, field.Name+": "+field.Detail)
		}
		return doing + strings.Join(lines, "\n            ")
	}
	s := f.Detail
	if s == "" {
		s = string(f.Code)
	}
	if f.Cause != nil {
		s += " (" + f.Cause.Error() + ")"
	}
	return doing + s
}

package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tokenhouse/tokenhouse/keys/apikeys"
)

func (p *process) scannerRulesCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "scanner-rules", Short: "Print rules that have other secret scanners find the keys of this deployment",
		Long: `Prints rules for the prefix of this deployment: a configuration for gitleaks, one
for trufflehog, or the bare regular expression, which GitHub and GitLab take as a
custom pattern.`,
		Example: `  tokenhouse api-key scanner-rules > .gitleaks.toml
  tokenhouse api-key scanner-rules --format regex --prefix acme_live`,
		RunE: func(c *cobra.Command, _ []string) error { return p.printScannerRules(c) },
	}
	c.Flags().String("format", "gitleaks", "gitleaks, trufflehog or regex")
	c.Flags().String("prefix", "", "what the keys begin with; that of the configuration where left out")
	return c
}

// scannerRules are the rules by format. %[1]s is the prefix, %[2]s the regular
// expression, %[3]s the prefix with hyphens.
var scannerRules = map[string]string{
	"regex": "%[2]s\n",
	"gitleaks": `title = "API keys that begin with %[1]s_"

[extend]
useDefault = true

[[rules]]
id = "%[3]s-api-key"
description = "API key (%[1]s_…). Report it to POST /api/v1/leaked-keys of its token server, which revokes it."
regex = '''%[2]s'''
secretGroup = 1
entropy = 3.5
keywords = ["%[1]s_"]
`,
	"trufflehog": `detectors:
  - name: %[3]s-api-key
    keywords:
      - %[1]s_
    regex:
      key: '%[2]s'
`,
}

func (p *process) printScannerRules(c *cobra.Command) error {
	format, _ := c.Flags().GetString("format")
	rules, ok := scannerRules[format]
	if !ok {
		return fmt.Errorf("--format %q: it is gitleaks, trufflehog or regex", format)
	}
	prefix, _ := c.Flags().GetString("prefix")
	if prefix = strings.TrimSuffix(prefix, "_"); prefix == "" {
		conf, err := p.configuration(c)
		if err != nil {
			return err
		}
		prefix = conf.House.APIKeys.Prefix
	}
	if err := apikeys.CheckPrefix(prefix); err != nil {
		return err
	}
	words := slices.DeleteFunc(strings.Split(prefix, "_"), func(w string) bool { return w == "" })
	_, err := fmt.Fprintf(c.OutOrStdout(), rules, prefix, apikeys.Pattern(prefix), strings.Join(words, "-"))
	return err
}

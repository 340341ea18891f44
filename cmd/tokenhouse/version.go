package main

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func (p *process) versionCommand() *cobra.Command {
	return outputFlag(&cobra.Command{
		Use:     "version",
		Short:   "Say which release this is",
		Example: "  tokenhouse version --output json",
		RunE: func(c *cobra.Command, _ []string) error {
			commit := revision()
			return printThing(c, struct {
				Version string `json:"version"`
				Commit  string `json:"commit,omitempty"`
				Go      string `json:"go"`
			}{version, commit, runtime.Version()},
				field{"tokenhouse", version}, field{"commit", commit}, field{"go", runtime.Version()})
		},
	})
}

// revision is the commit that the build was made from, where the toolchain knows it.
func revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return ""
}

package house

import (
	"slices"

	"github.com/tokenhouse/tokenhouse/server/console/shell"
)

// Console is every page of the console, each package with the services it shows.
func (h *House) Console() shell.Console {
	return shell.Console{Routes: slices.Concat[[]shell.Route]()}
}

// consolePaths are the addresses of the console's pages, for the metrics.
func consolePaths() []string {
	var out []string
	for _, r := range slices.Concat[[]shell.Route]() {
		out = append(out, r.Path)
	}
	return out
}

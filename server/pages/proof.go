package pages

import "strings"

// Proof is what the login page asks of strangers besides the password, at an
// account that many failed at: work of their browser, or the puzzle of a provider.
type Proof struct {
	Challenge string
	Bits      int     // of work
	Puzzle    *Puzzle // nil: work
	Mailed    bool    // whether the owner of the account, if it has one, was mailed a link
	Wait      string  // after which nothing is asked for any more; empty: it is not known
}

// Puzzle is how a provider's puzzle gets into a page. The zero Puzzle is none.
type Puzzle struct {
	Class, SiteKey string // of the element that the script looks for
	Script         string // its address
	Field          string // of the form, which the script adds

	// Sources of a Content-Security-Policy that the puzzle loads from.
	Scripts, Frames, Styles, Connections []string
}

// policy is the part of a Content-Security-Policy about what the page loads: our
// own script and its worker, or what the provider lists.
func (p *Proof) policy() string {
	if p.Puzzle == nil {
		return "style-src 'self'; script-src 'self'; worker-src 'self'; "
	}
	out := "style-src " + strings.Join(append([]string{"'self'"}, p.Puzzle.Styles...), " ") + "; "
	for _, d := range []struct {
		name    string
		sources []string
	}{{"script-src", p.Puzzle.Scripts}, {"frame-src", p.Puzzle.Frames}, {"connect-src", p.Puzzle.Connections}} {
		if len(d.sources) > 0 {
			out += d.name + " " + strings.Join(d.sources, " ") + "; "
		}
	}
	return out
}

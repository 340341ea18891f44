package main

import (
	"fmt"
	"io"
	"time"
)

// progress counts long work on one line of a terminal; elsewhere it is silent.
type progress struct {
	w    io.Writer
	what string
	now  func() time.Time
	last time.Time
	n    int
}

// every is how often the line is drawn again.
const every = 100 * time.Millisecond

func (p *process) progress(what string) *progress {
	if !terminal(p.Stderr) {
		return &progress{w: io.Discard, now: p.Now}
	}
	return &progress{w: p.Stderr, what: what, now: p.Now}
}

// add says that n more are done.
func (g *progress) add(n int) {
	g.n += n
	if now := g.now(); now.Sub(g.last) >= every {
		g.last = now
		fmt.Fprintf(g.w, "\r%d %s", g.n, g.what)
	}
}

// done ends the line.
func (g *progress) done() { fmt.Fprintf(g.w, "\r%d %s\n", g.n, g.what) }

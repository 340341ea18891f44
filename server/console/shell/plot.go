package shell

import (
	"fmt"
	"strings"
	"time"
)

// Plot is counts over time, as stacked bars, with the same as a table for who
// does not see them. Show it with {{template "plot" .}}.
type Plot struct {
	ID     string // of the page's; letters and hyphens
	Title  string
	Unit   string // of what is counted, many of it: "logins"
	From   time.Time
	Step   time.Duration // of one bar; positive
	Series []Series      // at most 6
	// Nothing is shown instead where there is nothing to see.
	Nothing string
}

// Series is one count over time, a value for each step.
type Series struct {
	Name   string
	Values []int64
}

// Total is the sum of the values.
func (s Series) Total() int64 {
	var n int64
	for _, v := range s.Values {
		n += v
	}
	return n
}

// Bar is a part of the picture.
type Bar struct {
	Series   int
	D, Title string
}

// Mark is one step of the picture: bars on each other.
type Mark struct{ Bars []Bar }

// Line is one step of the table.
type Line struct {
	At     time.Time
	Values []int64
}

// The picture's own units; it is stretched to the width of the page.
const (
	plotWidth, plotHeight = 720, 160
	plotGrid              = 4
)

// Width is the picture's.
func (Plot) Width() int { return plotWidth }

// Height is the picture's.
func (Plot) Height() int { return plotHeight }

// Class is the class of the n-th series.
func (Plot) Class(n int) string { return fmt.Sprintf("series-%d", n%6+1) }

// Steps is how many there are.
func (p Plot) Steps() int {
	n := 0
	for _, s := range p.Series {
		n = max(n, len(s.Values))
	}
	return n
}

// Until is the end of the last step.
func (p Plot) Until() time.Time { return p.From.Add(time.Duration(p.Steps()) * p.Step) }

// Top is the height of the picture: the highest step, rounded up to 1, 2 or 5
// of its power of ten.
func (p Plot) Top() int64 {
	var most int64
	for i := range p.Steps() {
		most = max(most, p.sum(i))
	}
	for unit := int64(1); unit < 1<<60; unit *= 10 {
		for _, m := range []int64{1, 2, 5} {
			if unit*m >= most {
				return unit * m
			}
		}
	}
	return most
}

func (p Plot) sum(i int) int64 {
	var n int64
	for _, s := range p.Series {
		if i < len(s.Values) {
			n += s.Values[i]
		}
	}
	return n
}

// Total says how many there are in all.
func (p Plot) Total() string {
	var n int64
	for _, s := range p.Series {
		n += s.Total()
	}
	return strings.TrimSpace(Count(n) + " " + p.Unit)
}

// Summary says the picture in words.
func (p Plot) Summary() string {
	parts := make([]string, len(p.Series))
	for i, s := range p.Series {
		parts[i] = s.Name + ": " + Count(s.Total())
	}
	return fmt.Sprintf("From %s to %s, in all %s. %s.", p.From.UTC().Format("2 Jan 15:04"), p.Until().UTC().Format("2 Jan 15:04"), p.Total(), strings.Join(parts, ", "))
}

// Grid are lines at each quarter.
func (p Plot) Grid() []string {
	var out []string
	for i := range plotGrid {
		out = append(out, fmt.Sprintf("M0 %dH%d", plotHeight*i/plotGrid, plotWidth))
	}
	return out
}

// Marks are the bars, each step's on each other.
func (p Plot) Marks() []Mark {
	n, top := p.Steps(), float64(p.Top())
	if n == 0 {
		return nil
	}
	wide := float64(plotWidth) / float64(n)
	gap := min(wide/4, 3)
	out := make([]Mark, 0, n)
	for i := range n {
		at, m := float64(plotHeight), Mark{}
		for k, s := range p.Series {
			if i >= len(s.Values) || s.Values[i] <= 0 {
				continue
			}
			high := max(float64(s.Values[i])/top*plotHeight, 1)
			m.Bars = append(m.Bars, Bar{
				Series: k, D: fmt.Sprintf("M%.1f %.1fh%.1fv%.1fh-%.1fz", float64(i)*wide+gap/2, at, wide-gap, -high, wide-gap),
				Title: fmt.Sprintf("%s, %s: %s", p.From.Add(time.Duration(i)*p.Step).UTC().Format("2 Jan 15:04")+" UTC", s.Name, Count(s.Values[i])),
			})
			at -= high
		}
		out = append(out, m)
	}
	return out
}

// Table is the picture in numbers, the newest first; steps without any are left
// out.
func (p Plot) Table() []Line {
	var out []Line
	for i := p.Steps() - 1; i >= 0; i-- {
		if p.sum(i) == 0 {
			continue
		}
		l := Line{At: p.From.Add(time.Duration(i) * p.Step)}
		for _, s := range p.Series {
			v := int64(0)
			if i < len(s.Values) {
				v = s.Values[i]
			}
			l.Values = append(l.Values, v)
		}
		out = append(out, l)
	}
	return out
}

package shell

import (
	"time"

	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// Table is a list of things. On a phone each row is a card. Show it with
// {{template "table" .}}.
type Table struct {
	Caption string // for who cannot see the page
	Columns []string
	Rows    []Row
	Paging
	Empty Empty // shown where there are no rows
	// ID is set where htmx replaces the table.
	ID string
}

// Row is one thing: a cell for each column, and what can be done to it.
type Row struct {
	Cells   []Cell
	Actions []Link
	ID      string
}

// Cell is one value. The first of Link, Badge, Time, Code that is set says how
// it looks.
type Cell struct {
	Text string
	Soft string    // a second line
	Link string    // Text leads there
	Tone string    // Text is a badge: "good", "bad", "wait" or "plain"
	Time time.Time // in the viewer's zone; with Text, what it is: "expired"
	Code bool      // Text is for machines
	Long bool      // Text may break anywhere
	Num  bool      // Text is a number
}

// Text is a cell of text, Code one for machines; When a time, for which never
// stands where there is none.
func Text(s string) Cell { return Cell{Text: s} }

// Code is a cell for machines.
func Code(s string) Cell { return Cell{Text: s, Code: true} }

// Badge is a cell that says a state; tone is "good", "bad", "wait" or "plain".
func Badge(text, tone string) Cell { return Cell{Text: text, Tone: tone} }

// Named is a cell that leads to its thing.
func Named(text, to string) Cell { return Cell{Text: text, Link: to} }

// When is a cell with a time; never stands where there is none.
func When(t time.Time, never string) Cell {
	if t.IsZero() {
		return Cell{Text: never}
	}
	return Cell{Time: t}
}

// Empty is shown instead of an empty list: what would be here, and what to do
// next.
type Empty struct {
	Title, Text string
	Action      Link
}

// Fact is a label and its value. Show several with {{template "facts" .}}.
type Fact struct {
	Label string
	Cell
}

// Confirm asks before something that cannot be undone.
type Confirm struct {
	Title    string   // a question: "Revoke this key?"
	Lead     string   // what will happen
	Effects  []string // more of it, one sentence each
	Facts    []Fact   // what it will happen to
	Form     Form     // its Submit says what it does: "Revoke key"
	Back     Link
	Problem  error
	Harmless bool // the button looks as any other
}

// Secret is shown once.
type Secret struct {
	Title string
	Lead  string // what it is for
	Label string // "API key"
	Value secret.Plain
	More  []Secret // others that were made with it: Label and Value
	Facts []Fact
	Use   string // a command that uses it, without it; may be empty
	Done  Link
}

// Copyable is text that a button copies, where there are scripts.
type Copyable struct{ ID, Text string }

// Shown is the secret for the page that shows it. Nothing else reveals one.
func (s Secret) Shown(id string) Copyable { return Copyable{ID: id, Text: s.Value.Reveal()} }

// HasActions reports whether any row has one.
func (t Table) HasActions() bool {
	for _, r := range t.Rows {
		if len(r.Actions) > 0 {
			return true
		}
	}
	return false
}

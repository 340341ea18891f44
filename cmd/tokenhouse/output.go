package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"
)

// outputFlag adds --output to a command that prints things.
func outputFlag(c *cobra.Command) *cobra.Command {
	c.Flags().String("output", "table", "table or json")
	return c
}

// column is one column of a table: its head, and what it shows of a thing.
type column[T any] struct {
	head string
	of   func(T) string
}

// printList prints things in the way that --output asks for: a table for
// people, or a JSON array of views for programs.
func printList[T, V any](c *cobra.Command, things []T, view func(T) V, columns []column[T]) error {
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	if asJSON {
		views := make([]V, len(things))
		for i, t := range things {
			views[i] = view(t)
		}
		return printJSON(c.OutOrStdout(), views)
	}
	w := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
	heads := make([]string, len(columns))
	for i, col := range columns {
		heads[i] = strings.ToUpper(col.head)
	}
	fmt.Fprintln(w, strings.Join(heads, "\t"))
	for _, t := range things {
		cells := make([]string, len(columns))
		for i, col := range columns {
			cells[i] = orDash(oneLine(col.of(t)))
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	return w.Flush()
}

// field is one line of what was made or changed.
type field struct{ name, value string }

// printThing prints one thing: as JSON, or as lines of name and value.
func printThing(c *cobra.Command, view any, lines ...field) error {
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(c.OutOrStdout(), view)
	}
	w := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
	for _, l := range lines {
		fmt.Fprintln(w, l.name+"\t"+orDash(oneLine(l.value)))
	}
	return w.Flush()
}

func wantsJSON(c *cobra.Command) (bool, error) {
	switch v, _ := c.Flags().GetString("output"); v {
	case "json":
		return true, nil
	case "table", "":
		return false, nil
	default:
		return false, fmt.Errorf("--output %q: it is table or json", v)
	}
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// oneLine keeps a name that somebody chose from moving the cursor of a terminal.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// stamp is RFC 3339 in UTC, or nothing for the zero time.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

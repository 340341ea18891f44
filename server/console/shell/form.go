package shell

import (
	"slices"
	"strconv"
	"strings"

	"github.com/tokenhouse/tokenhouse/internal/fault"
)

// Form is a form to fill in. Make one with Visit.Post and show it with
// {{template "form" .}}, or as the Form of a View.
type Form struct {
	Action string // a path of ours
	Token  string
	Fields []Field
	Submit string // what its button says: a verb and its thing, "Create key"
	Danger bool   // the button does what cannot be undone
	Cancel string // where to go instead
	Get    bool   // a filter: sent as a query, without token
}

// Field is one field of a form. Name is the name that the domain's failures
// give it, so that a refusal is shown beside it.
type Field struct {
	Name, Label string
	// Kind is "text" where empty; or "email", "password", "number", "url", "search",
	// "datetime-local", "date", "textarea", "select", "radio", "checkbox" (one), "checkboxes" (many) or "hidden".
	Kind         string
	Value        string // of a checkbox: "on" where it is on
	Hint         string // what would be right, before anything is wrong
	Problem      string // what is wrong
	Choices      []Choice
	Autocomplete string // a token of HTML: "new-password"; "off" where empty
	Required     bool
	Max          int    // characters; 0: no limit here
	Mono         bool   // read character by character
	Focus        bool   // where typing starts
	Extra        string // name of a script's hook: data-use="…"
}

// Choice is one thing to choose. Choices of one Group stand together.
type Choice struct {
	Value, Label, Hint string
	Group              string
	Chosen             bool
	Off                bool // shown, and not to be chosen
	id, field          string
}

// ID is the field's id in the page.
func (f Field) ID() string { return "f-" + f.Name }

// Describes is what aria-describedby holds; empty where nothing does.
func (f Field) Describes() string {
	var ids []string
	if f.Hint != "" {
		ids = append(ids, f.ID()+"-hint")
	}
	if f.Problem != "" {
		ids = append(ids, f.ID()+"-problem")
	}
	return strings.Join(ids, " ")
}

// Type is the type of an input.
func (f Field) Type() string {
	if f.Kind == "" {
		return "text"
	}
	return f.Kind
}

// Completes is the value of autocomplete.
func (f Field) Completes() string {
	if f.Autocomplete == "" {
		return "off"
	}
	return f.Autocomplete
}

// Groups are the choices by group, in the order they are given.
func (f Field) Groups() []Group {
	var out []Group
	for n, c := range f.Choices {
		i := slices.IndexFunc(out, func(g Group) bool { return g.Name == c.Group })
		if i < 0 {
			i, out = len(out), append(out, Group{Name: c.Group})
		}
		c.field = f.Name
		c.id = f.ID() + "-" + strconv.Itoa(n+1)
		out[i].Choices = append(out[i].Choices, c)
	}
	return out
}

// Group is choices that stand together.
type Group struct {
	Name    string
	Choices []Choice
}

// Again is the form as it was sent, with what was wrong beside its fields.
// Passwords are not sent back.
func (f Form) Again(v Visit, err error) Form {
	problems := map[string]string{}
	for _, p := range fault.Of(err).Fields {
		name := fieldName(p.Name)
		if problems[name] == "" {
			problems[name] = sentence(p.Detail)
		}
	}
	f.Fields = slices.Clone(f.Fields)
	for i := range f.Fields {
		f.Fields[i].again(v.Form, problems)
	}
	return f
}

func (f *Field) again(sent Values, problems map[string]string) {
	f.Problem, f.Focus = problems[f.Name], false
	switch f.Kind {
	case "password":
		f.Value = ""
	case "checkbox":
		f.Value = ""
		if sent.Has(f.Name) {
			f.Value = "on"
		}
	case "select", "radio", "checkboxes":
		f.Choices = slices.Clone(f.Choices)
		for i := range f.Choices {
			f.Choices[i].Chosen = slices.Contains(sent.All(f.Name), f.Choices[i].Value)
		}
	default:
		if sent.Has(f.Name) {
			f.Value = sent.Get(f.Name)
		}
	}
}

// fieldName is the field that a failure's path is of: "permissions" of
// "permissions[1]".
func fieldName(path string) string {
	if i := strings.IndexAny(path, "[."); i > 0 {
		return path[:i]
	}
	return path
}

// sentence begins with a capital and ends with a full stop.
func sentence(s string) string {
	if s == "" {
		return s
	}
	if strings.IndexByte("abcdefghijklmnopqrstuvwxyz", s[0]) >= 0 {
		s = strings.ToUpper(s[:1]) + s[1:]
	}
	if !strings.HasSuffix(s, ".") && !strings.HasSuffix(s, "!") && !strings.HasSuffix(s, "?") {
		s += "."
	}
	return s
}

// ID is the choice's id in the page.
func (c Choice) ID() string { return c.id }

// Field is the name of the field it is a choice of.
func (c Choice) Field() string { return c.field }

package shell

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/tokenhouse/tokenhouse/internal/fault"
)

// Console is every page together.
type Console struct{ Routes []Route }

func (c *Console) find(method, path string) (Route, bool) {
	i := slices.IndexFunc(c.Routes, func(r Route) bool { return r.Method == method && r.Path == path })
	if i < 0 {
		return Route{}, false
	}
	return c.Routes[i], true
}

// Frame is what a template sees: the page's own data as .Data, and of the visit
// what every page shows.
type Frame struct {
	View
	Name     string // of the template
	Visit    Visit
	Menu     []Section
	Problems *Problems // nil where nothing was refused
	Home     string    // where the name of the house leads
}

// Post is an empty form for a path of ours, whose parts may be given one by
// one: {{template "post" ($.Post "/console/webhooks/" .ID "/test")}} … </form>.
func (f Frame) Post(parts ...any) Form { return f.Visit.Post(fmt.Sprint(joined(parts)...)) }

// joined keeps fmt.Sprint from adding blanks.
func joined(parts []any) []any {
	text := ""
	for _, p := range parts {
		text += fmt.Sprint(p)
	}
	return []any{text}
}

// Problems is the summary above a form that was refused.
type Problems struct {
	Text   string // where no field is to blame
	Fields []Field
}

func problemsOf(f *fault.Error, form Form) *Problems {
	if f == nil {
		return nil
	}
	p := &Problems{}
	for _, b := range f.Fields {
		name := fieldName(b.Name)
		field := Field{Problem: sentence(b.Detail)}
		if i := slices.IndexFunc(form.Fields, func(have Field) bool { return have.Name == name }); i >= 0 {
			field.Name, field.Label = name, form.Fields[i].Label
		} else {
			field.Label = name
		}
		p.Fields = append(p.Fields, field)
	}
	if len(f.Fields) == 0 {
		p.Text = f.Detail
	}
	if p.Text == "" && len(p.Fields) == 0 {
		p.Text = refusals[f.Code]
	}
	return p
}

// refusals are for failures that bring no sentence of their own.
var refusals = map[fault.Code]string{
	fault.Conflict:           "Something changed in the meantime, so that this cannot be done now.",
	fault.RateLimited:        "That was too often. Please try again in a moment.",
	fault.InvalidCredentials: "The password is wrong.",
	fault.AccountLocked:      "There were too many failed attempts. Please try again later.",
	fault.Unavailable:        "The server is busy. Please try again in a moment.",
	fault.InvalidScope:       "Some permissions are unknown, or more than you may give.",
}

func (c *Console) render(r Reply, v Visit, problem *fault.Error) ([]byte, error) {
	f := Frame{View: r.view, Name: r.name, Visit: v, Problems: problemsOf(problem, r.view.Form), Home: "/settings"}
	entry := "layout"
	if r.fragment {
		entry = "content"
	} else {
		f.Menu = c.menu(v.Caller, v.Path)
		if len(f.Menu) > 0 && len(f.Menu[0].Items) > 0 {
			f.Home = f.Menu[0].Items[0].To
		}
	}
	return r.templates.execute(r.name, entry, f)
}

// Failure is a page that says that something cannot go on.
type Failure struct {
	Title, Text   string
	Code, Request string   // for who asks for help
	Required      []string // permissions that are lacking
	Wait          string   // how long, in words; empty: waiting does not help
}

// Fail renders a failure for somebody who is signed in.
func (c *Console) Fail(v Visit, f Failure) ([]byte, error) {
	return c.render(own.Show("failure.html", View{Title: f.Title, Data: f, Narrow: true}), v, nil)
}

func (t *Templates) execute(name, entry string, data any) ([]byte, error) {
	page, ok := t.pages[name]
	if !ok {
		return nil, fmt.Errorf("console: no template %q", name)
	}
	var out bytes.Buffer
	if err := page.ExecuteTemplate(&out, entry, data); err != nil {
		return nil, fmt.Errorf("render %s: %w", name, err)
	}
	return out.Bytes(), nil
}

package housetest

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// Page is a page as a Browser got it.
type Page struct {
	Reply
	URL      *url.URL // of the page, after all redirects
	Steps    []string // the requests that led here, the last one included: "POST /login"
	Trail    []Reply  // the answers to Steps
	Headings []string // the texts of h1 and h2
	Words    string   // what can be read, with single spaces
	Links    []*url.URL
	Forms    []Form

	ids map[string]string // what an element of an id says
}

// Form is a form of a page.
type Form struct {
	ID      string
	Action  *url.URL
	Method  string     // "GET" or "POST"
	Fields  url.Values // every named field that can be filled in or is hidden, with its value
	Buttons []Button
	Types   map[string]string // of the fields: "hidden", "email", "password", …
}

// Button sends its form.
type Button struct{ Name, Value, Text string }

// Has reports whether a form of the page has a field or a button of that name.
func (p Page) Has(name string) bool {
	return slices.ContainsFunc(p.Forms, func(f Form) bool { return f.has(name) })
}

// ID is the text of the element with that id; empty where there is none.
func (p Page) ID(id string) string { return p.ids[id] }

// Shows fails the test unless the page's first heading is as wanted.
func (p Page) Shows(heading string) Page {
	p.t.Helper()
	if len(p.Headings) == 0 || p.Headings[0] != heading {
		p.t.Fatalf("the page shows %q, want %q: %s", p.Headings, heading, p)
	}
	return p
}

// String shows the page in a message.
func (p Page) String() string {
	return fmt.Sprintf("%q -> %d %s %q\n%s", p.Steps, p.Status, p.URL, p.Headings, p.Words)
}

func (f Form) has(name string) bool {
	_, field := f.Fields[name]
	return field || slices.ContainsFunc(f.Buttons, func(b Button) bool { return b.Name == name })
}

// takes reports whether the form has all the fields, and buttons of these values.
func (f Form) takes(fields map[string]string) bool {
	for name, value := range fields {
		_, field := f.Fields[name]
		if !field && !slices.ContainsFunc(f.Buttons, func(b Button) bool { return b.Name == name && b.Value == value }) {
			return false
		}
	}
	return true
}

func (f Form) values(fields map[string]string) url.Values {
	out := maps.Clone(f.Fields)
	for name, value := range fields {
		out[name] = []string{value}
	}
	return out
}

// parse reads the markup. What is no HTML has none.
func (p *Page) parse(t testing.TB) {
	t.Helper()
	p.ids = map[string]string{}
	if !strings.HasPrefix(p.Header.Get("Content-Type"), "text/html") {
		return
	}
	root, err := html.Parse(bytes.NewReader(p.Body))
	if err != nil {
		t.Fatal(err)
	}
	p.Words = text(root)
	for n := range root.Descendants() {
		if n.Type == html.ElementNode {
			p.element(n)
		}
	}
}

func (p *Page) element(n *html.Node) {
	if id := attribute(n, "id"); id != "" {
		p.ids[id] = text(n)
	}
	switch n.Data {
	case "h1", "h2":
		p.Headings = append(p.Headings, text(n))
	case "a":
		if u, err := p.URL.Parse(attribute(n, "href")); err == nil {
			p.Links = append(p.Links, u)
		}
	case "form":
		p.Forms = append(p.Forms, p.formOf(n))
	}
}

func (p *Page) formOf(n *html.Node) Form {
	f := Form{ID: attribute(n, "id"), Method: http.MethodGet, Fields: url.Values{}, Types: map[string]string{}, Action: p.URL}
	if strings.EqualFold(attribute(n, "method"), "post") {
		f.Method = http.MethodPost
	}
	if u, err := p.URL.Parse(attribute(n, "action")); err == nil {
		f.Action = u
	}
	for d := range n.Descendants() {
		name, kind := attribute(d, "name"), attribute(d, "type")
		switch {
		case d.Type != html.ElementNode:
		case d.Data == "button" && (kind == "" || kind == "submit"):
			f.Buttons = append(f.Buttons, Button{name, attribute(d, "value"), text(d)})
		case d.Data == "input" && name != "" && (kind != "checkbox" && kind != "radio" || has(d, "checked")):
			f.Fields.Add(name, attribute(d, "value"))
			f.Types[name] = kind
		case d.Data == "textarea" && name != "" && d.FirstChild != nil:
			f.Fields.Add(name, d.FirstChild.Data)
			f.Types[name] = d.Data
		case d.Data == "textarea" && name != "":
			f.Fields.Add(name, "")
			f.Types[name] = d.Data
		case d.Data == "select" && name != "":
			f.Fields.Add(name, chosen(d))
			f.Types[name] = d.Data
		}
	}
	return f
}

// chosen is the value of the option that is selected: the first, where none says so.
func chosen(n *html.Node) string {
	value, found := "", false
	for d := range n.Descendants() {
		if d.Type == html.ElementNode && d.Data == "option" && (!found || has(d, "selected")) {
			value, found = attribute(d, "value"), true
		}
	}
	return value
}

func has(n *html.Node, name string) bool {
	return slices.ContainsFunc(n.Attr, func(a html.Attribute) bool { return a.Key == name })
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// text is what can be read in n, with single spaces.
func text(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode && d.Parent.Data != "style" && d.Parent.Data != "script" {
			b.WriteString(d.Data + " ")
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

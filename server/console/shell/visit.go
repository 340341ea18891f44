package shell

import (
	"net/url"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// FreshFor is how long an entered password stands for what is dangerous.
const FreshFor = 10 * time.Minute

// Visit is one person at one page. The server makes it; whoever is signed out
// comes no further than the login.
type Visit struct {
	Caller     ident.Caller // as the API would see this person
	User, Org  string       // names to show
	SignedInAt time.Time    // when the password was last entered
	Now        time.Time
	Path       string // as asked for
	Query      string // as asked for, without cursor
	Form       Values // of the query at GET, of the body at POST
	Partial    bool   // htmx asks, for a part of the page
	Notice     string // to show once
	Tools
	param func(string) string
}

// Tools are what the server lends to pages.
type Tools struct {
	// Token is what a form for that path of ours carries so that nobody else
	// can send it.
	Token func(path string) string
	// Seal and Open are the cursors of the list at this path and query.
	Seal func(before string) string
	Open func(cursor string) (before string, err error)
}

// WithParams returns the visit with the parameters of its path.
func (v Visit) WithParams(param func(string) string) Visit { v.param = param; return v }

// Param is a parameter of the path: "id" of "/console/webhooks/:id".
func (v Visit) Param(name string) string { return v.param(name) }

// Fresh reports whether the password was entered within FreshFor. A time in
// the future is none to trust.
func (v Visit) Fresh() bool {
	since := v.Now.Sub(v.SignedInAt)
	return since < FreshFor && since > -time.Minute
}

// Post is an empty form that is sent to that path of ours.
func (v Visit) Post(path string) Form { return Form{Action: path, Token: v.Token(path)} }

// self is the address of the page that is open, to come back to.
func (v Visit) self() string {
	if v.Query == "" {
		return v.Path
	}
	return v.Path + "?" + v.Query
}

func (v Visit) escapedSelf() string { return url.QueryEscape(v.self()) }

// Values are what was sent. A field was sent once, unless its route says Many.
type Values map[string][]string

// Get returns the value of a field, empty where it was not sent.
func (f Values) Get(name string) string {
	if vs := f[name]; len(vs) > 0 {
		return vs[0]
	}
	return ""
}

// Has reports whether the field was sent: a checkbox is on.
func (f Values) Has(name string) bool { return len(f[name]) > 0 }

// All returns every value of a field.
func (f Values) All(name string) []string { return f[name] }

// PageSize is how many rows a list shows at a time.
const PageSize = 25

// cursorName is the parameter that continues a list.
const cursorName = "after"

// Ask is what to ask the domain for: one row more than a page has, to know
// whether another follows. Hand the rows to Paged.
func (v Visit) Ask() (ident.Page, error) {
	p := ident.Page{Limit: PageSize + 1}
	cursor := v.Form.Get(cursorName)
	if cursor == "" || v.Open == nil {
		return p, nil
	}
	var err error
	if p.Before, err = v.Open(cursor); err != nil {
		return p, fault.Wrap(err, fault.InvalidCursor, "This link leads to a page of another list. Start again from its first page.")
	}
	return p, nil
}

// Paged cuts rows to one page. key is what the next page starts after: what the
// domain takes as ident.Page.Before.
func Paged[T any](v Visit, rows []T, key func(T) string) ([]T, Paging) {
	p := Paging{}
	if v.Form.Get(cursorName) != "" {
		p.First = v.self()
	}
	if len(rows) <= PageSize {
		return rows, p
	}
	next := cursorName + "=" + url.QueryEscape(v.Seal(key(rows[PageSize-1])))
	if v.Query != "" {
		next = v.Query + "&" + next
	}
	p.Next = v.Path + "?" + next
	return rows[:PageSize], p
}

// Paging leads through a list. An empty address leads nowhere.
type Paging struct{ First, Next string }

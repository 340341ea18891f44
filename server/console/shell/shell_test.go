package shell

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

var noon = time.Date(2030, 1, 31, 12, 0, 0, 0, time.UTC)

func visitOf(path string) Visit {
	return Visit{
		Caller: ident.Caller{Kind: ident.Person, User: "user_x", Permissions: scope.Of("things:read")}, User: "Ada Lovelace", Org: "Analytical Engines",
		SignedInAt: noon, Now: noon, Path: path, Form: Values{},
		Tools: Tools{
			Token: func(path string) string { return "token of " + path },
			Seal:  func(before string) string { return "sealed " + before },
			Open: func(cursor string) (string, error) {
				before, ok := strings.CutPrefix(cursor, "sealed ")
				if !ok {
					return "", fault.InvalidCursor
				}
				return before, nil
			},
		},
	}
}

func serving(reply Reply) Page {
	return func(context.Context, Visit) (Reply, error) { return reply, nil }
}

const evil = `"><script>alert(1)</script><img src=x onerror=alert(1)>`

// every piece, with markup in everything that comes from outside.
func everyPiece(v Visit) map[string]Reply {
	f := v.Post("/things")
	f.Submit, f.Cancel = evil, "/things"
	for _, kind := range []string{"", "email", "password", "number", "search", "textarea", "select", "radio", "checkbox", "checkboxes", "hidden"} {
		f.Fields = append(f.Fields, Field{
			Name: "field-" + kind, Label: evil, Kind: kind, Value: evil, Hint: evil, Problem: evil, Mono: true,
			Choices: []Choice{{Value: evil, Label: evil, Hint: evil, Group: evil, Chosen: true}, {Value: "off", Label: "b", Off: true}},
		})
	}
	cells := []Cell{Text(evil), Code(evil), Badge(evil, "good"), Named(evil, "/things?x="+evil), When(noon, evil), When(time.Time{}, evil), {Text: evil, Soft: evil, Long: true}, {Text: "1", Num: true}}
	facts := []Fact{{evil, Text(evil)}, {"When", When(noon, "")}}
	list := Table{Caption: evil, Columns: []string{evil, evil}, Rows: []Row{{Cells: cells, Actions: []Link{{Text: evil, To: "/" + evil, Danger: true}}}, {Cells: cells[:1]}}, Paging: Paging{First: "/a", Next: "/b"}}
	view := View{Title: evil, Lead: evil, Back: Link{Text: evil, To: "/"}, Actions: []Link{{Text: evil, To: "/", Main: true}}, Form: f}
	return map[string]Reply{
		"form":    ShowForm(view),
		"confirm": ShowConfirm(Confirm{Title: evil, Lead: evil, Effects: []string{evil}, Facts: facts, Form: f}),
		"secret":  ShowSecret(Secret{Title: evil, Lead: evil, Label: evil, Value: secret.Of(evil), More: []Secret{{Label: evil, Value: secret.Of(evil)}}, Facts: facts, Use: evil, Done: Link{Text: evil, To: "/"}}),
		"table":   ShowTable(view, list),
		"empty":   ShowTable(view, Table{Empty: Empty{Title: evil, Text: evil, Action: Link{Text: evil, To: "/"}}}),
	}
}

func rendered(t *testing.T, c *Console, v Visit, reply Reply) string {
	t.Helper()
	a, err := c.Do(t.Context(), Route{Method: http.MethodGet, Serve: serving(reply)}, v)
	if err != nil {
		t.Fatal(err)
	}
	return string(a.Page)
}

// SEC-WEB-12, SEC-WEB-13: what comes from outside is text in every piece, and no
// page has code or style of its own inside. Labels and descriptions lead to what
// is there, and ids are unique.
func TestPiecesAreTextAndWhole(t *testing.T) {
	v := visitOf("/things")
	v.User, v.Org, v.Notice = evil, evil, evil
	c := &Console{}
	pages := everyPiece(v)
	pages["failure"] = own.Show("failure.html", View{Title: evil, Data: Failure{Text: evil, Code: evil, Request: evil, Required: []string{evil}, Wait: evil}})
	for name, reply := range pages {
		page := rendered(t, c, v, reply)
		root, err := html.Parse(strings.NewReader(page))
		if err != nil {
			t.Fatal(name, err)
		}
		ids, refs := map[string]int{}, []string{}
		for n := range root.Descendants() {
			if n.Type != html.ElementNode {
				continue
			}
			for _, a := range n.Attr {
				switch {
				case a.Key == "id":
					ids[a.Val]++
				case a.Key == "for", strings.HasPrefix(a.Key, "aria-describedby"), a.Key == "aria-labelledby":
					refs = append(refs, strings.Fields(a.Val)...)
				case a.Key == "style", strings.HasPrefix(a.Key, "on"):
					t.Errorf("%s: <%s %s=%q>", name, n.Data, a.Key, a.Val)
				}
			}
			if n.Data == "img" || n.Data == "style" || n.Data == "script" && n.FirstChild != nil {
				t.Errorf("%s has a <%s>", name, n.Data)
			}
		}
		for id, n := range ids {
			if n > 1 {
				t.Errorf("%s: id %q %d times", name, id, n)
			}
		}
		for _, id := range refs {
			if ids[id] == 0 {
				t.Errorf("%s: nothing has the id %q", name, id)
			}
		}
		if !strings.Contains(page, "&lt;script&gt;") {
			t.Errorf("%s does not show what came from outside", name)
		}
	}
}

func TestRefusedFormsComeBackAsTheyWere(t *testing.T) {
	v := visitOf("/things")
	v.Form = Values{"name": {"Babbage"}, "password": {"hunter2"}, "kinds": {"b", "c"}, "on": {"on"}}
	f := v.Post("/things")
	f.Fields = []Field{
		{Name: "name", Label: "Name", Value: "Ada", Focus: true}, {Name: "password", Label: "Password", Kind: "password"}, {Name: "on", Kind: "checkbox"},
		{Name: "kinds", Label: "Kinds", Kind: "checkboxes", Choices: []Choice{{Value: "a", Chosen: true}, {Value: "b"}, {Value: "c"}}},
	}
	refusal := fault.Refusals([]fault.Field{{Name: "name", Detail: "is taken"}, {Name: "kinds[1]", Detail: "is unknown"}, {Name: "elsewhere", Detail: "is odd"}})
	page := func(problem error) (Answer, error) {
		return (&Console{}).Do(t.Context(), Route{Method: http.MethodPost, Serve: serving(ShowForm(View{Title: "Thing", Form: f, Problem: problem}))}, v)
	}
	a, err := page(refusal)
	if err != nil || a.Problem == nil || a.Problem.Code != fault.Invalid {
		t.Fatal(a, err)
	}
	text := string(a.Page)
	for _, want := range []string{`value="Babbage"`, `id="f-name-problem" class="problem">Is taken.`, `href="#f-kinds"`, "elsewhere: Is odd.", `value="b" checked`, `value="c" checked`, `aria-describedby="f-name-problem" aria-invalid="true"`, `<title>Problem: Thing`} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %s: %s", want, text)
		}
	}
	for _, unwanted := range []string{"hunter2", `value="a" checked`, "Ada\""} {
		if strings.Contains(text, unwanted) {
			t.Errorf("the page has %s", unwanted)
		}
	}
	if a, err := page(fault.Conflict); err != nil || !bytes.Contains(a.Page, []byte("changed in the meantime")) {
		t.Error(string(a.Page), err)
	}
	for _, other := range []error{fault.NotFound, fault.InsufficientPermissions, errors.New("disk on fire")} {
		if _, err := page(other); !errors.Is(err, other) {
			t.Errorf("%v is shown as a form again: %v", other, err)
		}
	}
}

func TestPermissionGoesBeforeThePageAndThePassword(t *testing.T) {
	called := false
	serve := func(context.Context, Visit) (Reply, error) { called = true; return To("/", ""), nil }
	v := visitOf("/things/1")
	v.Query, v.SignedInAt = "a=b", noon.Add(-FreshFor)
	c := &Console{}
	if _, err := c.Do(t.Context(), Route{Need: "things:manage", Fresh: true, Serve: serve}, v); !errors.Is(err, fault.InsufficientPermissions) || called {
		t.Errorf("%v, called: %v", err, called)
	}
	a, err := c.Do(t.Context(), Route{Need: "things:read", Fresh: true, Serve: serve}, v)
	if err != nil || a.To != "/login/again?return_to=%2Fthings%2F1%3Fa%3Db" || called {
		t.Errorf("%+v %v, called: %v", a, err, called)
	}
	for _, at := range []time.Time{noon.Add(time.Hour), {}} { // SEC-WEB-17: a clock that was set back
		if v.SignedInAt = at; v.Fresh() {
			t.Errorf("a password entered at %v is fresh", at)
		}
	}
	v.SignedInAt = noon.Add(-FreshFor + time.Second)
	if a, err = c.Do(t.Context(), Route{Need: "things:read", Fresh: true, Serve: serve}, v); err != nil || a.To != "/" || !called {
		t.Errorf("%+v %v, called: %v", a, err, called)
	}
}

func TestMenuShowsWhatOneMaySee(t *testing.T) {
	c := &Console{Routes: []Route{{Method: "GET", Path: "/settings"}, {Method: "GET", Path: "/settings/sessions"}, {Method: "GET", Path: "/console/members", Need: "users:read"}, {Method: "GET", Path: "/console/audit", Need: "things:read"}, {Method: "POST", Path: "/console/roles"}}}
	var got []string
	for _, s := range c.menu(visitOf("").Caller, "/settings/sessions/ses_1") {
		for _, it := range s.Items {
			mark := ""
			if it.Current {
				mark = " *"
			}
			got = append(got, it.To+mark)
		}
	}
	if !slices.Equal(got, []string{"/console/audit", "/settings", "/settings/sessions *"}) {
		t.Errorf("%q", got)
	}
}

func TestListsGoOnWhereTheyEnded(t *testing.T) {
	v := visitOf("/things")
	v.Query = "kind=odd"
	rows := make([]string, PageSize+1)
	for i := range rows {
		rows[i] = string(rune('a' + i))
	}
	shown, p := Paged(v, rows, func(s string) string { return s })
	if len(shown) != PageSize || p.First != "" || p.Next != "/things?kind=odd&after=sealed+"+rows[PageSize-1] {
		t.Errorf("%d, %+v", len(shown), p)
	}
	v.Form = Values{"after": {"sealed y"}}
	ask, err := v.Ask()
	if err != nil || ask.Before != "y" || ask.Limit != PageSize+1 {
		t.Errorf("%+v %v", ask, err)
	}
	if shown, p = Paged(v, rows[:3], func(s string) string { return s }); len(shown) != 3 || p.Next != "" || p.First != "/things?kind=odd" {
		t.Errorf("%d, %+v", len(shown), p)
	}
	v.Form = Values{"after": {"made up"}}
	if _, err = v.Ask(); !errors.Is(err, fault.InvalidCursor) {
		t.Error(err)
	}
}

func TestPlotsSayTheSameInNumbers(t *testing.T) {
	p := Plot{ID: "logins", Title: "Logins", Unit: "logins", From: noon, Step: time.Hour, Series: []Series{{"good", []int64{3, 0, 1234}}, {"bad", []int64{1, 0, 600}}}}
	if p.Top() != 2000 || p.Total() != "1\u202f838 logins" || p.Until() != noon.Add(3*time.Hour) || len(p.Marks()) != 3 || len(p.Marks()[2].Bars) != 2 || len(p.Marks()[1].Bars) != 0 {
		t.Errorf("%d %q %v %v", p.Top(), p.Total(), p.Until(), p.Marks())
	}
	table := p.Table()
	if len(table) != 2 || !slices.Equal(table[0].Values, []int64{1234, 600}) || !table[1].At.Equal(noon) {
		t.Errorf("%+v", table)
	}
	for n, want := range map[int64]int64{0: 1, 1: 1, 3: 5, 10: 10, 11: 20, 501: 1000} {
		if got := (Plot{Series: []Series{{"", []int64{n}}}}).Top(); got != want {
			t.Errorf("top of %d: %d, want %d", n, got, want)
		}
	}
	if Count(-1234567) != "-1\u202f234\u202f567" || Count(999) != "999" {
		t.Error(Count(-1234567), Count(999))
	}
}

// The first page is under 60 kB with everything it loads, and htmx is vendored
// whole with its licence.
func TestFilesAreFewAndSmall(t *testing.T) {
	for name, a := range Assets() {
		if len(a.Body) > 100<<10 || a.Version == "" {
			t.Errorf("%s: %d bytes, version %q", name, len(a.Body), a.Version)
		}
	}
	for _, name := range []string{"htmx.LICENSE", "htmx.VERSION"} {
		if _, err := assetFiles.ReadFile("assets/" + name); err != nil {
			t.Error(err)
		}
	}
}

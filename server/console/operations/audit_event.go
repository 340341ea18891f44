package operations

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/server/console/shell"
)

// eventPage is one event, whole.
type eventPage struct {
	Facts   []shell.Fact
	Meta    []shell.Fact
	Related []shell.Link
	Text    string // as the API has it
}

func (p Pages) event(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	unknown := fault.New(fault.NotFound, "The organisation has no such event, or it is no longer kept.")
	id, err := ident.ParseEventID(v.Param("id"))
	if err != nil {
		return shell.Reply{}, unknown
	}
	found, err := p.Log.Search(ctx, v.Caller.Tenant(), audit.Filter{Event: id}, 0, 1)
	if err != nil {
		return shell.Reply{}, err
	}
	if len(found.Events) == 0 {
		return shell.Reply{}, unknown
	}
	e := found.Events[0]
	page := eventPage{Facts: factsOf(e), Related: relatedTo(e)}
	for _, name := range slices.Sorted(maps.Keys(e.Meta)) {
		value := shell.Cell{Text: e.Meta[name], Long: true}
		if at, err := time.Parse(time.RFC3339, e.Meta[name]); err == nil {
			value = shell.When(at, "")
		}
		page.Meta = append(page.Meta, shell.Fact{Label: spoken(name), Cell: value})
	}
	if page.Text, err = jsonOf(e); err != nil {
		return shell.Reply{}, err
	}
	return templates.Show("event.html", shell.View{Title: string(e.Name), Back: shell.Link{Text: "Audit log", To: auditPath}, Data: page}), nil
}

func jsonOf(e audit.Event) (string, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false) // the template escapes
	enc.SetIndent("", "  ")
	err := enc.Encode(audit.LineOf(e))
	return out.String(), err
}

func factsOf(e audit.Event) []shell.Fact {
	out := []shell.Fact{
		{Label: "Time", Cell: shell.When(e.Time, "")},
		{Label: "Outcome", Cell: shell.Badge(string(e.Outcome), tones[e.Outcome])},
	}
	add := func(label, text string, code bool) {
		if text != "" {
			out = append(out, shell.Fact{Label: label, Cell: shell.Cell{Text: text, Code: code, Long: true}})
		}
	}
	add("Reason", reasonOf(e.Name, e.Reason), false)
	add("Who", cmp.Or(e.Actor.Name, e.Actor.ID, spoken(e.Actor.Type)), false)
	if e.Actor.Name != "" {
		add("Who (ID)", e.Actor.ID, true)
	}
	add("By", spoken(e.Actor.Via), false)
	for _, t := range e.Targets {
		add(among(typeTexts, t.Type), t.Name, false)
		add(among(typeTexts, t.Type)+" (ID)", t.ID, true)
	}
	add("Address", addressOf(e.Origin.IP), false)
	add("Browser or program", e.Origin.UserAgent, false)
	add("Session", string(e.Session), true)
	add("API key", string(e.Key), true)
	add("Request", string(e.Origin.Request), true)
	add("Number", strconv.FormatInt(e.Seq, 10), false)
	add("Code", e.Name.Code(), true)
	return out
}

// relatedTo are the lists that an event stands in.
func relatedTo(e audit.Event) []shell.Link {
	var out []shell.Link
	list := func(text, field, value string) {
		if value != "" {
			out = append(out, shell.Link{Text: text, To: auditPath + "?" + url.Values{field: {value}}.Encode()})
		}
	}
	if e.Origin.Request != "" {
		out = append(out, shell.Link{Text: "Explain the request", To: explainPath(e.Origin.Request)})
	}
	list("Everything of this kind", "name", string(e.Name))
	list("Everything of this session", "session_id", string(e.Session))
	list("Everything of this API key", "key_id", string(e.Key))
	list("Everything from this address", "ip", addressOf(e.Origin.IP))
	for _, t := range e.Targets {
		if t.Type == "user" {
			list("Everything about this person", "user_id", t.ID)
			break
		}
	}
	return out
}

func explainPath(r ident.RequestID) string {
	return auditPath + "/explain?request_id=" + url.QueryEscape(string(r))
}

// explained is why a request ended as it did.
type explained struct {
	Asked  bool
	Why    []string
	Facts  []shell.Fact
	Events shell.Table
	None   string // where nothing is known
}

func (p Pages) explain(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	text := v.Form.Get("request_id")
	form := shell.Form{Get: true, Action: auditPath + "/explain", Submit: "Explain"}
	form.Fields = []shell.Field{{Name: "request_id", Label: "Request ID", Value: text, Required: true, Mono: true, Max: 64, Focus: text == ""}}
	view := shell.View{
		Title: "Explain a request", Lead: "Callers are told only what is safe to tell anybody. Here you see why a request was refused. Its ID begins with req_; it is in every answer as X-Request-Id, and on every page that says no.",
		Back: shell.Link{Text: "Audit log", To: auditPath}, Form: form,
	}
	if text == "" {
		view.Data = explained{}
		return templates.Show("explain.html", view), nil
	}
	id, err := ident.ParseRequestID(text)
	if err != nil {
		view.Data, view.Problem = explained{}, fault.Refuse("request_id", "is not a request ID: they begin with req_")
		return templates.Show("explain.html", view), nil
	}
	x, err := p.Explainer.Explain(ctx, v.Caller, id)
	switch f := fault.Of(err); {
	case err == nil:
		view.Data = explanationOf(x)
	case f.Code == fault.NotFound:
		view.Data = explained{Asked: true, None: f.Detail}
	default:
		return shell.Reply{}, err
	}
	return templates.Show("explain.html", view), nil
}

func explanationOf(x audit.Explanation) explained {
	out := explained{Asked: true, Why: x.Why}
	out.Facts = append(out.Facts, shell.Fact{Label: "Request", Cell: shell.Code(string(x.Request))})
	if at, ok := x.Request.Time(); ok {
		out.Facts = append(out.Facts, shell.Fact{Label: "Time", Cell: shell.When(at, "")})
	}
	if a := x.Answer; a != nil {
		out.Facts = append(out.Facts,
			shell.Fact{Label: "Answer", Cell: shell.Text(strconv.Itoa(a.Status) + " " + a.Code)},
			shell.Fact{Label: "Route", Cell: shell.Code(a.Route)}, shell.Fact{Label: "Address", Cell: shell.Text(a.IP)})
	}
	out.Events = shell.Table{Caption: "Events of the request", Columns: []string{"Event", "Outcome", "Reason", "Who"}}
	for _, l := range x.Events {
		name := shell.Text(string(l.Event))
		if l.Org != "" {
			name = shell.Named(string(l.Event), eventPath(l.ID))
		}
		out.Events.Rows = append(out.Events.Rows, shell.Row{Cells: []shell.Cell{
			name, shell.Badge(string(l.Outcome), tones[l.Outcome]), shell.Text(reasonOf(l.Event, l.Reason)), {Text: cmp.Or(l.Actor.Name, l.Actor.ID, spoken(l.Actor.Type)), Long: true},
		}})
	}
	return out
}

package operations

import (
	"cmp"
	"context"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/server/console/shell"
)

const auditPath = "/console/audit"

// logPage is the audit log as it is shown.
type logPage struct {
	Fields   []shell.Field // the filter that everybody uses
	More     []shell.Field // and that few use
	Open     bool          // some of More is set
	Filtered bool
	Live     bool
	Toggle   string // to the same with or without live
	tail
}

// tail is the part of the log that changes while one looks.
type tail struct {
	Table  shell.Table
	Poll   string // where to ask for what is new; empty: it is not asked
	Fresh  int    // how many events are new since the last time
	Newest time.Time
	Asked  time.Time
	// Back is until when was looked, where nothing or little was found in a part of
	// the log; zero where the list is full or at its end.
	Back time.Time
}

func (p Pages) auditLog(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	filter, refused := filterOf(v)
	page := logPage{Live: v.Form.Get("live") != "", Filtered: filtered(v.Form)}
	page.Fields, page.More = filterFields(v.Form)
	for _, f := range page.More {
		page.Open = page.Open || f.Value != ""
	}
	page.Toggle = toggled(v, !page.Live)
	view := shell.View{
		Title: "Audit log", Lead: "Everything that was decided in this organisation, the newest first.", Live: page.Live,
		Actions: []shell.Link{{Text: "Explain a request", To: auditPath + "/explain"}},
	}
	if refused != nil {
		view.Form = shell.Form{Get: true, Action: auditPath, Fields: append(page.Fields, page.More...)}
		view.Problem = refused
		page.Fields, page.More = marked(page.Fields, refused), marked(page.More, refused)
		page.Open = true
		page.Table.Empty = shell.Empty{Title: "Nothing was looked for", Text: "Please correct the filter first."}
		view.Data = page
		return templates.Show("audit.html", view), nil
	}
	var err error
	if page.tail, err = p.look(ctx, v, filter, page.Live); err != nil {
		return shell.Reply{}, err
	}
	view.Data = page
	return templates.Show("audit.html", view), nil
}

// auditTail is what is new since newest, for htmx.
func (p Pages) auditTail(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	filter, refused := filterOf(v)
	if !v.Partial || refused != nil {
		return shell.To(toggled(v, true), ""), nil
	}
	newest, err := strconv.ParseInt(v.Form.Get("newest"), 10, 64)
	if err != nil {
		return shell.Reply{}, fault.New(fault.Malformed, "The address is incomplete.")
	}
	t, err := p.look(ctx, v, filter, true)
	if err != nil {
		return shell.Reply{}, err
	}
	for _, r := range t.Table.Rows {
		if seq, err := strconv.ParseInt(strings.TrimPrefix(r.ID, rowID), 10, 64); err == nil && seq > newest {
			t.Fresh++
		}
	}
	return templates.Fragment("tail.html", t), nil
}

// look reads one page of the log. The tail always shows the newest.
func (p Pages) look(ctx context.Context, v shell.Visit, filter audit.Filter, live bool) (tail, error) {
	before := int64(0)
	cursor := v.Form.Get("after")
	if cursor != "" && !live {
		text, err := v.Open(cursor)
		if err == nil {
			before, err = strconv.ParseInt(text, 10, 64)
		}
		if err != nil {
			return tail{}, fault.Wrap(err, fault.InvalidCursor, "This link leads to a page of another list. Start again from its first page.")
		}
	}
	found, err := p.Log.Search(ctx, v.Caller.Tenant(), filter, before, shell.PageSize)
	if err != nil {
		return tail{}, err
	}
	t := tail{Table: tableOf(found.Events), Asked: v.Now}
	t.Table.ID = "log"
	if len(found.Events) > 0 {
		t.Newest = found.Events[0].Time
	}
	if live {
		newest := int64(0)
		if len(found.Events) > 0 {
			newest = found.Events[0].Seq
		}
		q := filterQuery(v.Form)
		q.Set("newest", strconv.FormatInt(newest, 10))
		t.Poll = auditPath + "/tail?" + q.Encode()
		return t, nil
	}
	if cursor != "" {
		t.Table.First = withQuery(auditPath, filterQuery(v.Form))
	}
	if found.Before > 0 {
		q := filterQuery(v.Form)
		q.Set("after", v.Seal(strconv.FormatInt(found.Before, 10)))
		t.Table.Next = withQuery(auditPath, q)
		if len(found.Events) < shell.PageSize {
			t.Back = found.Back
		}
	}
	t.Table.Empty = shell.Empty{Title: "Nothing was found", Text: "No event of this organisation is what you are looking for."}
	if !filtered(v.Form) {
		t.Table.Empty = shell.Empty{Title: "Nothing has happened yet", Text: "Logins, changes and refusals will be listed here."}
	}
	if found.Before > 0 {
		t.Table.Empty = shell.Empty{Title: "Nothing was found so far", Text: "There are older events, in which was not looked yet."}
	}
	return t, nil
}

const rowID = "event-"

var tones = map[audit.Outcome]string{audit.Success: "good", audit.Failure: "bad", audit.Denied: "wait"}

func tableOf(events []audit.Event) shell.Table {
	t := shell.Table{Caption: "Events, the newest first", Columns: []string{"Event", "Time", "Outcome", "Who", "What"}}
	for _, e := range events {
		name := shell.Named(string(e.Name), eventPath(e.ID))
		name.Soft = reasonOf(e.Name, e.Reason)
		who := shell.Cell{Text: cmp.Or(e.Actor.Name, e.Actor.ID, spoken(e.Actor.Type)), Soft: addressOf(e.Origin.IP), Long: true}
		what := shell.Cell{Long: true}
		if len(e.Targets) > 0 {
			what.Text = cmp.Or(e.Targets[0].Name, e.Targets[0].ID)
			what.Soft = among(typeTexts, e.Targets[0].Type)
		}
		t.Rows = append(t.Rows, shell.Row{
			ID:    rowID + strconv.FormatInt(e.Seq, 10),
			Cells: []shell.Cell{name, shell.When(e.Time, ""), shell.Badge(string(e.Outcome), tones[e.Outcome]), who, what},
		})
	}
	return t
}

// reasonOf words the reason of an event.
func reasonOf(name audit.Name, reason string) string {
	if name == audit.LoginLocked {
		return among(lockTexts, reason)
	}
	return among(failureTexts, reason)
}

// typeTexts word what spoken would not.
var typeTexts = map[string]string{"api_key": "API key", "org": "Organisation", "user": "Person"}

func eventPath(id ident.EventID) string { return auditPath + "/events/" + string(id) }

func addressOf(ip netip.Addr) string {
	if !ip.IsValid() {
		return ""
	}
	return ip.String()
}

func withQuery(path string, q url.Values) string {
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}

// toggled is the same list with or without following it.
func toggled(v shell.Visit, live bool) string {
	q := filterQuery(v.Form)
	q.Del("live")
	if live {
		q.Set("live", "on")
	}
	return withQuery(auditPath, q)
}

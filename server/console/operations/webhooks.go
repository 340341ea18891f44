package operations

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/audit/webhooks"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/server/console/shell"
)

// Webhooks manages the webhooks of an organisation: webhooks.Service.
type Webhooks interface {
	Create(ctx context.Context, caller ident.Caller, n webhooks.New) (webhooks.Overview, secret.Plain, error)
	List(ctx context.Context, caller ident.Caller, p ident.Page) ([]webhooks.Overview, error)
	Get(ctx context.Context, caller ident.Caller, id ident.WebhookID) (webhooks.Overview, error)
	Update(ctx context.Context, caller ident.Caller, id ident.WebhookID, c webhooks.Change) (webhooks.Overview, error)
	DeadLetters(ctx context.Context, caller ident.Caller, id ident.WebhookID, before int64, limit int) ([]webhooks.DeadLetter, error)
	RotateSecret(ctx context.Context, caller ident.Caller, id ident.WebhookID, grace time.Duration) (webhooks.Overview, secret.Plain, error)
	Test(ctx context.Context, caller ident.Caller, id ident.WebhookID) error
	Replay(ctx context.Context, caller ident.Caller, id ident.WebhookID, a webhooks.Again) (int, error)
	Delete(ctx context.Context, caller ident.Caller, id ident.WebhookID) error
}

const webhooksPath = "/console/webhooks"

func webhookPath(id ident.WebhookID) string { return webhooksPath + "/" + string(id) }

// hookID is the endpoint that the path names.
func hookID(v shell.Visit) (ident.WebhookID, error) {
	id, err := ident.ParseWebhookID(v.Param("id"))
	if err != nil {
		return "", fault.New(fault.NotFound, "The organisation has no such webhook.")
	}
	return id, nil
}

func (p Pages) webhooks(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	page, err := v.Ask()
	if err != nil {
		return shell.Reply{}, err
	}
	found, err := p.Webhooks.List(ctx, v.Caller, page)
	if err != nil {
		return shell.Reply{}, err
	}
	t := shell.Table{
		Caption: "Webhooks", Columns: []string{"Address", "Events", "State", "Last delivered", "Given up"},
		Empty: shell.Empty{Title: "No webhook yet", Text: "A webhook sends what happens in this organisation to an address of yours, signed, the moment it happens."},
	}
	view := shell.View{Title: "Webhooks", Lead: "Addresses that are told what happens in this organisation."}
	if v.Caller.May(accounts.WebhooksWrite) && v.Caller.May(accounts.AuditRead) {
		add := shell.Link{Text: "Add webhook", To: webhooksPath + "/new", Main: true}
		t.Empty.Action = add
		if len(found) > 0 {
			view.Actions = []shell.Link{add}
		}
	}
	found, t.Paging = shell.Paged(v, found, func(o webhooks.Overview) string { return string(o.ID) })
	for _, o := range found {
		address := shell.Named(o.URL, webhookPath(o.ID))
		address.Soft, address.Long = o.Description, true
		letters := shell.Cell{Text: strconv.FormatInt(o.DeadLetters, 10), Num: true}
		t.Rows = append(t.Rows, shell.Row{Cells: []shell.Cell{
			address, {Text: strings.Join(o.Patterns, ", "), Long: true}, stateOf(o), shell.When(o.Progress.DeliveredAt, "Never"), letters,
		}})
	}
	return shell.ShowTable(view, t), nil
}

// causeTexts say who or what switched a webhook off.
var causeTexts = map[string]string{"administrator": "Switched off by hand", "gone": "its receiver wants no more (410)", "failing": "it took nothing for days"}

func stateOf(o webhooks.Overview) shell.Cell {
	switch {
	case o.Status == webhooks.Disabled:
		c := shell.Badge("off", "plain")
		if o.Cause != webhooks.ByHand {
			c = shell.Badge("switched off", "bad")
			c.Soft = among(causeTexts, string(o.Cause))
		}
		return c
	case !o.Progress.FailingSince.IsZero():
		return shell.Badge("failing", "bad")
	default:
		return shell.Badge("active", "good")
	}
}

// hookPage is one webhook.
type hookPage struct {
	ID      ident.WebhookID
	Facts   []shell.Fact
	Letters shell.Table
	Test    bool // it can be tested
	May     bool // change it
}

func (p Pages) webhook(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	id, err := hookID(v)
	if err != nil {
		return shell.Reply{}, err
	}
	o, err := p.Webhooks.Get(ctx, v.Caller, id)
	if err != nil {
		return shell.Reply{}, err
	}
	page := hookPage{ID: id, Facts: hookFacts(o), May: v.Caller.May(accounts.WebhooksWrite) && v.Caller.May(accounts.AuditRead)}
	page.Test = page.May && o.Status == webhooks.Active
	if page.Letters, err = p.deadLetters(ctx, v, o, page.Test); err != nil {
		return shell.Reply{}, err
	}
	view := shell.View{Title: hostOf(o), Lead: o.Description, Back: shell.Link{Text: "Webhooks", To: webhooksPath}, Data: page}
	if page.May {
		view.Actions = []shell.Link{{Text: "Change", To: webhookPath(id) + "/edit"}, {Text: "Rotate secret", To: webhookPath(id) + "/rotate-secret"}}
		if page.Test {
			view.Actions = append(view.Actions, shell.Link{Text: "Send again", To: webhookPath(id) + "/replay"})
		}
		view.Actions = append(view.Actions, shell.Link{Text: "Delete", To: webhookPath(id) + "/delete", Danger: true})
	}
	return templates.Show("webhook.html", view), nil
}

// hostOf is the part of the address that people know it by.
func hostOf(o webhooks.Overview) string {
	_, rest, _ := strings.Cut(o.URL, "://")
	host, _, _ := strings.Cut(rest, "/")
	return host
}

var failureReasons = map[string]string{
	"status": "The receiver answered with an error", "answer": "The receiver's answer cannot be read", "unreachable": "The receiver did not answer in time",
	"address": "The address may not be asked: it leads into a private network", "secret": "The secret could not be opened", "pruned": "The event is no longer kept",
}

func failureText(f webhooks.Failure) string {
	text := among(failureReasons, string(f.Reason))
	if f.Status != 0 {
		text += " (" + strconv.Itoa(f.Status) + ")"
	}
	return text
}

func hookFacts(o webhooks.Overview) []shell.Fact {
	out := []shell.Fact{
		{Label: "State", Cell: stateOf(o)},
		{Label: "Address", Cell: shell.Cell{Text: o.URL, Code: true, Long: true}},
		{Label: "Events", Cell: shell.Cell{Text: strings.Join(o.Patterns, ", "), Code: true, Long: true}},
		{Label: "Last delivered", Cell: shell.When(o.Progress.DeliveredAt, "Never")},
	}
	if !o.Progress.FailingSince.IsZero() {
		out = append(out, shell.Fact{Label: "Failing since", Cell: shell.When(o.Progress.FailingSince, "")},
			shell.Fact{Label: "Attempts", Cell: shell.Text(strconv.Itoa(o.Progress.Attempts))}, shell.Fact{Label: "Next attempt", Cell: shell.When(o.Progress.DueAt, "")})
	}
	if last := o.Progress.Last; !last.At.IsZero() {
		out = append(out, shell.Fact{Label: "Last failure", Cell: shell.Cell{Text: failureText(last) + ",", Time: last.At}})
	}
	for i, s := range o.Secrets {
		c := shell.Cell{Text: "In use since", Time: s.CreatedAt}
		if i > 0 {
			c = shell.Cell{Text: "Signs as well until", Time: s.ValidUntil}
		}
		out = append(out, shell.Fact{Label: "Secret " + strconv.Itoa(s.N), Cell: c})
	}
	return append(out, shell.Fact{Label: "Waiting", Cell: shell.Text(shell.Count(o.Waiting) + " events to look at")}, shell.Fact{Label: "Made", Cell: shell.When(o.CreatedAt, "")})
}

// deadLetters are what the endpoint never took.
func (p Pages) deadLetters(ctx context.Context, v shell.Visit, o webhooks.Overview, again bool) (shell.Table, error) {
	t := shell.Table{
		Caption: "Messages that were given up", Columns: []string{"Event", "Attempts", "Last failure"},
		Empty: shell.Empty{Title: "Nothing was given up", Text: "What could not be delivered in all its attempts would be listed here for 90 days, to be sent again."},
	}
	ask, err := v.Ask()
	if err != nil {
		return t, err
	}
	before := int64(0)
	if ask.Before != "" {
		if before, err = strconv.ParseInt(ask.Before, 10, 64); err != nil {
			return t, fault.InvalidCursor
		}
	}
	found, err := p.Webhooks.DeadLetters(ctx, v.Caller, o.ID, before, ask.Limit)
	if err != nil {
		return t, err
	}
	found, t.Paging = shell.Paged(v, found, func(l webhooks.DeadLetter) string { return strconv.FormatInt(l.Position, 10) })
	for _, l := range found {
		name := shell.Cell{Text: l.Name, Soft: string(l.Event), Long: true}
		row := shell.Row{Cells: []shell.Cell{name, {Text: strconv.Itoa(l.Attempts), Num: true}, {Text: failureText(l.Last) + ",", Time: l.Last.At}}}
		switch {
		case l.Replay:
			row.Cells[0].Soft += ", being sent again"
		case again:
			row.Actions = []shell.Link{{Text: "Send again", To: webhookPath(o.ID) + "/replay?event=" + string(l.Event)}}
		}
		t.Rows = append(t.Rows, row)
	}
	return t, nil
}

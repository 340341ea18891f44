package operations

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tokenhouse/tokenhouse/audit/webhooks"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/server/console/shell"
)

// The fields of a webhook's form. Those that the domain refuses have its names.
const (
	fieldURL         = "url"
	fieldDescription = "description"
	fieldEvents      = "events"
	fieldPatterns    = "patterns" // more of events, typed
	fieldStatus      = "status"
)

// themes put what events are about together, so that one finds it.
var themes = map[string]string{
	"login": "Signing in", "unlock_link": "Signing in", "password": "Signing in", "session": "Signing in", "refresh": "Signing in", "logout": "Signing in", "mail": "Signing in",
	"user": "People and roles", "org": "People and roles", "member": "People and roles", "role": "People and roles", "invitation": "People and roles", "setup": "People and roles",
	"api_key": "Keys and tokens", "service_account": "Keys and tokens", "token": "Keys and tokens", "access_token": "Keys and tokens", "signing_key": "Keys and tokens", "master_key": "Keys and tokens",
	"client": "Applications", "authorization": "Applications", "code": "Applications", "consent": "Applications",
	"permission": "Watching over it", "tenant": "Watching over it", "webhook": "Watching over it", "audit": "Watching over it",
}

// hookForm is the form of a webhook, filled in with what it is.
func hookForm(v shell.Visit, path string, e webhooks.Endpoint) shell.Form {
	f := v.Post(path)
	f.Cancel = webhooksPath
	events := shell.Field{
		Name: fieldEvents, Label: "Events", Kind: "checkboxes", Hint: "What the address is told. Without any, it is told everything.",
		Choices: []shell.Choice{{Value: "*", Label: "Everything", Chosen: slices.Contains(e.Patterns, "*")}},
	}
	known := []string{"*"}
	groups := eventGroups()
	slices.SortStableFunc(groups, func(a, b eventGroup) int { return cmp.Compare(among(themes, a.name), among(themes, b.name)) })
	for _, g := range groups {
		pattern := g.name + ".*"
		known = append(known, pattern)
		events.Choices = append(events.Choices, shell.Choice{Value: pattern, Label: g.title, Group: among(themes, g.name), Chosen: slices.Contains(e.Patterns, pattern)})
	}
	typed := slices.DeleteFunc(slices.Clone(e.Patterns), func(p string) bool { return slices.Contains(known, p) })
	f.Fields = []shell.Field{
		{Name: fieldURL, Label: "Address", Kind: "url", Value: e.URL, Required: true, Max: 2000, Mono: true, Focus: e.ID == "", Hint: "An https URL that answers on the internet. It gets a POST for each event."},
		{Name: fieldDescription, Label: "Description", Value: e.Description, Max: 500},
		events,
		{Name: fieldPatterns, Label: "More events", Value: strings.Join(typed, " "), Mono: true, Max: 2000, Hint: "Names as the audit log has them, with blanks between: login.failed api_key.leaked"},
	}
	return f
}

// hookEvents are the patterns that were chosen and typed.
func hookEvents(v shell.Visit) []string {
	out := slices.Clone(v.Form.All(fieldEvents))
	if slices.Contains(out, "*") {
		return []string{"*"}
	}
	out = append(out, strings.FieldsFunc(v.Form.Get(fieldPatterns), func(r rune) bool { return strings.ContainsRune(" ,\t\r\n", r) })...)
	slices.Sort(out)
	if out = slices.Compact(out); len(out) == 0 {
		return []string{"*"}
	}
	return out
}

func (p Pages) newWebhookView(v shell.Visit) shell.View {
	f := hookForm(v, webhooksPath+"/new", webhooks.Endpoint{Patterns: []string{"*"}})
	f.Submit = "Add webhook"
	return shell.View{Title: "Add a webhook", Lead: "What happens from now on is sent there.", Back: shell.Link{Text: "Webhooks", To: webhooksPath}, Form: f, Narrow: true}
}

func (p Pages) newWebhook(_ context.Context, v shell.Visit) (shell.Reply, error) {
	return shell.ShowForm(p.newWebhookView(v)), nil
}

func (p Pages) createWebhook(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	o, value, err := p.Webhooks.Create(ctx, v.Caller, webhooks.New{
		URL: strings.TrimSpace(v.Form.Get(fieldURL)), Description: strings.TrimSpace(v.Form.Get(fieldDescription)), Patterns: hookEvents(v),
	})
	if err != nil {
		view := p.newWebhookView(v)
		view.Problem = err
		return shell.ShowForm(view), nil
	}
	return secretOf("The webhook was added", o, value), nil
}

// secretOf shows a webhook's secret for the only time.
func secretOf(title string, o webhooks.Overview, value secret.Plain) shell.Reply {
	return shell.ShowSecret(shell.Secret{
		Title: title, Label: "Signing secret", Value: value,
		Lead:  "The receiver checks with it that a message is from us, as Standard Webhooks describes. Put it into the receiver's configuration.",
		Facts: []shell.Fact{{Label: "Address", Cell: shell.Cell{Text: o.URL, Code: true, Long: true}}, {Label: "Events", Cell: shell.Cell{Text: strings.Join(o.Patterns, ", "), Code: true, Long: true}}},
		Done:  shell.Link{Text: "Go to the webhook", To: webhookPath(o.ID)},
	})
}

// one reads the webhook of the path.
func (p Pages) one(ctx context.Context, v shell.Visit) (webhooks.Overview, error) {
	id, err := hookID(v)
	if err != nil {
		return webhooks.Overview{}, err
	}
	return p.Webhooks.Get(ctx, v.Caller, id)
}

// backTo leads back to the webhook.
func backTo(o webhooks.Overview) shell.Link {
	return shell.Link{Text: hostOf(o), To: webhookPath(o.ID)}
}

func editView(v shell.Visit, o webhooks.Overview) shell.View {
	f := hookForm(v, webhookPath(o.ID)+"/edit", o.Endpoint)
	f.Submit, f.Cancel = "Save changes", webhookPath(o.ID)
	f.Fields = append(f.Fields, shell.Field{Name: fieldStatus, Label: "State", Kind: "radio", Required: true, Choices: []shell.Choice{
		{Value: string(webhooks.Active), Label: "Active", Hint: "It goes on where it stopped, at once.", Chosen: o.Status == webhooks.Active},
		{Value: string(webhooks.Disabled), Label: "Off", Hint: "Nothing is sent. What happens meanwhile waits.", Chosen: o.Status == webhooks.Disabled},
	}})
	return shell.View{Title: "Change the webhook", Back: backTo(o), Form: f, Narrow: true}
}

func (p Pages) editWebhook(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	o, err := p.one(ctx, v)
	if err != nil {
		return shell.Reply{}, err
	}
	return shell.ShowForm(editView(v, o)), nil
}

func (p Pages) changeWebhook(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	o, err := p.one(ctx, v)
	if err != nil {
		return shell.Reply{}, err
	}
	url, description := strings.TrimSpace(v.Form.Get(fieldURL)), strings.TrimSpace(v.Form.Get(fieldDescription))
	patterns, status := hookEvents(v), webhooks.Status(v.Form.Get(fieldStatus))
	if _, err := p.Webhooks.Update(ctx, v.Caller, o.ID, webhooks.Change{URL: &url, Description: &description, Patterns: &patterns, Status: &status}); err != nil {
		view := editView(v, o)
		view.Problem = err
		return shell.ShowForm(view), nil
	}
	return shell.To(webhookPath(o.ID), "The webhook was changed."), nil
}

func (p Pages) testWebhook(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	id, err := hookID(v)
	if err != nil {
		return shell.Reply{}, err
	}
	if err := p.Webhooks.Test(ctx, v.Caller, id); err != nil {
		return shell.Reply{}, err
	}
	return shell.To(webhookPath(id), "A test message is on its way. Reload this page in a moment to see whether it was taken."), nil
}

// graces are how long an old secret may sign beside the new one.
var graces = []struct{ value, label string }{{"24h", "One day"}, {"168h", "Seven days"}, {"720h", "Thirty days"}, {"0s", "Not at all: it stops now"}}

func rotateForm(v shell.Visit, o webhooks.Overview) shell.Confirm {
	f := v.Post(webhookPath(o.ID) + "/rotate-secret")
	f.Submit, f.Cancel = "Rotate secret", webhookPath(o.ID)
	grace := shell.Field{Name: "grace", Label: "How long the old secret signs as well", Kind: "select", Required: true}
	for i, g := range graces {
		grace.Choices = append(grace.Choices, shell.Choice{Value: g.value, Label: g.label, Chosen: i == 0})
	}
	f.Fields = []shell.Field{grace}
	return shell.Confirm{
		Title: "Rotate the secret?", Lead: "A new secret is made and shown once. Messages carry the signatures of both for a while, so that you have time to give the new one to the receiver.",
		Facts: []shell.Fact{{Label: "Address", Cell: shell.Cell{Text: o.URL, Code: true, Long: true}}}, Form: f, Back: backTo(o), Harmless: true,
	}
}

func (p Pages) askRotateSecret(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	o, err := p.one(ctx, v)
	if err != nil {
		return shell.Reply{}, err
	}
	return shell.ShowConfirm(rotateForm(v, o)), nil
}

func (p Pages) rotateSecret(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	o, err := p.one(ctx, v)
	if err != nil {
		return shell.Reply{}, err
	}
	grace, err := time.ParseDuration(v.Form.Get("grace"))
	var value secret.Plain
	if err != nil {
		err = fault.Refuse("grace", "must be one of those offered")
	} else {
		o, value, err = p.Webhooks.RotateSecret(ctx, v.Caller, o.ID, grace)
	}
	if err != nil {
		again, readErr := p.one(ctx, v)
		if readErr != nil {
			return shell.Reply{}, readErr
		}
		c := rotateForm(v, again)
		c.Problem = err
		return shell.ShowConfirm(c), nil
	}
	return secretOf("The secret was rotated", o, value), nil
}

// replayForm asks what to send again: one dead letter that the address names,
// all of them, or everything since a time.
func replayForm(v shell.Visit, o webhooks.Overview, event string) shell.Confirm {
	f := v.Post(webhookPath(o.ID) + "/replay")
	f.Submit, f.Cancel = "Send again", webhookPath(o.ID)
	c := shell.Confirm{
		Title: "Send again?", Lead: "Receivers tell a message that they had by its identifier, which stays the same.", Back: backTo(o), Harmless: true,
		Facts: []shell.Fact{{Label: "Address", Cell: shell.Cell{Text: o.URL, Code: true, Long: true}}},
	}
	if event != "" {
		c.Title = "Send this message again?"
		c.Facts = append(c.Facts, shell.Fact{Label: "Event", Cell: shell.Cell{Text: event, Code: true, Long: true}})
		f.Fields = []shell.Field{{Name: "event", Kind: "hidden", Value: event}}
		c.Form = f
		return c
	}
	f.Fields = []shell.Field{
		{Name: "what", Label: "What to send", Kind: "radio", Required: true, Choices: []shell.Choice{
			{Value: "letters", Label: fmt.Sprintf("What was given up (%d)", o.DeadLetters), Hint: "Each is tried once more.", Chosen: o.DeadLetters > 0, Off: o.DeadLetters == 0},
			{Value: "since", Label: "Everything since a time", Hint: "What was delivered is sent once more too, in its order.", Chosen: o.DeadLetters == 0},
		}},
		{Name: "since", Label: "Since (UTC)", Kind: "datetime-local", Value: v.Now.UTC().Add(-time.Hour).Format(localTime)},
	}
	c.Form = f
	return c
}

func (p Pages) askReplay(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	o, err := p.one(ctx, v)
	if err != nil {
		return shell.Reply{}, err
	}
	return shell.ShowConfirm(replayForm(v, o, v.Form.Get("event"))), nil
}

func (p Pages) replay(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	o, err := p.one(ctx, v)
	if err != nil {
		return shell.Reply{}, err
	}
	var again webhooks.Again
	event := v.Form.Get("event")
	switch {
	case event != "":
		again.Events = []ident.EventID{ident.EventID(event)}
	case v.Form.Get("what") == "since":
		if again.Since, err = time.Parse(localTime, v.Form.Get("since")); err != nil {
			err = fault.Refuse("since", "must be a time")
		}
	case v.Form.Get("what") != "letters":
		err = fault.Refuse("what", "must be chosen")
	}
	n := 0
	if err == nil {
		n, err = p.Webhooks.Replay(ctx, v.Caller, o.ID, again)
	}
	if err != nil {
		c := replayForm(v, o, event)
		c.Problem = err
		return shell.ShowConfirm(c), nil
	}
	notice := "What happened since then is being sent again."
	if again.Since.IsZero() {
		notice = fmt.Sprintf("%d messages are being sent again.", n)
		if n == 1 {
			notice = "The message is being sent again."
		}
	}
	return shell.To(webhookPath(o.ID), notice), nil
}

func (p Pages) askDeleteWebhook(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	o, err := p.one(ctx, v)
	if err != nil {
		return shell.Reply{}, err
	}
	f := v.Post(webhookPath(o.ID) + "/delete")
	f.Submit, f.Cancel = "Delete webhook", webhookPath(o.ID)
	c := shell.Confirm{
		Title: "Delete this webhook?", Lead: "Its address is told nothing more, and this cannot be undone.",
		Effects: []string{"What waits to be sent is not sent.", "Its secret is forgotten."},
		Facts:   []shell.Fact{{Label: "Address", Cell: shell.Cell{Text: o.URL, Code: true, Long: true}}}, Form: f, Back: backTo(o),
	}
	if o.DeadLetters > 0 {
		c.Effects = append(c.Effects, fmt.Sprintf("The %d messages that were given up are forgotten.", o.DeadLetters))
	}
	return shell.ShowConfirm(c), nil
}

func (p Pages) deleteWebhook(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	id, err := hookID(v)
	if err != nil {
		return shell.Reply{}, err
	}
	if err := p.Webhooks.Delete(ctx, v.Caller, id); err != nil {
		return shell.Reply{}, err
	}
	return shell.To(webhooksPath, "The webhook was deleted."), nil
}

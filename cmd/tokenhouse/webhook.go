package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokenhouse/tokenhouse/audit/webhooks"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

func (p *process) webhookCommand() *cobra.Command {
	create := p.userDo("create", "Send the events of an organisation to an address, and print the secret, once",
		"  tokenhouse webhook create --org acme --url https://siem.acme.example/tokenhouse --event 'login.*' --event api_key.leaked", p.createWebhook)
	create.Long = `Sends the audit events of an organisation to an address, from now on, in order.
Messages are signed as Standard Webhooks describes, with a secret that is printed
now and can never be shown again. A server must be running: it delivers.`
	webhookFlags(create)
	required(create, "url")

	list := p.userDo("list", "List the webhooks of an organisation, newest first", "  tokenhouse webhook list --org acme", p.listWebhooks)
	one := func(use, short, flags string, do func(context.Context, webhookAsk) error) *cobra.Command {
		c := p.userDo(use+" ID", short, "  tokenhouse webhook "+use+" hook_01j… --org acme"+flags, func(ctx context.Context, c *cobra.Command, h *house.House, caller ident.Caller) error {
			id, err := ident.ParseWebhookID(c.Flags().Arg(0))
			if err != nil { // what was typed is not repeated: it may be the secret
				return errors.New("that is not the id of a webhook, which begins with hook_; see tokenhouse webhook list")
			}
			if err = do(ctx, webhookAsk{c, h, caller, id}); errors.Is(err, fault.NotFound) {
				return fmt.Errorf("the organisation has no webhook %s; see tokenhouse webhook list", id)
			}
			return err
		})
		c.Args = exactly("the id of the webhook")
		return c
	}
	update := one("update", "Change the address, the description or the events of a webhook", " --event '*'", updateWebhook)
	webhookFlags(update)
	rotate := one("rotate-secret", "Give a webhook a new secret and print it, once", " --grace 24h", rotateWebhookSecret)
	rotate.Flags().Duration("grace", 24*time.Hour, "how long messages are signed with the old secret as well; at most 720h")
	replay := one("replay", "Send the dead letters of a webhook once more, or everything since a time", " --since 2030-01-31T00:00:00Z", replayWebhook)
	replay.Flags().String("since", "", "send everything again since then (RFC 3339); now passes over what waits")
	replay.Flags().StringSlice("event", nil, "id of a dead letter; all of them where left out")
	replay.MarkFlagsMutuallyExclusive("since", "event")
	return group("webhook", "Send audit events to other systems", create, list,
		one("show", "Show a webhook, and how its delivery goes", "", showWebhook), update,
		one("enable", "Let a disabled webhook go on where it stopped", "", setWebhookStatus(webhooks.Active)),
		one("disable", "Send a webhook nothing until it is enabled", "", setWebhookStatus(webhooks.Disabled)),
		rotate, one("test", "Send an event that only this webhook gets", "", testWebhook),
		one("dead-letters", "List the events that a webhook never took, newest first", "", listDeadLetters), replay,
		one("delete", "Delete a webhook with its dead letters", "", deleteWebhook),
	)
}

// webhookAsk is a command about one webhook.
type webhookAsk struct {
	c      *cobra.Command
	h      *house.House
	caller ident.Caller
	id     ident.WebhookID
}

func webhookFlags(c *cobra.Command) {
	c.Flags().String("url", "", "where messages are sent: https, a public host, port 443")
	c.Flags().String("description", "", "what it is for and whom to ask")
	c.Flags().StringSlice("event", nil, "name of an event, login.* for all of a kind, or *; repeat or separate with commas")
}

type webhookView struct {
	ID           ident.WebhookID `json:"id"`
	Secret       string          `json:"secret,omitempty"` // at creation and rotation only
	URL          string          `json:"url"`
	Description  string          `json:"description"`
	Events       []string        `json:"events"`
	Status       webhooks.Status `json:"status"`
	DisabledBy   webhooks.Cause  `json:"disabled_by"`
	CreatedAt    string          `json:"created_at"`
	DeliveredAt  string          `json:"delivered_at"`
	FailingSince string          `json:"failing_since"`
	Attempts     int             `json:"attempts"`
	LastFailure  string          `json:"last_failure"`
	Waiting      int64           `json:"waiting"`
	DeadLetters  int64           `json:"dead_letters"`
}

func webhookViewOf(o webhooks.Overview) webhookView {
	p := o.Progress
	return webhookView{
		ID: o.ID, URL: o.URL, Description: o.Description, Events: o.Patterns, Status: o.Status, DisabledBy: o.Cause, CreatedAt: stamp(o.CreatedAt),
		DeliveredAt: stamp(p.DeliveredAt), FailingSince: stamp(p.FailingSince), Attempts: p.Attempts, LastFailure: failureText(p.Last),
		Waiting: o.Waiting, DeadLetters: o.DeadLetters,
	}
}

// failureText is "status 500", "unreachable"; empty for none.
func failureText(f webhooks.Failure) string {
	if f.Status == 0 {
		return string(f.Reason)
	}
	return string(f.Reason) + " " + strconv.Itoa(f.Status)
}

func printWebhook(c *cobra.Command, o webhooks.Overview, plain secret.Plain) error {
	v := webhookViewOf(o)
	v.Secret = plain.Reveal()
	lines := []field{{"id", string(o.ID)}}
	if !plain.IsZero() {
		lines = append(lines, field{"secret", plain.Reveal()})
	}
	status := string(o.Status)
	if o.Cause != "" {
		status += " (" + string(o.Cause) + ")"
	}
	return printThing(c, v, append(lines,
		field{"url", o.URL}, field{"events", strings.Join(o.Patterns, " ")}, field{"status", status}, field{"delivered", v.DeliveredAt},
		field{"failing since", v.FailingSince}, field{"last failure", v.LastFailure}, field{"waiting", strconv.FormatInt(o.Waiting, 10)},
		field{"dead letters", strconv.FormatInt(o.DeadLetters, 10)})...)
}

func (p *process) createWebhook(ctx context.Context, c *cobra.Command, h *house.House, caller ident.Caller) error {
	n := webhooks.New{}
	n.URL, _ = c.Flags().GetString("url")
	n.Description, _ = c.Flags().GetString("description")
	n.Patterns, _ = c.Flags().GetStringSlice("event")
	o, plain, err := h.Webhooks().Create(ctx, caller, n)
	if err != nil {
		return err
	}
	return printWebhook(c, o, plain)
}

func (p *process) listWebhooks(ctx context.Context, c *cobra.Command, h *house.House, caller ident.Caller) error {
	found, err := everything(func(pg ident.Page) ([]webhooks.Overview, error) { return h.Webhooks().List(ctx, caller, pg) },
		func(o webhooks.Overview) string { return string(o.ID) })
	if err != nil {
		return err
	}
	return printList(c, found, webhookViewOf, []column[webhooks.Overview]{
		{"id", func(o webhooks.Overview) string { return string(o.ID) }},
		{"url", func(o webhooks.Overview) string { return o.URL }},
		{"events", func(o webhooks.Overview) string { return strings.Join(o.Patterns, " ") }},
		{"status", func(o webhooks.Overview) string { return string(o.Status) }},
		{"delivered", func(o webhooks.Overview) string { return stamp(o.Progress.DeliveredAt) }},
		{"waiting", func(o webhooks.Overview) string { return strconv.FormatInt(o.Waiting, 10) }},
		{"dead letters", func(o webhooks.Overview) string { return strconv.FormatInt(o.DeadLetters, 10) }},
	})
}

func showWebhook(ctx context.Context, a webhookAsk) error {
	o, err := a.h.Webhooks().Get(ctx, a.caller, a.id)
	if err != nil {
		return err
	}
	return printWebhook(a.c, o, secret.Plain{})
}

func updateWebhook(ctx context.Context, a webhookAsk) error {
	f := a.c.Flags()
	var change webhooks.Change
	if url, _ := f.GetString("url"); f.Changed("url") {
		change.URL = &url
	}
	if description, _ := f.GetString("description"); f.Changed("description") {
		change.Description = &description
	}
	if events, _ := f.GetStringSlice("event"); f.Changed("event") {
		change.Patterns = &events
	}
	return changeWebhook(ctx, a, change)
}

func setWebhookStatus(status webhooks.Status) func(context.Context, webhookAsk) error {
	return func(ctx context.Context, a webhookAsk) error {
		return changeWebhook(ctx, a, webhooks.Change{Status: &status})
	}
}

func changeWebhook(ctx context.Context, a webhookAsk, change webhooks.Change) error {
	o, err := a.h.Webhooks().Update(ctx, a.caller, a.id, change)
	if err != nil {
		return err
	}
	return printWebhook(a.c, o, secret.Plain{})
}

func rotateWebhookSecret(ctx context.Context, a webhookAsk) error {
	grace, _ := a.c.Flags().GetDuration("grace")
	o, plain, err := a.h.Webhooks().RotateSecret(ctx, a.caller, a.id, grace)
	if err != nil {
		return err
	}
	return printWebhook(a.c, o, plain)
}

func testWebhook(ctx context.Context, a webhookAsk) error {
	if err := a.h.Webhooks().Test(ctx, a.caller, a.id); err != nil {
		return err
	}
	return printThing(a.c, map[string]any{"id": a.id, "testing": true}, field{"id", string(a.id)}, field{"testing", "yes; see tokenhouse webhook show"})
}

func replayWebhook(ctx context.Context, a webhookAsk) error {
	var again webhooks.Again
	if since, _ := a.c.Flags().GetString("since"); since != "" {
		at, err := time.Parse(time.RFC3339, since)
		if err != nil {
			return fmt.Errorf("--since %q: it is a time such as 2030-01-31T23:59:59Z", since)
		}
		again.Since = at
	}
	events, _ := a.c.Flags().GetStringSlice("event")
	for _, e := range events {
		again.Events = append(again.Events, ident.EventID(e))
	}
	n, err := a.h.Webhooks().Replay(ctx, a.caller, a.id, again)
	if err != nil {
		return err
	}
	return printThing(a.c, map[string]any{"id": a.id, "dead_letters": n}, field{"id", string(a.id)}, field{"dead letters", strconv.Itoa(n)})
}

// deadLettersShown bounds how many the command line lists.
const deadLettersShown = 1000

func listDeadLetters(ctx context.Context, a webhookAsk) error {
	found, err := a.h.Webhooks().DeadLetters(ctx, a.caller, a.id, 0, deadLettersShown)
	if err != nil {
		return err
	}
	type view struct {
		Event       ident.EventID `json:"event_id"`
		Name        string        `json:"event"`
		Attempts    int           `json:"attempts"`
		LastFailure string        `json:"last_failure"`
		FailedAt    string        `json:"failed_at"`
		Replaying   bool          `json:"replaying"`
	}
	return printList(a.c, found, func(l webhooks.DeadLetter) view {
		return view{l.Event, l.Name, l.Attempts, failureText(l.Last), stamp(l.Last.At), l.Replay}
	}, []column[webhooks.DeadLetter]{
		{"event id", func(l webhooks.DeadLetter) string { return string(l.Event) }},
		{"event", func(l webhooks.DeadLetter) string { return l.Name }},
		{"attempts", func(l webhooks.DeadLetter) string { return strconv.Itoa(l.Attempts) }},
		{"last failure", func(l webhooks.DeadLetter) string { return failureText(l.Last) }},
		{"failed", func(l webhooks.DeadLetter) string { return stamp(l.Last.At) }},
	})
}

func deleteWebhook(ctx context.Context, a webhookAsk) error {
	if err := a.h.Webhooks().Delete(ctx, a.caller, a.id); err != nil {
		return err
	}
	return printThing(a.c, map[string]any{"id": a.id, "deleted": true}, field{"id", string(a.id)}, field{"deleted", "yes"})
}

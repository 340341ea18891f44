package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

func (p *process) explainCommand() *cobra.Command {
	c := outputFlag(&cobra.Command{
		Use:   "explain REQUEST_ID",
		Short: "Tell why a request was refused, from the audit log",
		Long: `Tells why a request was answered with 401, 403 or 423: what the audit log has of
it, in words. Every reply has a request_id; the caller saw only what is safe to
tell anybody. What left no event, such as a request without a credential, is
remembered by the replica that answered alone: ask it over HTTP, with
GET /api/v1/audit-events/explain/REQUEST_ID.`,
		Example: `  tokenhouse explain req_01j…`,
		RunE: func(c *cobra.Command, _ []string) error {
			return p.withHouse(c, func(ctx context.Context, h *house.House) error { return explainRequest(ctx, c, h) })
		},
	})
	c.Args = exactly("the id of the request")
	return c
}

func explainRequest(ctx context.Context, c *cobra.Command, h *house.House) error {
	id, err := ident.ParseRequestID(c.Flags().Arg(0))
	if err != nil {
		return errors.New("that is not the id of a request, which begins with req_ and is in every reply, as request_id and as X-Request-Id")
	}
	events, err := h.DB.Audit().Requested(ctx, id)
	if err != nil {
		return err
	}
	if len(events) == 0 {
		return fmt.Errorf("the audit log has nothing of %s; what was refused some seconds ago may not be stored yet, and what needs no event is remembered by the replica that answered alone", id)
	}
	x := audit.Explain(id, events, nil)
	fields := []field{{"request", string(id)}, {"time", x.Time}}
	for _, why := range x.Why {
		fields = append(fields, field{"why", why})
	}
	for _, e := range x.Events {
		fields = append(fields, field{"event", fmt.Sprintf("%s %s %s %s from %s, by %s %s %s", e.Code, e.Event, e.Outcome, e.Reason, e.IP, e.Actor.Type, e.Actor.ID, e.Actor.Name)})
	}
	return printThing(c, x, fields...)
}

package server

import (
	"context"
	"slices"
	"strconv"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// auditTail asks for what the log of the caller's organisation got, or what is
// of no organisation.
type auditTail struct {
	after      int64 // negative: the newest
	limit      int
	names      []audit.Name
	outcome    audit.Outcome
	deployment bool
}

func (r *auditTail) read(i *input) error {
	given := map[string]string{}
	for _, name := range []string{"name", "outcome", "deployment"} {
		v, err := i.value(name)
		if err != nil {
			return err
		}
		given[name] = v
	}
	var l auditList
	if err := l.narrow(given); err != nil {
		return err
	}
	r.names, r.outcome, r.deployment = l.filter.Names, l.filter.Outcome, l.deployment
	if err := l.readPage(i); err != nil {
		return err
	}
	r.limit, r.after = l.limit, -1
	after, err := i.value("after")
	if err != nil || after == "" {
		return err
	}
	if r.after, err = strconv.ParseInt(after, 10, 64); err != nil || r.after < 0 {
		return fault.Refuse("after", "must be the after of an earlier reply")
	}
	return nil
}

// auditTailed is the reply: where nothing came, after did not move.
type auditTailed struct {
	Data  []audit.Line `json:"data"`
	After int64        `json:"after"`
}

// tailAuditEvents serves GET /api/v1/audit-events/tail.
func (s *Server) tailAuditEvents(ctx context.Context, caller ident.Caller, req auditTail) (auditTailed, error) {
	tenant, err := s.auditTenant(ctx, caller, req.deployment)
	if err != nil {
		return auditTailed{}, err
	}
	org := tenant.Org()
	t, err := s.Services.Exporter.Tail(ctx, audit.Extent{Org: &org, After: req.after}, req.limit)
	if err != nil {
		return auditTailed{}, err
	}
	out := auditTailed{Data: []audit.Line{}, After: t.After}
	for _, l := range t.Lines {
		if (len(req.names) == 0 || slices.Contains(req.names, l.Event)) && (req.outcome == "" || req.outcome == l.Outcome) {
			out.Data = append(out.Data, l)
		}
	}
	return out, nil
}

package server

import (
	"context"
	"strconv"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

type auditList struct {
	pageRequest
	filter     audit.Filter
	deployment bool // of no organisation
	seq        int64
}

// auditFilters are the parameters of an audit list besides limit and cursor.
func auditFilters() []string { return append(audit.FilterFields(), "deployment") }

func (r *auditList) read(i *input) error {
	given := map[string]string{}
	names := auditFilters()
	bound := make([]string, len(names))
	for n, name := range names {
		v, err := i.value(name)
		if err != nil {
			return err
		}
		given[name], bound[n] = v, v
	}
	if err := r.narrow(given); err != nil {
		return err
	}
	if err := r.readPage(i, bound...); err != nil || r.before == "" {
		return err
	}
	var err error
	if r.seq, err = strconv.ParseInt(r.before, 10, 64); err != nil {
		return fault.InvalidCursor
	}
	return nil
}

// narrow reads the filter.
func (r *auditList) narrow(given map[string]string) error {
	filter, refused := audit.ReadFilter(given)
	var err error
	if r.deployment, err = strconv.ParseBool(given["deployment"]); err != nil && given["deployment"] != "" {
		refused = append(refused, fault.Field{Name: "deployment", Detail: "must be true or false"})
	}
	r.filter = filter
	if f := fault.Refusals(refused); f != nil {
		return f
	}
	return nil
}

// auditTenant is whose events are asked for: those of no organisation are for the
// organisation that runs the deployment.
func (s *Server) auditTenant(ctx context.Context, caller ident.Caller, deployment bool) (ident.Tenant, error) {
	if !deployment {
		return caller.Tenant(), nil
	}
	return ident.Tenant{}, s.Services.People.JudgeDeployment(ctx, caller)
}

// listAuditEvents serves GET /api/v1/audit-events and its alias /api/v1/audit.
func (s *Server) listAuditEvents(ctx context.Context, caller ident.Caller, req auditList) (page[audit.Line], error) {
	tenant, err := s.auditTenant(ctx, caller, req.deployment)
	if err != nil {
		return page[audit.Line]{}, err
	}
	found, err := s.Services.Audit.Events(ctx, tenant, req.filter, req.seq, req.ask().Limit)
	if err != nil {
		return page[audit.Line]{}, err
	}
	return paged(s, req.pageRequest, found, func(e audit.Event) string { return strconv.FormatInt(e.Seq, 10) }, audit.LineOf), nil
}

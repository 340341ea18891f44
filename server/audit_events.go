package server

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

type auditList struct {
	pageRequest
	filter audit.Filter
	seq    int64
}

// auditFilters are the parameters of an audit list besides limit and cursor.
var auditFilters = []string{"name", "outcome", "user_id", "key_id", "session_id", "request_id", "since", "until"}

func (r *auditList) read(i *input) error {
	given := map[string]string{}
	bound := make([]string, len(auditFilters))
	for n, name := range auditFilters {
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

// narrow reads the filter. What names nothing that exists is refused rather
// than answered with an empty list.
func (r *auditList) narrow(given map[string]string) error {
	var refused []fault.Field
	check := func(name, detail string, ok bool) {
		if given[name] != "" && !ok {
			refused = append(refused, fault.Field{Name: name, Detail: detail})
		}
	}
	r.filter = audit.Filter{
		Name: audit.Name(given["name"]), Outcome: audit.Outcome(given["outcome"]), User: ident.UserID(given["user_id"]),
		Key: ident.APIKeyID(given["key_id"]), Session: ident.SessionID(given["session_id"]), Request: ident.RequestID(given["request_id"]),
	}
	check("name", "is not the name of an event", slices.Contains(audit.Names(), r.filter.Name))
	check("outcome", "must be success, failure or denied", slices.Contains([]audit.Outcome{audit.Success, audit.Failure, audit.Denied}, r.filter.Outcome))
	_, err := ident.ParseUserID(given["user_id"])
	check("user_id", "is not a user identifier", err == nil)
	_, err = ident.ParseAPIKeyID(given["key_id"])
	check("key_id", "is not an API key identifier", err == nil)
	_, err = ident.ParseSessionID(given["session_id"])
	check("session_id", "is not a session identifier", err == nil)
	check("request_id", "is not a request identifier", strings.HasPrefix(given["request_id"], "req_") && len(given["request_id"]) < 64)
	var since, until timestamp
	check("since", errTimestamp.Error(), since.UnmarshalText([]byte(given["since"])) == nil)
	check("until", errTimestamp.Error(), until.UnmarshalText([]byte(given["until"])) == nil)
	r.filter.Since, r.filter.Until = since.Time, until.Time
	if f := fault.Refusals(refused); f != nil {
		return f
	}
	return nil
}

// listAuditEvents serves GET /api/v1/audit-events and its alias /api/v1/audit.
func (s *Server) listAuditEvents(ctx context.Context, caller ident.Caller, req auditList) (page[audit.Line], error) {
	found, err := s.Services.Audit.Events(ctx, caller.Tenant(), req.filter, req.seq, req.ask().Limit)
	if err != nil {
		return page[audit.Line]{}, err
	}
	return paged(s, req.pageRequest, found, func(e audit.Event) string { return strconv.FormatInt(e.Seq, 10) }, audit.LineOf), nil
}

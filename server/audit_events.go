package server

import (
	"context"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

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
var auditFilters = []string{
	"name", "outcome", "reason", "user_id", "key_id", "session_id", "request_id", "actor_id", "target_id", "ip", "since", "until", "deployment",
}

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
		Outcome: audit.Outcome(given["outcome"]), Reason: given["reason"], User: ident.UserID(given["user_id"]),
		Key: ident.APIKeyID(given["key_id"]), Session: ident.SessionID(given["session_id"]), Request: ident.RequestID(given["request_id"]),
		Actor: given["actor_id"], Target: given["target_id"],
	}
	names, named := eventNames(given["name"])
	r.filter.Names = names
	check("name", "is neither the name of an event, such as login.failed, nor a group of them, such as login.*, nor some of those with commas between", named)
	check("outcome", "must be success, failure or denied", slices.Contains([]audit.Outcome{audit.Success, audit.Failure, audit.Denied}, r.filter.Outcome))
	_, err := ident.ParseUserID(given["user_id"])
	check("user_id", "is not a user identifier", err == nil)
	_, err = ident.ParseAPIKeyID(given["key_id"])
	check("key_id", "is not an API key identifier", err == nil)
	_, err = ident.ParseSessionID(given["session_id"])
	check("session_id", "is not a session identifier", err == nil)
	_, err = ident.ParseRequestID(given["request_id"])
	check("request_id", "is not a request identifier", err == nil)
	for _, name := range []string{"reason", "actor_id", "target_id"} {
		check(name, "must be up to 128 of a-z 0-9 . _ -", plain.MatchString(given[name]))
	}
	r.filter.IP, err = netip.ParseAddr(given["ip"])
	check("ip", "is not an IP address", err == nil)
	r.deployment, err = strconv.ParseBool(given["deployment"])
	check("deployment", "must be true or false", err == nil)
	var since, until timestamp
	check("since", errTimestamp.Error(), since.UnmarshalText([]byte(given["since"])) == nil)
	check("until", errTimestamp.Error(), until.UnmarshalText([]byte(given["until"])) == nil)
	r.filter.Since, r.filter.Until = since.Time, until.Time
	if f := fault.Refusals(refused); f != nil {
		return f
	}
	return nil
}

// plain is what reasons and identifiers are made of.
var plain = regexp.MustCompile(`^[a-z0-9._-]{1,128}$`)

// eventNames are the events that a list of names and groups such as login.*
// names. It is false where a part of it names none.
func eventNames(list string) (names []audit.Name, ok bool) {
	for part := range strings.SplitSeq(list, ",") {
		group, isGroup := strings.CutSuffix(part, ".*")
		before := len(names)
		for _, n := range audit.Names() {
			if string(n) == part || isGroup && strings.HasPrefix(string(n), group+".") {
				names = append(names, n)
			}
		}
		if len(names) == before {
			return nil, false
		}
	}
	return names, true
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

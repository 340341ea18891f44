package server

import (
	"context"
	"errors"
	"net/http"
	"sync"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/tokens/verify"
)

// journalSize is how many refusals are remembered: about a megabyte.
const journalSize = 4096

// journal remembers why requests were refused, also those that are too many or
// too harmless for the audit log. It is this replica's, and forgets the oldest.
type journal struct {
	mu    sync.Mutex
	notes []note // a ring
	next  int
	where map[ident.RequestID]int
}

// note is one refusal.
type note struct {
	request ident.RequestID
	org     ident.OrgID // of the caller; empty where nobody is known
	answer  audit.Answer
}

func (j *journal) add(n note) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.where == nil {
		j.where = map[ident.RequestID]int{}
	}
	if len(j.notes) < journalSize {
		j.notes = append(j.notes, note{})
	}
	delete(j.where, j.notes[j.next].request)
	j.notes[j.next], j.where[n.request] = n, j.next
	j.next = (j.next + 1) % journalSize
}

// find returns the answer to the request where one of the organisations asked.
func (j *journal) find(r ident.RequestID, orgs []ident.OrgID) *audit.Answer {
	j.mu.Lock()
	defer j.mu.Unlock()
	at, ok := j.where[r]
	if !ok {
		return nil
	}
	for _, org := range orgs {
		if j.notes[at].org == org {
			a := j.notes[at].answer
			return &a
		}
	}
	return nil
}

// remember keeps the refusal of a request that has been answered.
func (s *Server) remember(in *inbound, status int) {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusLocked, http.StatusTooManyRequests:
	default:
		return
	}
	a := audit.Answer{Status: status, Code: in.code, Route: in.route, IP: addressText(in.origin.IP)}
	if in.failed != nil {
		a.Reason = in.failed.Reason
		var v *verify.Error
		if errors.As(in.failed, &v) {
			a.Cause = v.Error() // it never quotes the token
		}
	}
	s.journal.add(note{in.id, in.caller.Org, a})
}

// explanation asks why a request ended as it did.
type explanation struct{ id ident.RequestID }

func (r *explanation) read(i *input) (err error) {
	r.id, err = pathID(i, "request_id", ident.ParseRequestID)
	return err
}

// explain serves GET /api/v1/audit-events/explain/:request_id.
func (s *Server) explain(ctx context.Context, caller ident.Caller, req explanation) (audit.Explanation, error) {
	return s.Explain(ctx, caller, req.id)
}

// Explain tells why the request ended as it did, to who may read the audit log.
// The organisation that runs the deployment also sees what is of no organisation:
// failed logins of nobody, tokens that nobody can read.
func (s *Server) Explain(ctx context.Context, caller ident.Caller, request ident.RequestID) (audit.Explanation, error) {
	if !caller.May(accounts.AuditRead) {
		return audit.Explanation{}, fault.Lacking(string(accounts.AuditRead))
	}
	orgs, tenants := []ident.OrgID{caller.Org}, []ident.Tenant{caller.Tenant()}
	switch err := s.Services.People.JudgeDeployment(ctx, caller); {
	case err == nil:
		orgs, tenants = append(orgs, ""), append(tenants, ident.Tenant{})
	case !errors.Is(err, fault.InsufficientPermissions):
		return audit.Explanation{}, err
	}
	var events []audit.Event
	for _, t := range tenants {
		found, err := s.Services.Audit.Events(ctx, t, audit.Filter{Request: request}, 0, maxExplained)
		if err != nil {
			return audit.Explanation{}, err
		}
		for n := len(found) - 1; n >= 0; n-- { // they came newest first
			events = append(events, found[n])
		}
	}
	answer := s.journal.find(request, orgs)
	if len(events) == 0 && answer == nil {
		return audit.Explanation{}, fault.New(fault.NotFound, "Nothing is known of that request. What was refused some seconds ago may not be stored yet; what is not stored is remembered by the replica that answered.")
	}
	return audit.Explain(request, events, answer), nil
}

// maxExplained bounds the events of one request.
const maxExplained = 200

package audit

import (
	"context"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// Trail shows people what the log says of themselves.
type Trail struct{ Reader Reader }

// Own returns at most limit events that concern the caller in their organisation,
// with Seq below before (0: from the newest), newest first: what was done to
// their account, and what they did that concerns nobody else. It takes no
// permission. Where somebody else did it, the place they did it from is theirs
// and is left out; an attempt of nobody known to sign in as the caller keeps it.
// Whoever is not a person has no trail.
func (t Trail) Own(ctx context.Context, c ident.Caller, before int64, limit int) ([]Event, error) {
	if c.Kind != ident.Person || c.User == "" {
		return nil, fault.New(fault.InsufficientPermissions, "Only a signed-in person has a trail of their own.")
	}
	events, err := t.Reader.Events(ctx, c.Tenant(), Filter{User: c.User}, before, limit)
	if err != nil {
		return nil, err
	}
	for i := range events {
		if e := &events[i]; e.Actor.ID != "" && e.Actor.ID != string(c.User) {
			e.Origin, e.Session, e.Meta = ident.Origin{Request: e.Origin.Request}, "", nil
		}
	}
	return events, nil
}

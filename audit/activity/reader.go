package activity

import (
	"context"
	"slices"

	"github.com/tokenhouse/tokenhouse/audit"
)

const (
	// readBatch is how many links are counted in one commit.
	readBatch = 2000
	// readMost is how many commits one Read makes: who comes to a long log must
	// leave time to others.
	readMost = 25
)

// counted says what an event counts as, by its name.
var counted = map[audit.Name]Kind{
	audit.LoginSucceeded: Logins,
	audit.LoginFailed:    Failures,
	audit.LoginRefused:   Failures,
	audit.LoginLocked:    Lockouts,
}

func countedNames() []string {
	out := make([]string, 0, len(counted))
	for name := range counted {
		out = append(out, string(name))
	}
	slices.Sort(out)
	return out
}

// Read counts what was added to the audit log. Of replicas that do it at the same
// time each event is counted by one.
func (s *Service) Read(ctx context.Context) error {
	after, err := s.Store.ActivityCursor(ctx)
	if err != nil {
		return err
	}
	names := countedNames()
	for range readMost {
		found, next, err := s.Store.ReadEvents(ctx, names, after, readBatch)
		if err != nil || next == after {
			return err
		}
		won, err := s.Store.CountEvents(ctx, after, next, bucketsOf(found))
		if err != nil || !won { // another replica reads
			return err
		}
		after = next
	}
	return ctx.Err()
}

// bucketsOf says what happenings count as.
func bucketsOf(found []Happening) []Bucket {
	out := make([]Bucket, 0, len(found))
	for _, h := range found {
		kind, known := counted[audit.Name(h.Name)]
		if !known {
			continue
		}
		b := Bucket{Org: h.Org, Start: h.Hour, Kind: kind, Label: h.Reason, Count: h.Count}
		if kind == Logins {
			b.Label = ""
		}
		out = append(out, b)
	}
	return Merge(out)
}

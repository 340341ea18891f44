package audit

import "context"

// Tail is what the log got since somebody looked last, oldest first, in the
// order of the chain: what is in it comes once, and nothing comes before it later.
type Tail struct {
	Lines []Line
	After int64 // give it as After to go on from there
}

// Tail returns at most limit events at once after the extent's; the newest where
// After is negative. Events whose time is over are left out, so that fewer may
// come though there are more: there are none where After does not move. What is
// not sealed yet is not in it.
func (s *Sealer) Tail(ctx context.Context, e Extent, limit int) (Tail, error) {
	out := Tail{After: e.After}
	end, err := s.end(ctx, e)
	if err != nil {
		return out, err
	}
	switch {
	case out.After < 0:
		out.After = max(end-int64(limit), 0)
	case out.After > end: // of a database that was put back to what it was before
		out.After = end
	}
	links, err := s.linked(ctx, e, out.After, limit)
	if err != nil {
		return out, err
	}
	for _, l := range links {
		if out.After = l.place(e); !l.Pruned {
			out.Lines = append(out.Lines, LineOf(l.Event))
		}
	}
	return out, nil
}

// end returns the place of the newest link.
func (s *Sealer) end(ctx context.Context, e Extent) (int64, error) {
	if e.Org == nil {
		id, _, err := s.Store.Newest(ctx, "")
		return id, err
	}
	_, head, err := s.Store.Newest(ctx, *e.Org)
	return head.Position, err
}

// linked returns at most limit links after the place.
func (s *Sealer) linked(ctx context.Context, e Extent, after int64, limit int) ([]Linked, error) {
	if e.Org == nil {
		return s.Store.Linked(ctx, after, limit)
	}
	return s.Store.LinkedOf(ctx, *e.Org, after, limit)
}

// place is where the link stands among all of the extent.
func (l Link) place(e Extent) int64 {
	if e.Org == nil {
		return l.ID
	}
	return l.Position
}

package tokens

import (
	"context"
	"slices"
	"sync"
)

// maxListID is the longest id of a list that is looked up, in bytes.
const maxListID = 64

// listNames is which lists there are. It asks the store when it is asked about
// a list that it does not know: one question at a time, however many ask.
type listNames struct {
	mu      sync.Mutex
	known   map[string]bool
	running *listAnswer // nil where none is being asked
}

// listQuestion asks the store for the lists there are.
type listQuestion func(context.Context) ([]StatusList, error)

// listAnswer is what one question came to.
type listAnswer struct {
	done  chan struct{} // closed when it has ended
	known map[string]bool
	err   error
}

// has reports whether there is such a list. An answer that was asked for before
// has was called does not count against the list: it may be younger.
func (n *listNames) has(ctx context.Context, ask listQuestion, id string) (bool, error) {
	if id == "" || len(id) > maxListID {
		return false, nil
	}
	n.mu.Lock()
	old := n.running
	known := n.known[id]
	n.mu.Unlock()
	if known {
		return true, nil
	}
	if old != nil {
		if known, err := n.await(ctx, old); known[id] || ctx.Err() != nil {
			return known[id], err
		}
	}
	now, err := n.await(ctx, n.begin(ctx, ask, old))
	return now[id], err
}

// all asks the store, and lists what there is in order.
func (n *listNames) all(ctx context.Context, ask listQuestion) ([]string, error) {
	n.mu.Lock()
	old := n.running
	n.mu.Unlock()
	known, err := n.await(ctx, n.begin(ctx, ask, old))
	out := make([]string, 0, len(known))
	for id := range known {
		out = append(out, id)
	}
	slices.Sort(out)
	return out, err
}

// begin returns a question that is not older than old's successor.
func (n *listNames) begin(ctx context.Context, ask listQuestion, old *listAnswer) *listAnswer {
	if old != nil {
		select {
		case <-old.done:
		case <-ctx.Done():
			return old
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.running != nil {
		return n.running
	}
	a := &listAnswer{done: make(chan struct{})}
	n.running = a
	// It serves everybody who waits, so it does not end with the request that began it.
	go n.run(context.WithoutCancel(ctx), ask, a)
	return a
}

func (n *listNames) run(ctx context.Context, ask listQuestion, a *listAnswer) {
	ctx, cancel := context.WithTimeout(ctx, listNamesTimeout)
	defer cancel()
	lists, err := ask(ctx)
	a.err = err
	if err == nil {
		a.known = make(map[string]bool, len(lists))
		for _, l := range lists {
			a.known[l.ID] = true
		}
	}
	n.mu.Lock()
	if n.running = nil; err == nil {
		n.known = a.known
	}
	n.mu.Unlock()
	close(a.done)
}

func (n *listNames) await(ctx context.Context, a *listAnswer) (map[string]bool, error) {
	select {
	case <-a.done:
		return a.known, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

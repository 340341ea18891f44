package tokens

import (
	"cmp"
	"container/heap"
	"slices"
	"sync"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// Revocations is the set of what must be refused, in memory. A question costs
// four map lookups however many entries there are; an entry leaves when the
// last token it names has expired. Subscribe it to the change feed; it is ready
// to use once Now is set.
type Revocations struct {
	Now func() time.Time

	mu      sync.RWMutex
	entries map[entryKey]span
	ends    endings
}

type entryKey struct {
	kind changes.Kind
	key  string
}

type span struct{ at, until int64 } // microseconds since 1970

var _ changes.Subscriber = (*Revocations)(nil)

// Hear adds the revocations among cs, and drops some that are over: at least
// as many as it adds, so that the set cannot grow with what is over.
func (r *Revocations) Hear(cs []changes.Change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.prune(r.Now().UnixMicro(), 2*len(cs)+16)
	for _, c := range cs {
		if !c.Revokes() {
			continue
		}
		if r.entries == nil {
			r.entries = map[entryKey]span{}
		}
		k := entryKey{c.Kind, c.Key}
		old, had := r.entries[k]
		// A user may be cut off again: what is refused only ever grows.
		s := span{max(old.at, c.At.UnixMicro()), max(old.until, c.Until.UnixMicro())}
		r.entries[k] = s
		if !had || s.until != old.until {
			heap.Push(&r.ends, ending{s.until, k})
		}
	}
}

// prune drops at most n entries that are over.
func (r *Revocations) prune(now int64, n int) {
	for ; n > 0 && len(r.ends) > 0 && r.ends[0].until <= now; n-- {
		e := heap.Pop(&r.ends).(ending)
		if r.entries[e.key].until <= now { // else it was prolonged
			delete(r.entries, e.key)
		}
	}
}

// Forget does nothing: a revocation is never forgotten before its time.
func (r *Revocations) Forget() {}

// Refuses reports whether an access token must be refused, and why.
func (r *Revocations) Refuses(a AccessID) (reason string, yes bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if len(r.entries) == 0 {
		return "", false
	}
	_, token := r.entries[entryKey{changes.TokenRevoked, string(a.Token)}]
	_, session := r.entries[entryKey{changes.SessionRevoked, string(a.Session)}]
	_, key := r.entries[entryKey{changes.APIKeyRevoked, string(a.Key)}]
	cut, subject := r.entries[entryKey{changes.SubjectCutoff, string(a.User)}]
	if token || session || key || subject && a.IssuedAt.UnixMicro() <= cut.at {
		return string(Revoked), true
	}
	return "", false
}

// Cutoff returns the moment at or before which every access token of the user
// counts as revoked.
func (r *Revocations) Cutoff(user ident.UserID) (time.Time, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	s, ok := r.entries[entryKey{changes.SubjectCutoff, string(user)}]
	if !ok {
		return time.Time{}, false
	}
	return time.UnixMicro(s.at).UTC(), true
}

// Entries lists what is refused at now, ordered by kind and key.
func (r *Revocations) Entries(now time.Time) []changes.Change {
	r.mu.RLock()
	out := make([]changes.Change, 0, len(r.entries))
	for k, s := range r.entries {
		if s.until > now.UnixMicro() {
			out = append(out, changes.Change{Kind: k.kind, Key: k.key, At: time.UnixMicro(s.at).UTC(), Until: time.UnixMicro(s.until).UTC()})
		}
	}
	r.mu.RUnlock()
	slices.SortFunc(out, func(a, b changes.Change) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Key, b.Key))
	})
	return out
}

// Len is the number of entries.
func (r *Revocations) Len() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.entries)
}

// endings is a heap of when entries are over, the first on top.
type endings []ending

type ending struct {
	until int64
	key   entryKey
}

func (e endings) Len() int           { return len(e) }
func (e endings) Less(i, j int) bool { return e[i].until < e[j].until }
func (e endings) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }

// Push adds an ending; use heap.Push.
func (e *endings) Push(x any) { *e = append(*e, x.(ending)) }

// Pop removes the last; use heap.Pop.
func (e *endings) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

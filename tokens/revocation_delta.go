package tokens

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/fault"
)

const (
	// RevocationDeltaType is the typ header of what was added to the feed since
	// a cursor. It is not the feed's own: whoever takes a delta for the whole
	// list would forget the rest.
	RevocationDeltaType = "revocations-delta+jwt"
	// FeedOverlap is how long a revocation may take from its moment to every
	// replica: a request's transaction, the silence of the log that is borne, and
	// clocks that differ.
	FeedOverlap = 2 * time.Minute
	// MaxCursorAge is the age from which a cursor is answered with the whole list.
	MaxCursorAge = 24 * time.Hour
)

// history is what the revocations were after a number of changes.
type history struct {
	byTime []changes.Change // the earliest first
	built  uint64
	at     time.Time
	known  bool
}

// Since returns what was added after cursor: a delta, whose since is that
// cursor and whose entries are all that its holder may not have heard of. A
// cursor that is empty, unknown, of the future or older than MaxCursorAge is
// answered with the whole list. empty reports a delta without entries.
//
// A cursor is a moment and a digest of the revocations of the FeedOverlap
// before it. So it outlives the process and holds at every replica: one that
// had heard of the same revocations adds what is newer only, another one
// repeats the overlap. An entry may be told twice, and is never left out.
//
// It fails with fault.Unavailable while the revocations are not to be believed.
func (f *RevocationFeed) Since(ctx context.Context, cursor string) (d RevocationDocument, empty bool, err error) {
	if f.Fresh != nil && !f.Fresh() {
		return RevocationDocument{}, false, fault.New(fault.Unavailable, "The list of revocations cannot be told at the moment.")
	}
	now := f.Now()
	at, window, ok := readCursor(cursor)
	if !ok || at.After(now.Add(FeedOverlap)) || now.Sub(at) > MaxCursorAge {
		d, err = f.Document(ctx)
		return d, false, err
	}
	all := f.byTime(now)
	from := at
	if windowOf(all, at) != window {
		from = at.Add(-FeedOverlap)
	}
	entries := []feedEntry{}
	for _, c := range all[after(all, from):] {
		if e, ok := entryOf(c); ok && c.Until.After(now) {
			entries = append(entries, e)
		}
	}
	d, err = f.sign(ctx, now, feedPayload{Since: cursor, Cursor: cursorOf(all, now), Entries: entries}, RevocationDeltaType)
	return d, len(entries) == 0, err
}

// byTime is the revocations ordered by their moment. They are ordered once per
// change and Renewal, however many readers ask.
func (f *RevocationFeed) byTime(now time.Time) []changes.Change {
	f.mu.Lock()
	defer f.mu.Unlock()
	changed := f.changed.Load() // before Entries is read, as in Document
	h := &f.past
	if age := now.Sub(h.at); !h.known || h.built != changed || age < 0 || age >= orElse(f.Renewal, DefaultFeedRenewal) {
		*h = history{byTime: byTime(f.Entries(now)), built: changed, at: now, known: true}
	}
	return h.byTime
}

func byTime(cs []changes.Change) []changes.Change {
	out := slices.Clone(cs)
	slices.SortFunc(out, func(a, b changes.Change) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Key, b.Key))
	})
	return out
}

// after is the index of the first change later than t.
func after(byTime []changes.Change, t time.Time) int {
	i, _ := slices.BinarySearchFunc(byTime, t, func(c changes.Change, t time.Time) int {
		if c.At.After(t) {
			return 1
		}
		return -1
	})
	return i
}

// cursorOf is the place of a reader who knows all these. Another replica's
// clock may be ahead: what it revoked is known as well.
func cursorOf(byTime []changes.Change, now time.Time) string {
	at := now.UnixMicro()
	if n := len(byTime); n > 0 {
		at = min(max(at, byTime[n-1].At.UnixMicro()), now.Add(FeedOverlap).UnixMicro())
	}
	return "1." + strconv.FormatInt(at, 36) + "." + windowOf(byTime, time.UnixMicro(at))
}

func windowOf(byTime []changes.Change, at time.Time) string {
	var b []byte
	for _, c := range byTime[after(byTime, at.Add(-FeedOverlap)):after(byTime, at)] {
		b = fmt.Appendf(b, "%q %q %d\n", c.Kind, c.Key, c.At.UnixMicro())
	}
	return digest(b)
}

func readCursor(s string) (at time.Time, window string, ok bool) {
	parts := strings.Split(s[:min(len(s), maxCursor)], ".")
	if len(parts) != 3 || parts[0] != "1" || len(s) > maxCursor {
		return time.Time{}, "", false
	}
	micros, err := strconv.ParseInt(parts[1], 36, 64)
	if err != nil || micros < 0 {
		return time.Time{}, "", false
	}
	return time.UnixMicro(micros).UTC(), parts[2], true
}

// maxCursor is the longest cursor looked at, in bytes.
const maxCursor = 64

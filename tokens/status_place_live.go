package tokens

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/changes"
)

// maxLive bounds how many places a session remembers. Whoever has so many
// living access tokens gets one more of the newest name.
const maxLive = 96

// Live are the places of a session's access tokens that may not have expired
// yet, oldest first, packed into a text so that families can be compared. The
// zero Live is none.
//
// Each entry is "list/position/until" in base 36, the list left out where it is
// that of the entry before.
type Live string

// LivePlace is a place and until when tokens may stand there.
type LivePlace struct {
	Place
	Until time.Time // whole seconds
}

// With returns what is alive at now together with the place, which is the
// newest one then. Where too many are alive already, the newest of them stays
// that and lives as long as the place would have.
func (l Live) With(p LivePlace, now time.Time) Live {
	p.Until = wholeSecond(p.Until)
	all := l.Alive(now)
	if len(all) < maxLive {
		return pack(append(all, p))
	}
	last := &all[len(all)-1]
	if p.Until.After(last.Until) {
		last.Until = p.Until
	}
	return pack(all)
}

// Without returns the others.
func (l Live) Without(p Place) Live {
	return pack(slices.DeleteFunc(l.all(), func(q LivePlace) bool { return q.Place == p }))
}

// Alive returns the places whose tokens have not all expired at now, oldest
// first. An entry that cannot be read is passed over: a session must be
// revocable whatever its row says.
func (l Live) Alive(now time.Time) []LivePlace {
	return slices.DeleteFunc(l.all(), func(p LivePlace) bool { return !p.Until.After(now) })
}

// Newest returns the place that was added last, if any, dead or alive.
func (l Live) Newest() (LivePlace, bool) {
	all := l.all()
	if len(all) == 0 {
		return LivePlace{}, false
	}
	return all[len(all)-1], true
}

func (l Live) all() []LivePlace {
	var out []LivePlace
	var list string
	for entry := range strings.FieldsSeq(string(l)) {
		id, rest, _ := strings.Cut(entry, "/")
		list = cmp.Or(id, list)
		at, until, _ := strings.Cut(rest, "/")
		position, err1 := strconv.ParseUint(at, 36, 32)
		second, err2 := strconv.ParseInt(until, 36, 64)
		if err1 != nil || err2 != nil || list == "" {
			continue
		}
		out = append(out, LivePlace{Place{list, uint32(position)}, time.Unix(second, 0).UTC()})
	}
	return out
}

func pack(all []LivePlace) Live {
	var b strings.Builder
	var list string
	for i, p := range all {
		if i > 0 {
			b.WriteByte(' ')
		}
		if p.List != list {
			b.WriteString(p.List)
			list = p.List
		}
		b.WriteByte('/')
		b.WriteString(strconv.FormatUint(uint64(p.Position), 36))
		b.WriteByte('/')
		b.WriteString(strconv.FormatInt(p.Until.Unix(), 36))
	}
	return Live(b.String())
}

// wholeSecond rounds up.
func wholeSecond(t time.Time) time.Time {
	s := time.Unix(t.Unix(), 0).UTC()
	if s.Before(t) {
		s = s.Add(time.Second)
	}
	return s
}

// LiveRange is a row of places and until when tokens may stand in it.
type LiveRange struct {
	PlaceRange
	Until time.Time
}

// RevokedPlaces returns what announces that the ranges were revoked at the
// given time, neighbours together. It reorders ranges.
func RevokedPlaces(at time.Time, ranges []LiveRange) []changes.Change {
	slices.SortFunc(ranges, func(a, b LiveRange) int {
		return cmp.Or(cmp.Compare(a.List, b.List), cmp.Compare(a.Position, b.Position))
	})
	var joined []LiveRange
	for _, r := range ranges {
		last := len(joined) - 1
		if last < 0 || joined[last].List != r.List || uint64(joined[last].Position)+uint64(joined[last].Count) < uint64(r.Position) {
			joined = append(joined, r)
			continue
		}
		j := &joined[last]
		j.Count = max(j.Position+j.Count, r.Position+r.Count) - j.Position
		if r.Until.After(j.Until) {
			j.Until = r.Until
		}
	}
	out := make([]changes.Change, len(joined))
	for i, r := range joined {
		out[i] = changes.Change{Kind: changes.StatusRevoked, Key: r.String(), At: at, Until: r.Until}
	}
	return out
}

// Ranges returns what is alive at now as ranges, for RevokedPlaces.
func (l Live) Ranges(now time.Time) []LiveRange {
	var out []LiveRange
	for _, p := range l.Alive(now) {
		out = append(out, LiveRange{PlaceRange{p.Place, 1}, p.Until})
	}
	return out
}

package tokens

import (
	"container/heap"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// world is a family, a clock, and requests and replies under way.
type world struct {
	t       *rapid.T
	now     time.Time
	f       Family
	coming  agenda
	history []string
}

func newWorld(t *rapid.T) *world {
	return &world{t: t, now: noon, f: Family{
		ID: "sess_x", Refreshable: true, CreatedAt: noon, ExpiresAt: noon.Add(policy.Absolute), Seen: Seen{At: noon},
		Holder: Holder{Network: networkOf(home.IP), Agent: textDigest(home.UserAgent)},
	}}
}

// present answers one generation that arrives now.
func (w *world) present(who string, o ident.Origin, g uint32) (Result, uint32) {
	v := judge(w.f, from(o, g), w.now, policy)
	w.f = v.Next
	w.history = append(w.history, fmt.Sprintf("%9s %-6s %-15s %3d -> %-10s %3d", w.now.Sub(noon).Round(time.Millisecond), who, o.IP, g, v.Result, v.Next.Chain.Generation))
	if cur := v.Next.Chain; v.Result.Served() && cur.LastUsed >= cur.Generation && cur.Generation > 0 {
		w.t.Fatalf("INV-01: the current generation %d counts as used", cur.Generation)
	}
	return v.Result, v.Next.Chain.Generation
}

func (w *world) fail(why string) {
	w.t.Helper()
	for _, line := range w.history {
		w.t.Log(line)
	}
	w.t.Fatal(why)
}

// after schedules do. What is scheduled for the same moment happens in the
// order of scheduling.
func (w *world) after(d time.Duration, do func()) {
	heap.Push(&w.coming, appointment{w.now.Add(d), len(w.history) + len(w.coming), do})
}

// pass lets d go by, and everything happen that falls into it.
func (w *world) pass(d time.Duration) {
	end := w.now.Add(d)
	for len(w.coming) > 0 && !w.coming[0].at.After(end) {
		a := heap.Pop(&w.coming).(appointment)
		w.now = a.at
		a.do()
	}
	w.now = end
}

type appointment struct {
	at time.Time
	n  int
	do func()
}

type agenda []appointment

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	return a[i].at.Before(a[j].at) || a[i].at.Equal(a[j].at) && a[i].n < a[j].n
}
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)   { *a = append(*a, x.(appointment)) }
func (a *agenda) Pop() any {
	last := (*a)[len(*a)-1]
	*a = (*a)[:len(*a)-1]
	return last
}

func seconds(t *rapid.T, name string, from, to float64) time.Duration {
	return time.Duration(rapid.Float64Range(from, to).Draw(t, name) * float64(time.Second))
}

// browser is an honest client: tabs that share one stored token. Whoever moves
// to another network loses the connections of the old one: requests may still
// arrive, their replies do not.
type browser struct {
	w      *world
	at     ident.Origin
	moved  time.Time
	stored uint32
}

// move changes networks, at most once a minute.
func (b *browser) move() {
	if b.w.now.Sub(b.moved) >= time.Minute {
		b.at.IP, b.moved = somewhere(b.w.t), b.w.now
	}
}

func somewhere(t *rapid.T) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 0, byte(rapid.IntRange(1, 5).Draw(t, "network")), 1})
}

// travel is how long a request and a reply may each be under way.
const travel = 10.0

// refresh sends generation g from where the device is now; 40 % of the replies
// are lost, and half of those requests are tried again.
func (b *browser) refresh(g uint32, retries int) {
	t, from, sent := b.w.t, b.at, b.moved
	b.w.after(seconds(t, "request", 0, travel), func() {
		result, next := b.w.present("owner", from, g)
		if !result.Served() {
			b.w.fail("an honest client was refused: " + string(result))
		}
		if rapid.IntRange(1, 10).Draw(t, "luck") > 4 {
			b.w.after(seconds(t, "reply", 0, travel), func() {
				if b.moved.Equal(sent) {
					b.stored = next
				}
			})
		} else if retries > 0 && rapid.Bool().Draw(t, "retry") {
			b.w.after(seconds(t, "patience", 1, 20), func() { b.refresh(b.stored, retries-1) })
		}
	})
}

// TestAnHonestClientIsNeverSignedOut: parallel tabs, 40 % lost replies, late and
// reordered ones, moves between networks, nights, over less than a week. No
// request is refused at all.
func TestAnHonestClientIsNeverSignedOut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		b := &browser{w: w, at: home, moved: w.now}
		for range rapid.IntRange(1, 40).Draw(t, "refreshes") {
			if rapid.IntRange(1, 4).Draw(t, "move") == 1 {
				b.move()
			}
			for range rapid.IntRange(1, 4).Draw(t, "tabs") {
				w.after(seconds(t, "tab", 0, 5), func() { b.refresh(b.stored, 2) })
			}
			gap := rapid.SampledFrom([]float64{1, 15, 40, 70, 120, 3600, 30000}).Draw(t, "gap")
			w.pass(seconds(t, "pause", gap/2, gap))
		}
		w.pass(time.Hour)
	})
}

// TestTheftFromAnotherNetworkIsAlwaysFound: owner and thief both go on
// refreshing what they hold, in whatever order. Within five rounds the family
// is revoked. (A thief with the same user agent who is never more than the
// grace behind the owner cannot be told from a device that moves.)
func TestTheftFromAnotherNetworkIsAlwaysFound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		owner := home
		var held uint32
		refresh := func(who string, o ident.Origin, g *uint32) {
			result, next := w.present(who, o, *g)
			for ; result.Served() && rapid.IntRange(1, 10).Draw(t, "luck") <= 3; result, next = w.present(who, o, *g) {
				w.pass(seconds(t, "patience", 1, 20))
			}
			if result.Served() {
				*g = next
			}
		}
		round := func() {
			w.pass(50 * time.Minute)
			if rapid.IntRange(1, 5).Draw(t, "move") == 1 {
				owner.IP = somewhere(t)
			}
			refresh("owner", owner, &held)
		}
		for range rapid.IntRange(0, 5).Draw(t, "before") {
			round()
		}
		stolen, villain, lag := held, thief, 5.0
		if rapid.Bool().Draw(t, "same user agent") {
			villain.UserAgent, lag = owner.UserAgent, 90
		}
		if rapid.Bool().Draw(t, "thief first") {
			w.pass(35 * time.Minute)
			refresh("thief", villain, &stolen)
		}
		for range 5 {
			round()
			w.pass(seconds(t, "lag", lag, 1500))
			refresh("thief", villain, &stolen)
		}
		if w.f.Ended.Reason != string(Reused) {
			w.fail("two parties have used the family for five rounds")
		}
	})
}

// TestAClientThatNeverStoresLivesAWeekWhereverItIs: O12 and the Overwatch
// document's own client, with any number of moves.
func TestAClientThatNeverStoresLivesAWeekWhereverItIs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		at := home
		for w.now.Before(noon.Add(policy.Idle - 2*time.Hour)) {
			w.pass(seconds(t, "pause", 20, 7000))
			if rapid.IntRange(1, 3).Draw(t, "move") == 1 {
				at.IP = somewhere(t)
			}
			if result, _ := w.present("owner", at, 0); !result.Served() {
				w.fail("refused: " + string(result))
			}
		}
		w.pass(2 * time.Hour)
		if result, _ := w.present("owner", at, 0); result != Expired {
			w.fail("after a week: " + string(result))
		}
	})
}

package apikeys

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// Bounds of what is kept in memory between two flushes.
const (
	maxRefusals = 4096 // events, beyond which refusals are counted by source
	maxSources  = 4096 // sources, beyond which they are counted together
)

// usage counts uses and refusals in memory, so that a verification writes nothing.
type usage struct {
	shards [16]usageShard

	mu       sync.Mutex
	refusals []audit.Event               // of known keys
	sources  map[sourceMinute]*strangers // everything else
}

type usageShard struct {
	mu     sync.Mutex
	counts map[useID]*tally
}

// useID names a counter.
type useID struct {
	key        ident.APIKeyID
	generation int
	hour       int64 // unix seconds of its start
}

type tally struct {
	key         *Key
	ok, refused int
	limited     int
	first, last ident.Origin // of successes
	firstAt     time.Time
	lastAt      time.Time
}

// sourceMinute names an aggregate: one event tells of one source in one minute.
type sourceMinute struct {
	source netip.Prefix
	minute int64 // unix seconds of its start
}

// strangers are refusals that no known key explains.
type strangers struct {
	last     ident.Origin
	byResult map[string]int
}

// count remembers a verdict.
func (u *usage) count(v verdict, now time.Time, o ident.Origin) {
	if v.entry == nil {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.stranger(v.result, now, o)
		return
	}
	k := &v.entry.key
	id := useID{k.ID, v.generation, now.Truncate(time.Hour).Unix()}
	sh := u.shard(k)
	sh.mu.Lock()
	t := sh.tally(id, k)
	switch v.result {
	case resultOK:
		if t.ok++; t.ok == 1 {
			t.first, t.firstAt = o, now
		}
		t.last, t.lastAt = o, now
	case resultLimited:
		t.limited++ // no event: a busy client would fill the log with them
	default:
		t.refused++
	}
	sh.mu.Unlock()
	if v.result != resultOK && v.result != resultLimited {
		u.refuse(v, now, o)
	}
}

func (u *usage) shard(k *Key) *usageShard {
	return &u.shards[int(k.Lookup[len(k.Lookup)-1])%len(u.shards)]
}

func (sh *usageShard) tally(id useID, k *Key) *tally {
	if sh.counts == nil {
		sh.counts = make(map[useID]*tally)
	}
	t := sh.counts[id]
	if t == nil {
		t = &tally{key: k}
		sh.counts[id] = t
	}
	return t
}

// refuse keeps the event of a known key's refusal.
func (u *usage) refuse(v verdict, now time.Time, o ident.Origin) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.refusals) >= maxRefusals {
		u.stranger(v.result, now, o)
		return
	}
	k := &v.entry.key
	e := audit.Event{
		Time: now, Name: audit.APIKeyRefused, Outcome: audit.Failure, Reason: v.result, Actor: actorOf(k),
		Targets: []audit.Target{targetOf(k)}, Origin: o, Key: k.ID, Org: k.Org,
	}
	if v.result == resultMismatch { // whoever knows only the lookup id is not the key
		e.Actor = audit.Actor{Type: string(ident.Anonymous), Via: "api_key"}
	}
	u.refusals = append(u.refusals, e)
}

// stranger counts a refusal by its source. The caller holds u.mu.
func (u *usage) stranger(result string, now time.Time, o ident.Origin) {
	id := sourceMinute{ident.NetworkOf(o.IP), now.Truncate(time.Minute).Unix()}
	if u.sources == nil {
		u.sources = make(map[sourceMinute]*strangers)
	}
	if len(u.sources) >= maxSources && u.sources[id] == nil {
		id.source = netip.Prefix{}
	}
	s := u.sources[id]
	if s == nil {
		s = &strangers{byResult: make(map[string]int)}
		u.sources[id] = s
	}
	s.last = o
	s.byResult[result]++
}

// counted is what was taken out of memory to be stored.
type counted struct {
	ids     []useID // in the order of keys and hours, so that replicas lock alike
	tallies map[useID]*tally
	events  []audit.Event
}

// take empties the counters, but for aggregates of minutes from before on.
func (u *usage) take(before time.Time) counted {
	c := counted{tallies: make(map[useID]*tally)}
	for i := range u.shards {
		sh := &u.shards[i]
		sh.mu.Lock()
		maps.Copy(c.tallies, sh.counts)
		sh.counts = nil
		sh.mu.Unlock()
	}
	c.ids = slices.SortedFunc(maps.Keys(c.tallies), func(a, b useID) int {
		return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.hour, b.hour), cmp.Compare(a.generation, b.generation))
	})
	u.mu.Lock()
	defer u.mu.Unlock()
	c.events, u.refusals = u.refusals, nil
	for id, s := range u.sources {
		if id.minute < before.Unix() {
			c.events = append(c.events, s.event(id))
			delete(u.sources, id)
		}
	}
	return c
}

func (s *strangers) event(id sourceMinute) audit.Event {
	meta := make(map[string]string, len(s.byResult)+1)
	for result, n := range s.byResult {
		meta[result] = strconv.Itoa(n)
	}
	if id.source.IsValid() {
		meta["source"] = id.source.String()
	}
	return audit.Event{
		Time: time.Unix(id.minute, 0).UTC(), Name: audit.APIKeyRefused, Outcome: audit.Failure, Reason: resultUnknown,
		Actor: audit.Actor{Type: string(ident.Anonymous), Via: "api_key"}, Origin: s.last, Meta: meta,
	}
}

// giveBack puts what could not be stored into memory again, the events as far
// as there is room.
func (u *usage) giveBack(c counted) {
	for _, id := range c.ids {
		from := c.tallies[id]
		sh := u.shard(from.key)
		sh.mu.Lock()
		to := sh.tally(id, from.key)
		if to.ok == 0 {
			to.last, to.lastAt = from.last, from.lastAt
		}
		if from.ok > 0 {
			to.first, to.firstAt = from.first, from.firstAt
		}
		to.ok += from.ok
		to.refused += from.refused
		to.limited += from.limited
		sh.mu.Unlock()
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	room := max(0, maxRefusals+maxSources-len(u.refusals))
	u.refusals = append(c.events[:min(room, len(c.events))], u.refusals...)
}

func actorOf(k *Key) audit.Actor {
	return audit.Actor{Type: string(ident.APIKey), ID: string(k.ID), Name: k.Name, Org: k.Org, Via: "api_key"}
}

func targetOf(k *Key) audit.Target {
	return audit.Target{Type: "api_key", ID: string(k.ID), Name: k.Name}
}

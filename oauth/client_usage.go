package oauth

import (
	"context"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// maxClientUses bounds what is kept in memory between two flushes; beyond it
// uses are told of together, without a client.
const maxClientUses = 4096

// ClientUsage keeps what clients did until it is flushed to the audit log, so
// that a token costs no write: the first token of each client or API key in an hour, and
// the refusals of each client and network in a minute, counted. It is ready to
// use once its fields are set; a nil one keeps nothing.
type ClientUsage struct {
	Recorder audit.Recorder
	Now      func() time.Time
	// RecordEach records every token, before it is handed out, instead of the
	// first of each hour.
	RecordEach bool

	mu    sync.Mutex
	hour  int64
	told  map[string]struct{} // the principals that had their event of the hour
	kept  map[clientUse]*usageEvent
	order []clientUse
}

// clientUse names one event to be.
type clientUse struct {
	name      audit.Name
	principal string
	reason    string
	source    netip.Prefix
	minute    int64 // unix seconds of its start; 0 for the routine event
}

type usageEvent struct {
	event audit.Event
	count int
}

// issued notes that the client got a token of its own.
func (u *ClientUsage) issued(ctx context.Context, c Client, origin ident.Origin) error {
	if u == nil {
		return nil
	}
	return u.routine(ctx, string(c.ID), audit.Event{
		Time: u.Now(), Name: audit.ClientTokenIssued, Outcome: audit.Success, Origin: origin, Org: c.Org,
		Actor:   audit.Actor{Type: string(ident.ServiceClient), ID: string(c.ID), Org: c.Org, Via: GrantClientCredentials},
		Targets: []audit.Target{{Type: "client", ID: string(c.ID)}},
	})
}

// exchanged notes that the client got a token for an API key.
func (u *ClientUsage) exchanged(ctx context.Context, c Client, key ident.Caller) error {
	if u == nil {
		return nil
	}
	e := audit.By(key, u.Now(), audit.TokenExchanged, audit.Target{Type: "api_key", ID: string(key.Key)})
	if c.Registered != nil {
		e.Targets = append(e.Targets, audit.Target{Type: "client", ID: string(c.ID), Name: c.Registered.Name})
	}
	return u.routine(ctx, string(key.Key)+" "+string(c.ID), e)
}

// routine keeps the event where it is the first of the principal's in this hour,
// or records it at once where each is to be.
func (u *ClientUsage) routine(ctx context.Context, principal string, e audit.Event) error {
	if u.RecordEach {
		return u.Recorder.RecordAll(ctx, e)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if hour := e.Time.Unix() / 3600; u.told == nil || hour != u.hour || len(u.told) >= maxClientUses {
		u.hour, u.told = hour, map[string]struct{}{}
	}
	if _, had := u.told[principal]; had {
		return nil
	}
	u.told[principal] = struct{}{}
	u.keep(clientUse{name: e.Name, principal: principal, minute: u.hour}, e)
	return nil
}

// refused notes that a request did not prove to come from r, which is zero where
// it named no client. Whoever only names a client is not the client.
func (u *ClientUsage) refused(r Registered, reason string, origin ident.Origin) {
	if u == nil {
		return
	}
	now := u.Now()
	e := audit.Event{
		Time: now, Name: audit.ClientRefused, Outcome: audit.Failure, Reason: reason, Origin: origin, Org: r.Org,
		Actor: audit.Actor{Type: string(ident.Anonymous), Via: "client"},
	}
	if r.ID != "" {
		e.Targets = []audit.Target{{Type: "client", ID: string(r.ID), Name: r.Name}}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.keep(clientUse{audit.ClientRefused, string(r.ID), reason, networkOf(origin.IP), now.Truncate(time.Minute).Unix()}, e)
}

// networkOf is the network that one subscriber usually has.
func networkOf(ip netip.Addr) netip.Prefix {
	if !ip.IsValid() {
		return netip.Prefix{}
	}
	ip = ip.Unmap().WithZone("")
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	p, _ := ip.Prefix(bits) // fails for impossible lengths only
	return p
}

// keep counts the event. The caller holds u.mu.
func (u *ClientUsage) keep(id clientUse, e audit.Event) {
	if u.kept == nil {
		u.kept = map[clientUse]*usageEvent{}
	}
	if len(u.kept) >= maxClientUses && u.kept[id] == nil {
		id = clientUse{name: id.name, reason: id.reason}
		e.Targets, e.Org = nil, ""
	}
	if k := u.kept[id]; k != nil {
		k.count++
		return
	}
	u.kept[id] = &usageEvent{event: e, count: 1}
	u.order = append(u.order, id)
}

// Flush stores what was kept. What cannot be stored is kept for the next time.
func (u *ClientUsage) Flush(ctx context.Context) error {
	u.mu.Lock()
	kept, order := u.kept, u.order
	u.kept, u.order = nil, nil
	u.mu.Unlock()
	if len(order) == 0 {
		return nil
	}
	events := make([]audit.Event, len(order))
	for i, id := range order {
		events[i] = kept[id].event
		if n := kept[id].count; n > 1 {
			events[i].Meta = map[string]string{"count": strconv.Itoa(n)}
		}
	}
	err := u.Recorder.RecordAll(ctx, events...)
	if err != nil {
		u.giveBack(kept, order)
	}
	return err
}

// giveBack keeps again what could not be stored, as far as there is room.
func (u *ClientUsage) giveBack(kept map[clientUse]*usageEvent, order []clientUse) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, id := range order {
		k := kept[id]
		before := u.kept[id]
		u.keep(id, k.event)
		if now := u.kept[id]; now != nil {
			now.count += k.count - 1
			if before != nil {
				now.event = k.event // the earlier one says when it began
			}
		}
	}
}

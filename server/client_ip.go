package server

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// maxHops is how many addresses of X-Forwarded-For are looked at.
const maxHops = 64

// proxies are the peers whose forwarding headers are believed. The zero value
// believes nobody.
type proxies []netip.Prefix

func (p proxies) trusts(a netip.Addr) bool {
	return slices.ContainsFunc(p, func(n netip.Prefix) bool { return n.Contains(a) })
}

// clientIP is the right-most hop that is not a trusted proxy: whatever stands
// left of it was written by a stranger. Only X-Forwarded-For is read, and only
// from a trusted peer. RFC 7239 Forwarded is not read at all: a proxy that sets
// one of the two headers passes the other through unchecked.
func (p proxies) clientIP(r *http.Request) netip.Addr {
	at, ok := hop(r.RemoteAddr)
	if !ok || !p.trusts(at) {
		return at
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, h := range slices.Backward(hops[max(0, len(hops)-maxHops):]) {
		next, ok := hop(h)
		if !ok {
			return at // a proxy we trust wrote this: the last sound hop is the best we know
		}
		if at = next; !p.trusts(at) {
			return at
		}
	}
	return at
}

// overTLS reports whether the client's connection was TLS: ours, or that of a
// trusted proxy which says so in X-Forwarded-Proto. The right-most value is the
// one our own peer wrote.
func (p proxies) overTLS(r *http.Request) bool {
	sent := r.Header.Values("X-Forwarded-Proto")
	if r.TLS != nil || len(sent) == 0 {
		return r.TLS != nil
	}
	if peer, ok := hop(r.RemoteAddr); !ok || !p.trusts(peer) {
		return false
	}
	values := strings.Split(strings.Join(sent, ","), ",")
	return strings.EqualFold(strings.TrimSpace(values[len(values)-1]), "https")
}

// hop reads an address with or without a port. IPv4 in IPv6 is IPv4, and a zone
// is dropped: one client has one spelling.
func hop(s string) (netip.Addr, bool) {
	s = strings.TrimSpace(s)
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().WithZone(""), true
	}
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
	if err != nil {
		return netip.Addr{}, false
	}
	return a.Unmap().WithZone(""), true
}

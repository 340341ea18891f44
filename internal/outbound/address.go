package outbound

import (
	"fmt"
	"net/netip"
	"slices"
)

// publicIPv6 is all that is assigned for use between networks (RFC 4291 §2.4).
// What lies outside reaches our own networks or an IPv4 address in disguise:
// loopback, link-local, unique local and multicast; ::ffff:0:0/96 (RFC 4291
// §2.5.5.2), 64:ff9b::/96 (RFC 6052 §2.1), 64:ff9b:1::/48 (RFC 8215 §3).
var publicIPv6 = netip.MustParsePrefix("2000::/3")

// special are the parts of the address space that are not for a host of the
// public internet (RFC 6890 §2.2 and the registries that it began).
var special = []struct {
	network netip.Prefix
	what    string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "this network"},
	{netip.MustParsePrefix("10.0.0.0/8"), "private"},
	{netip.MustParsePrefix("100.64.0.0/10"), "carrier-grade NAT"},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback"},
	{netip.MustParsePrefix("168.63.129.16/32"), "a cloud's metadata"}, // Azure answers its guests here
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local"},
	{netip.MustParsePrefix("172.16.0.0/12"), "private"},
	{netip.MustParsePrefix("192.0.0.0/24"), "protocol assignments"},
	{netip.MustParsePrefix("192.0.2.0/24"), "documentation"},
	{netip.MustParsePrefix("192.88.99.0/24"), "6to4 relay"},
	{netip.MustParsePrefix("192.168.0.0/16"), "private"},
	{netip.MustParsePrefix("198.18.0.0/15"), "benchmarking"},
	{netip.MustParsePrefix("198.51.100.0/24"), "documentation"},
	{netip.MustParsePrefix("203.0.113.0/24"), "documentation"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved"},

	{netip.MustParsePrefix("2001::/23"), "protocol assignments"}, // Teredo among them
	{netip.MustParsePrefix("2001:db8::/32"), "documentation"},
	{netip.MustParsePrefix("2002::/16"), "6to4"},
	{netip.MustParsePrefix("3fff::/20"), "documentation"},
}

// Loopback returns the networks of this machine alone, for Client.Networks in
// development.
func Loopback() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}

// notPublic says what kind of address a is; empty where it is a public one.
func notPublic(a netip.Addr) string {
	for _, s := range special {
		if s.network.Contains(a) {
			return s.what
		}
	}
	if !a.IsValid() || a.Zone() != "" || a.Is6() && !publicIPv6.Contains(a) {
		return "not a public address"
	}
	return ""
}

// permit says whether t may be had from a, to which its host resolved.
func (c *Client) permit(t target, a netip.Addr) error {
	listed := slices.ContainsFunc(c.Networks, func(p netip.Prefix) bool { return p.Contains(a) })
	if listed && a.IsLoopback() {
		return nil
	}
	if err := c.door(t); err != nil {
		return err
	}
	if what := notPublic(a); what != "" && !listed {
		return fmt.Errorf("%w: %s is at %s (%s)", ErrRefused, t.host, a, what)
	}
	return nil
}

// door judges the scheme and the port of a target that is not on this machine.
func (c *Client) door(t target) error {
	if t.url.Scheme != "https" {
		return fmt.Errorf("%w: %s: only https may be used", ErrRefused, t.host)
	}
	if t.port != 443 && !slices.Contains(c.Ports, t.port) {
		return fmt.Errorf("%w: %s: port %d may not be used", ErrRefused, t.host, t.port)
	}
	return nil
}

// allowsLoopback reports whether anything on this machine may be asked.
func (c *Client) allowsLoopback() bool {
	return slices.ContainsFunc(c.Networks, func(p netip.Prefix) bool { return p.Addr().IsLoopback() })
}

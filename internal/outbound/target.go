package outbound

import (
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// maxURL bounds an address, in bytes.
const maxURL = 2048

// target is an address in its parts, each of which has one reading only.
type target struct {
	url     *url.URL
	host    string     // without port and brackets
	literal netip.Addr // where host is an address; invalid where it is a name
	port    uint16
}

// CheckURL says whether raw is an address that this client might be asked for,
// as far as that shows without asking the network: https (http only where
// loopback is allowed), an allowed port, no user information, no fragment, no
// forbidden address, no address written in an unusual form. It is for the
// registration of addresses; Do checks again. The error is ErrRefused.
func (c *Client) CheckURL(raw string) error {
	t, err := parse(raw)
	switch {
	case err != nil:
		return err
	case t.literal.IsValid():
		return c.permit(t, t.literal)
	case c.allowsLoopback():
		return nil // whether the name is this machine's shows when it is resolved
	default:
		return c.door(t)
	}
}

// parse refuses everything that two programs might read differently.
func parse(raw string) (target, error) {
	if len(raw) > maxURL {
		return target{}, fmt.Errorf("%w: the URL is longer than %d bytes", ErrRefused, maxURL)
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil: // its text would repeat the URL, which may carry a secret
		return target{}, fmt.Errorf("%w: not a URL", ErrRefused)
	case u.Scheme != "https" && u.Scheme != "http":
		return target{}, fmt.Errorf("%w: only https may be used", ErrRefused)
	case u.Opaque != "" || u.Hostname() == "":
		return target{}, fmt.Errorf("%w: the URL has no host", ErrRefused)
	case u.User != nil:
		return target{}, fmt.Errorf("%w: the URL has user information", ErrRefused)
	case strings.Contains(raw, "#"):
		return target{}, fmt.Errorf("%w: the URL has a fragment", ErrRefused)
	}
	t := target{url: u, host: u.Hostname(), port: 443}
	if u.Scheme == "http" {
		t.port = 80
	}
	if p := u.Port(); p != "" {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil {
			return target{}, fmt.Errorf("%w: the port is not a number below 65536", ErrRefused)
		}
		t.port = uint16(n)
	}
	if a, err := netip.ParseAddr(t.host); err == nil {
		if a.Is4In6() || a.Zone() != "" {
			return target{}, fmt.Errorf("%w: %s is an unusual form of an address", ErrRefused, a)
		}
		t.literal = a
		return t, nil
	}
	if !goodName(t.host) {
		return target{}, fmt.Errorf("%w: the host is neither a name nor an address", ErrRefused)
	}
	return t, nil
}

// goodName reports whether s has the syntax of a host's name (RFC 1123 §2.1).
// A last label that begins with a digit is refused, because some resolvers read
// 127.1, 0177.0.0.1, 2130706433 and 0x7f.1 as addresses; no top-level domain
// begins so.
func goodName(s string) bool {
	if len(s) > 253 {
		return false
	}
	labels := strings.Split(s, ".")
	for _, l := range labels {
		if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' || strings.Trim(l, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") != "" {
			return false
		}
	}
	first := labels[len(labels)-1][0]
	return first < '0' || first > '9'
}

// maxTried bounds how many addresses of one host are tried.
const maxTried = 4

// resolve asks for the addresses of t once and returns the permitted ones.
// Only what it returns is ever connected to, so that a second answer of the
// same name (DNS rebinding) has no one to mislead.
func (c *Client) resolve(ctx context.Context, t target) ([]netip.AddrPort, error) {
	found := []netip.Addr{t.literal}
	if !t.literal.IsValid() {
		var err error
		if found, err = c.resolver().LookupNetIP(ctx, "ip", t.host); err != nil {
			return nil, fmt.Errorf("%w: resolve %s: %w", ErrUnreachable, t.host, err)
		}
	}
	var permitted []netip.AddrPort
	var refusal error
	for _, a := range found {
		a = a.Unmap() // Go's resolver writes IPv4 addresses in either form
		if err := c.permit(t, a); err != nil {
			refusal = err
			continue
		}
		if len(permitted) < maxTried {
			permitted = append(permitted, netip.AddrPortFrom(a, t.port))
		}
	}
	switch {
	case len(permitted) > 0:
		return permitted, nil
	case refusal != nil:
		return nil, refusal
	default:
		return nil, fmt.Errorf("%w: %s has no address", ErrUnreachable, t.host)
	}
}

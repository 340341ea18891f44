package server

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

func TestClientIP(t *testing.T) {
	trusted := proxies{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for _, c := range []struct {
		name, peer string
		headers    []string
		want       string
	}{
		{"a stranger's header is not believed", "203.0.113.9:1", []string{"X-Forwarded-For", "198.51.100.1"}, "203.0.113.9"},
		{"the proxy's is", "10.0.0.1:1", []string{"X-Forwarded-For", "198.51.100.1"}, "198.51.100.1"},
		{"the right-most untrusted hop counts", "10.0.0.1:1", []string{"X-Forwarded-For", "1.1.1.1, 198.51.100.1, 10.9.9.9"}, "198.51.100.1"},
		{"repeated headers are one list", "10.0.0.1:1", []string{"X-Forwarded-For", "1.1.1.1", "X-Forwarded-For", "198.51.100.1"}, "198.51.100.1"},
		{"SEC-LOG-12: underscores are another header", "10.0.0.1:1", []string{"X_Forwarded_For", "1.1.1.1", "X_Forwarded-For", "2.2.2.2"}, "10.0.0.1"},
		{"SEC-LOG-12: a forged left part changes nothing", "10.0.0.1:1", []string{"X-Forwarded-For", "127.0.0.1, 198.51.100.1"}, "198.51.100.1"},
		{"other headers are not read", "10.0.0.1:1", []string{"Forwarded", "for=1.1.1.1", "X-Real-Ip", "2.2.2.2", "True-Client-Ip", "3.3.3.3", "Cf-Connecting-Ip", "4.4.4.4"}, "10.0.0.1"},
		{"rubbish ends the list", "10.0.0.1:1", []string{"X-Forwarded-For", "1.1.1.1, unknown, 10.2.2.2"}, "10.2.2.2"},
		{"rubbish alone", "10.0.0.1:1", []string{"X-Forwarded-For", "<script>"}, "10.0.0.1"},
		{"empty", "10.0.0.1:1", []string{"X-Forwarded-For", ""}, "10.0.0.1"},
		{"only proxies: the farthest", "10.0.0.1:1", []string{"X-Forwarded-For", "10.3.3.3, 10.2.2.2"}, "10.3.3.3"},
		{"with a port", "10.0.0.1:1", []string{"X-Forwarded-For", "198.51.100.1:4711"}, "198.51.100.1"},
		{"IPv6 with a port", "[fd00::1]:1", []string{"X-Forwarded-For", "[2001:db8::5]:4711"}, "2001:db8::5"},
		{"IPv6 in brackets", "[fd00::1]:1", []string{"X-Forwarded-For", "[2001:db8::5]"}, "2001:db8::5"},
		{"IPv4 in IPv6 is IPv4", "[::ffff:10.0.0.1]:1", []string{"X-Forwarded-For", "::ffff:198.51.100.1"}, "198.51.100.1"},
		{"a zone is no part of the address", "[fd00::1%eth0]:1", []string{"X-Forwarded-For", "2001:db8::5%x"}, "2001:db8::5"},
		{"very many hops", "10.0.0.1:1", []string{"X-Forwarded-For", strings.Repeat("10.0.0.2,", 5000) + "10.0.0.2"}, "10.0.0.2"},
		{"a Unix socket", "@", nil, "invalid IP"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.RemoteAddr = c.peer
			for i := 0; i < len(c.headers); i += 2 {
				r.Header.Add(c.headers[i], c.headers[i+1])
			}
			if got := trusted.clientIP(r).String(); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestOverTLS(t *testing.T) {
	trusted := proxies{netip.MustParsePrefix("10.0.0.0/8")}
	for _, c := range []struct {
		name, peer string
		headers    []string
		tls, want  bool
	}{
		{"our own TLS", "203.0.113.9:1", nil, true, true},
		{"cleartext", "203.0.113.9:1", nil, false, false},
		{"SEC-OAU-62: a stranger's word", "203.0.113.9:1", []string{"X-Forwarded-Proto", "https"}, false, false},
		{"the proxy's word", "10.0.0.1:1", []string{"X-Forwarded-Proto", "HTTPS"}, false, true},
		{"the proxy says cleartext", "10.0.0.1:1", []string{"X-Forwarded-Proto", "http"}, false, false},
		{"the client's word, passed on", "10.0.0.1:1", []string{"X-Forwarded-Proto", "https, http"}, false, false},
		{"the same in two headers", "10.0.0.1:1", []string{"X-Forwarded-Proto", "https", "X-Forwarded-Proto", "http"}, false, false},
		{"other headers", "10.0.0.1:1", []string{"X-Forwarded-Ssl", "on", "Forwarded", "proto=https", "Front-End-Https", "on"}, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.RemoteAddr = c.peer
			if c.tls {
				r.TLS = &tls.ConnectionState{}
			}
			for i := 0; i < len(c.headers); i += 2 {
				r.Header.Add(c.headers[i], c.headers[i+1])
			}
			if got := trusted.overTLS(r); got != c.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

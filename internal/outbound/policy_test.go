package outbound_test

import (
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tokenhouse/tokenhouse/internal/outbound"
)

// hostile are addresses that only we can reach, and ways to write them.
var hostile = []string{
	"0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200", "100.127.255.255",
	"127.0.0.1", "127.0.0.53", "127.255.255.254", "168.63.129.16", "169.254.0.1", "169.254.169.254", "172.16.0.1", "172.31.255.255",
	"192.0.0.1", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.0.1", "192.168.255.255", "198.18.0.1", "198.19.255.255",
	"198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
	"::", "::1", "::2", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:a9fe:a9fe", "::ffff:0:127.0.0.1",
	"64:ff9b::7f00:1", "64:ff9b::10.0.0.1", "64:ff9b:1::1", "100::1", "2001::1", "2001:0:7f00:1::", "2001:2::1", "2001:10::1", "2001:20::1",
	"2001:db8::1", "2002:7f00:1::1", "2002:a00:1::", "3fff::1", "4000::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1",
	"ff02::1", "ff05::2",
}

// SEC-INJ-13: whether it stands in the URL or a name resolves to it, no
// connection is made to an address that is not public.
func TestOnlyPublicAddressesAreConnectedTo(t *testing.T) {
	web := newInternet(t)
	c := web.client()
	for _, a := range hostile {
		url := "https://" + a + "/keys"
		if strings.Contains(a, ":") {
			url = "https://[" + a + "]/keys"
		}
		fails(t, c.CheckURL(url), outbound.ErrRefused)
		_, err := c.Do(t.Context(), outbound.Request{URL: url})
		fails(t, err, outbound.ErrRefused)
		web.name("client.example", a)
		_, err = c.Do(t.Context(), outbound.Request{URL: "https://client.example/keys"})
		fails(t, err, outbound.ErrRefused)
		if t.Failed() {
			t.Fatalf("at %s", a)
		}
	}
	web.went()
}

// SEC-INJ-13: whatever is let through is public by the definitions of the
// standard library, and the other way round for IPv4's private networks.
func TestWhatIsLetThroughIsPublic(t *testing.T) {
	c := &outbound.Client{}
	rapid.Check(t, func(t *rapid.T) {
		var a netip.Addr
		if b := rapid.SliceOfN(rapid.Byte(), 4, 4); rapid.Bool().Draw(t, "v4") {
			a, _ = netip.AddrFromSlice(b.Draw(t, "addr"))
		} else {
			head := rapid.SampledFrom([][]byte{{}, {0}, {0x20}, {0x20, 0x01}, {0x20, 0x02}, {0x26}, {0xfe}, {0xff}, make([]byte, 10)}).Draw(t, "head")
			tail := rapid.SliceOfN(rapid.Byte(), 16-len(head), 16-len(head)).Draw(t, "tail")
			a, _ = netip.AddrFromSlice(append(append([]byte{}, head...), tail...))
		}
		u := "https://" + netip.AddrPortFrom(a, 443).String() + "/"
		if c.CheckURL(u) != nil {
			return
		}
		if !a.IsGlobalUnicast() || a.IsPrivate() || a.Is4In6() || a.IsLoopback() || a.IsMulticast() || a.IsUnspecified() || a.IsLinkLocalUnicast() {
			t.Fatalf("%s is let through", a)
		}
	})
}

func TestPublicAddressesAreLetThrough(t *testing.T) {
	c := &outbound.Client{Ports: []uint16{8443}}
	for _, url := range []string{
		"https://client.example/keys", "https://client.example", "HTTPS://Client.Example:443/keys?v=1", "https://client.example:8443/", "https://xn--bcher-kva.example/",
		"https://1.1.1.1/", "https://9.255.255.255/", "https://11.0.0.0/", "https://100.63.255.255/", "https://100.128.0.0/", "https://126.255.255.255/",
		"https://128.0.0.0/", "https://172.15.255.255/", "https://172.32.0.0/", "https://192.0.1.0/", "https://192.167.255.255/", "https://223.255.255.255/",
		"https://[2606:4700::1111]/", "https://[2001:200::1]/", "https://[2003::1]:443/", "https://[2a00:1450:4001::200e]/", "https://3com.example/",
	} {
		if err := c.CheckURL(url); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// SEC-INJ-13: forms of a URL that are refused before any name is looked up.
func TestUnusualURLsAreRefusedUnseen(t *testing.T) {
	web := newInternet(t)
	c := web.client()
	for _, url := range []string{
		"", "/keys", "//client.example/keys", "client.example/keys", "https:", "https:client.example", "https://", "https:///keys", "https://:443/",
		"http://client.example/", "file:///etc/passwd", "file://client.example/x", "gopher://client.example:443/_x", "ftp://client.example/", "data:application/json,{}", "javascript:alert(1)",
		"dict://client.example:11211/", "ldap://client.example/", "unix:///var/run/docker.sock", "jar:https://client.example!/", "ws://client.example/",
		"https://client.example:22/", "https://client.example:80/", "https://client.example:6379/", "https://client.example:0/", "https://client.example:65536/", "https://client.example:65979/",
		"https://client.example:443443443443443443443/", "https://client.example:-1/", "https://client.example:x/", "https://93.184.216.34:8080/",
		"https://user@client.example/", "https://user:secret@client.example/", "https://client.example@127.0.0.1/", "https://@client.example/",
		"https://client.example/#x", "https://client.example/#", `https://client.example\@127.0.0.1/`, "https://client.example /", "https://client.example\r\nX: y/", "https://client.example\t/", "\thttps://client.example/",
		"https://2130706433/", "https://0x7f000001/", "https://0x7f.0.0.1/", "https://0177.0.0.1/", "https://127.1/", "https://127.0.1/", "https://017700000001/", "https://127.0.0.1./",
		"https://1.2.3.4.5/", "https://999.1.1.1/", "https://client.0x1/", "https://[::ffff:93.184.216.34]/", "https://[::ffff:5db8:d822]/", "https://[fe80::1%25eth0]/", "https://[2606:4700::1111%25eth0]/", "https://[::1/",
		"https://[v1.fe80]/", "https://client..example/", "https://.client.example/", "https://client.example./", "https://-client.example/", "https://client-.example/", "https://client_x.example/",
		"https://*.example/", "https://cli%65nt.example/", "https://client.example%00.evil.example/", "https://clıent.example/", "https://①②⑦.⓪.⓪.①/", "https://127。0。0。1/",
		"https://" + strings.Repeat("a", 64) + ".example/", "https://" + strings.Repeat("a.", 130) + "example/", "https://client.example/" + strings.Repeat("a", 2048),
	} {
		if err := c.CheckURL(url); err == nil {
			t.Errorf("%q passes the check", url)
		}
		_, err := c.Do(t.Context(), outbound.Request{URL: url})
		if err == nil {
			t.Errorf("%q is asked", url)
		}
	}
	// Neither the resolver nor the dialer has seen one that is not a plain name.
	for _, host := range web.lookups {
		if host != "client.example" {
			t.Errorf("%q was looked up", host)
		}
	}
	web.went()
}

func TestRefusalsDoNotRepeatWhatTheURLCarries(t *testing.T) {
	web := newInternet(t)
	c := web.client()
	web.name("client.example", "10.0.0.1")
	web.name("dead.example", here)
	for _, url := range []string{
		"https://user:s3cret@client.example/", "https://client.example/?token=s3cret", "https://client.example/s3cret", "https://client.example:99/s3cret",
		"https://dead.example/s3cret", "https://gone.example/?s3cret", "https://client.example/\x7fs3cret", "ftp://client.example/s3cret",
	} {
		_, err := c.Do(t.Context(), outbound.Request{URL: url, Header: map[string]string{"Authorization": "s3cret"}})
		if err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: %v", url, err)
		}
	}
}

func TestRefusalsTellTheOperatorWhy(t *testing.T) {
	web := newInternet(t)
	web.name("client.example", "169.254.169.254")
	_, err := web.client().Do(t.Context(), outbound.Request{URL: "https://client.example/"})
	for _, part := range []string{"client.example", "169.254.169.254", "link-local"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v does not say %s", err, part)
		}
	}
}

func TestAnAllowedNetworkIsReachedByTheSameRules(t *testing.T) {
	web := newInternet(t)
	web.serve("webhooks.corp.example", "10.1.2.3", text("{}"))
	web.name("other.corp.example", "10.2.0.1")
	c := web.client()
	c.Networks = []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}
	if _, err := c.Do(t.Context(), outbound.Request{URL: "https://webhooks.corp.example/"}); err != nil {
		t.Error(err)
	}
	web.went("10.1.2.3:443")
	for _, url := range []string{"https://other.corp.example/", "http://webhooks.corp.example/", "https://webhooks.corp.example:8080/", "https://10.1.2.3:22/", "http://10.1.2.3/", "https://127.0.0.1/"} {
		_, err := c.Do(t.Context(), outbound.Request{URL: url})
		fails(t, err, outbound.ErrRefused)
	}
	web.went()
}

func TestLoopbackIsReachedWhereItIsAllowed(t *testing.T) {
	web := newInternet(t)
	web.name("localhost", "::1", "127.0.0.1")
	web.name("client.example", here)
	c := web.client()
	c.Networks = outbound.Loopback()
	for _, url := range []string{"http://localhost:3000/keys", "http://127.0.0.1:3000/keys", "http://[::1]/keys", "https://localhost:3000/"} {
		if err := c.CheckURL(url); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
	_, err := c.Do(t.Context(), outbound.Request{URL: "http://localhost:3000/keys"})
	fails(t, err, outbound.ErrUnreachable)
	web.went("[::1]:3000", "127.0.0.1:3000")
	for _, url := range []string{"http://client.example/", "https://client.example:3000/", "https://10.0.0.1/", "http://93.184.216.34/", "https://169.254.169.254/"} {
		_, err := c.Do(t.Context(), outbound.Request{URL: url})
		fails(t, err, outbound.ErrRefused)
	}
	web.went()
}

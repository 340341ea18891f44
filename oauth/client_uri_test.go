package oauth

import (
	"net/url"
	"strings"
	"testing"
)

// SEC-OAU-01, SEC-OAU-02, SEC-OAU-04, SEC-OAU-06: what may be registered, and
// what readers of addresses would not agree about.
func TestRedirectAddresses(t *testing.T) {
	for _, s := range []string{
		"https://a.example/cb", "https://a.example", "https://a.example/", "https://a.example:8443/cb?x=1&y=%20z", "https://[2001:db8::1]/cb",
		"https://xn--bcher-kva.example/cb", "http://localhost/cb", "http://localhost:3000/cb", "http://127.0.0.1/cb", "http://127.0.0.1:65535/cb", "http://[::1]:8080/cb",
		"com.example.app:/cb", "com.example.app:/", "com.example.app://oauth/cb",
		"https://a.example/" + strings.Repeat("x", maxURI-len("https://a.example/")),
	} {
		if trouble := redirectTrouble(s); trouble != "" {
			t.Errorf("%s: %s", s, trouble)
		}
	}
	for s, want := range map[string]string{
		"": uriForm, "/cb": uriForm, "//evil.example/cb": uriForm, "a.example/cb": uriForm, "https:": uriHost, "https:///cb": uriHost, "https:/a.example/cb": uriHost, "https:a.example": uriHost,
		"HTTPS://a.example/cb": uriForm, "Https://a.example/cb": uriForm, "https://A.example/cb": uriHost,
		"https://a.example/cb#": uriFragment, "https://a.example/cb#x": uriFragment, "https://a.example#@evil.example": uriFragment,
		"https://a@evil.example/cb": uriUserinfo, "https://a.example:x@evil.example/cb": uriUserinfo, "https://@a.example/cb": uriUserinfo,
		"javascript:alert(1)": uriScheme, "data:text/html,x": uriScheme, "file:///etc/passwd": uriScheme, "myapp:/cb": uriScheme, "com.example.app:cb": uriScheme, "com.example.app:": uriScheme,
		"http://a.example/cb": uriWeb, "http://localhost.evil.example/cb": uriWeb, "http://127.0.0.1.evil.example/cb": uriWeb, "http://2130706433/cb": uriWeb, "http://0.0.0.0/cb": uriWeb,
		"http://[::ffff:127.0.0.1]/cb": uriWeb,
		"https://a.example/cb/../x":    uriDots, "https://a.example/cb/..": uriDots, "https://a.example/./cb": uriDots, "https://a.example/cb/%2e%2e/x": uriDots, "https://a.example/cb/..;/x": uriDots,
		"https://a.example/cb/..%2fx": uriDots, "https://a.example/cb%252f..": uriDots, "https://a.example/cb%5c..": uriDots, "https://a.example/cb%00": uriDots,
		"https://*.example/cb": uriForm, "https://a.example/*": uriForm, "https://evil.example\\@a.example": uriForm, "https://a.example/c\tb": uriForm, "https://a.example/c\nb": uriForm,
		"https://a.example/c\x00b": uriForm, "https://a.example/c b": uriForm, "https://a．example/cb": uriForm, "https://bücher.example/cb": uriForm, "https://a.example/%zz": uriForm,
		"https://[fe80::1%25eth0]/cb": uriHost, "https://a%2eexample/cb": uriForm, "https://a..example/cb": uriHost, "https://.example/cb": uriHost,
		"https://a.example:/cb": uriHost, "https://a.example:0/cb": uriHost, "https://a.example:65536/cb": uriHost, "https://a.example:x/cb": uriForm, "https://a.example,b.example/cb": uriHost,
		"https://a.example/" + strings.Repeat("x", maxURI): uriForm,
	} {
		if got := redirectTrouble(s); got != want {
			t.Errorf("%q: %q, want %q", s, got, want)
		}
	}
	if webTrouble("com.example.app:/cb") != uriWeb || webTrouble("https://a.example/cb") != "" {
		t.Error("an address of an application is taken for one of a web server")
	}
}

// FuzzRedirect: what passes is written as the standard parser would write it
// or at least names the host that it names, and nothing in it is hidden.
func FuzzRedirect(f *testing.F) {
	for _, s := range []string{"https://a.example/cb", "http://127.0.0.1:1/", "com.example.app:/cb", "https://a@b/", "https://a.example/%2e%2e/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if redirectTrouble(s) != "" {
			return
		}
		u, err := url.Parse(s)
		if err != nil || u.User != nil || u.Fragment != "" || strings.ContainsAny(s, " #\\*\t\n") {
			t.Fatalf("%q passed", s)
		}
		switch {
		case u.Scheme == "http" || u.Scheme == "https":
			if !strings.HasPrefix(s, u.Scheme+"://"+u.Host) || u.Host == "" || u.Scheme == "http" && !loopback(u.Hostname()) {
				t.Fatalf("%q passed", s)
			}
		case !strings.Contains(u.Scheme, "."):
			t.Fatalf("%q passed", s)
		}
	})
}

package outbound_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tokenhouse/tokenhouse/internal/outbound"
)

func TestAnAnswerIsReturnedWhole(t *testing.T) {
	web := newInternet(t)
	var got *http.Request
	var body []byte
	web.serve("client.example", here, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "Application/JSON")
		w.Header().Set("ETag", `"1"`)
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"ok":true}`)
	}))
	res, err := web.client().Do(t.Context(), outbound.Request{
		Method: http.MethodPost, URL: "https://client.example/hook?x=1", Body: []byte("a=b"),
		Header: map[string]string{"Content-Type": "application/x-www-form-urlencoded", "Host": "evil.example"},
		Accept: []string{"application/json"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if res.Status != http.StatusCreated || string(res.Body) != `{"ok":true}` || res.Header.Get("ETag") != `"1"` {
		t.Errorf("got %d %q %v", res.Status, res.Body, res.Header)
	}
	// The request line names the path alone: nobody was taken for a proxy.
	if got.Method != http.MethodPost || got.RequestURI != "/hook?x=1" || got.Host != "client.example" || string(body) != "a=b" || got.TLS == nil {
		t.Errorf("sent %s %s to %s with %q", got.Method, got.RequestURI, got.Host, body)
	}
	for name, want := range map[string]string{"User-Agent": "tokenhouse", "Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded", "Accept-Encoding": "", "Cookie": ""} {
		if have := got.Header.Get(name); have != want {
			t.Errorf("%s: %q, want %q", name, have, want)
		}
	}
	web.went(here + ":443")
}

func TestNoCookieIsKept(t *testing.T) {
	web := newInternet(t)
	c := web.client()
	web.serve("client.example", here, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.Cookies()) > 0 {
			t.Errorf("sent %v", r.Cookies())
		}
		http.SetCookie(w, &http.Cookie{Name: "id", Value: "1", Domain: "client.example"})
	}))
	for range 2 {
		if _, err := c.Do(t.Context(), outbound.Request{URL: "https://client.example/"}); err != nil {
			t.Fatal(err)
		}
	}
}

// SEC-INJ-13, SEC-INJ-15: a redirect is an answer. Neither a private address nor
// another public one hears of the request or of its credentials.
func TestRedirectsAreNotFollowed(t *testing.T) {
	web := newInternet(t)
	c := web.client()
	web.serve("other.example", there, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("the other host got %v", r.Header)
	}))
	var location string
	var status int
	web.serve("client.example", here, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", location)
		w.WriteHeader(status)
	}))
	for _, status = range []int{301, 302, 303, 307, 308} {
		for _, location = range []string{"https://other.example/", "http://127.0.0.1/", "http://169.254.169.254/latest/meta-data/", "https://client.example/again", "file:///etc/passwd", "//other.example", "\x00"} {
			res, err := c.Do(t.Context(), outbound.Request{URL: "https://client.example/", Header: map[string]string{"Authorization": "Bearer secret"}, Accept: []string{"application/json"}})
			if location == "\x00" && err != nil {
				web.went(here + ":443")
				continue // not an answer at all
			}
			if err != nil || res.Status != status {
				t.Errorf("%d to %q: %d, %v", status, location, res.Status, err)
			}
			web.went(here + ":443")
		}
	}
}

// SEC-INJ-13: the name is resolved once for a request, the address that was
// checked is the one connected to, and the next request begins anew.
func TestAChangingNameMisleadsNobody(t *testing.T) {
	web := newInternet(t)
	c := web.client()
	var reply http.HandlerFunc = func(http.ResponseWriter, *http.Request) {
		web.name("rebind.example", "127.0.0.1") // whoever asks again is sent here
	}
	web.serve("rebind.example", here, reply)
	if _, err := c.Do(t.Context(), outbound.Request{URL: "https://rebind.example/"}); err != nil {
		t.Fatal(err)
	}
	if n := web.asked(); n != 1 {
		t.Errorf("%d lookups for one request", n)
	}
	web.went(here + ":443")
	_, err := c.Do(t.Context(), outbound.Request{URL: "https://rebind.example/"})
	fails(t, err, outbound.ErrRefused)
	web.went()
}

// SEC-INJ-13: among several addresses the forbidden ones are passed over, even
// where the permitted ones do not answer.
func TestForbiddenAddressesAmongOthersArePassedOver(t *testing.T) {
	web := newInternet(t)
	c := web.client()
	web.name("mixed.example", "10.0.0.1", there, "127.0.0.1", here, "::1", "::ffff:192.168.0.1", "::ffff:1.1.1.1", "1.1.1.2", "1.1.1.3")
	_, err := c.Do(t.Context(), outbound.Request{URL: "https://mixed.example/"})
	fails(t, err, outbound.ErrUnreachable)
	web.went("["+there+"]:443", here+":443", "1.1.1.1:443", "1.1.1.2:443")
}

func TestTheNextAddressIsTriedWhereOneIsDead(t *testing.T) {
	web := newInternet(t)
	web.serve("client.example", here, text("{}"))
	web.name("client.example", there, here)
	if _, err := web.client().Do(t.Context(), outbound.Request{URL: "https://client.example/"}); err != nil {
		t.Error(err)
	}
	web.went("["+there+"]:443", here+":443")
}

func TestNamesWithoutAnAddressAreUnreachable(t *testing.T) {
	web := newInternet(t)
	web.name("empty.example")
	for _, url := range []string{"https://gone.example/", "https://empty.example/"} {
		_, err := web.client().Do(t.Context(), outbound.Request{URL: url})
		fails(t, err, outbound.ErrUnreachable)
	}
	web.went()
}

func TestTheServerMustProveItsName(t *testing.T) {
	web, stranger := newInternet(t), newInternet(t)
	web.serve("good.example", here, text("{}"))
	web.serveAs("wrong-name.example", "93.184.216.35", text("{}"), web.tls("good.example"))
	web.serveAs("stranger.example", "93.184.216.36", text("{}"), stranger.tls("stranger.example"))
	web.serveAs("1.1.1.1", "1.1.1.1", text("{}"), web.tls("1.1.1.1"))
	c := web.client()
	for url, want := range map[string]error{
		"https://good.example/": nil, "https://1.1.1.1/": nil,
		"https://wrong-name.example/": outbound.ErrUnreachable, "https://stranger.example/": outbound.ErrUnreachable, "https://93.184.216.34/": outbound.ErrUnreachable,
	} {
		_, err := c.Do(t.Context(), outbound.Request{URL: url})
		fails(t, err, want)
	}
	c.Roots = nil // the system's do not know our test root
	_, err := c.Do(t.Context(), outbound.Request{URL: "https://good.example/"})
	fails(t, err, outbound.ErrUnreachable)
}

func TestAnswersOfAnotherTypeAreRefused(t *testing.T) {
	web := newInternet(t)
	c := web.client()
	var status int
	var header [2]string
	var body string
	web.serve("client.example", here, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = nil
		w.Header().Set(header[0], header[1])
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	for _, row := range []struct {
		status int
		header [2]string
		body   string
		want   error
	}{
		{200, [2]string{"Content-Type", "application/json"}, "{}", nil},
		{200, [2]string{"Content-Type", "application/jwk-set+json;charset=UTF-8"}, "{}", nil},
		{200, [2]string{"Content-Type", "text/html"}, "{}", outbound.ErrAnswer},
		{200, [2]string{"Content-Type", "text/plain; x=application/json"}, "{}", outbound.ErrAnswer},
		{200, [2]string{"Content-Type", "application/json, text/html"}, "{}", outbound.ErrAnswer},
		{200, [2]string{"Content-Type", "application/jsonp"}, "{}", outbound.ErrAnswer},
		{200, [2]string{"X-Content-Type", ""}, "{}", outbound.ErrAnswer},
		{200, [2]string{"X-Content-Type", ""}, "", nil},
		{404, [2]string{"Content-Type", "text/html"}, "not found", nil},
		{200, [2]string{"Content-Encoding", "gzip"}, "{}", outbound.ErrAnswer},
		{404, [2]string{"Content-Encoding", "br"}, "{}", outbound.ErrAnswer},
	} {
		status, header, body = row.status, row.header, row.body
		res, err := c.Do(t.Context(), outbound.Request{URL: "https://client.example/", Accept: []string{"application/json", "application/jwk-set+json"}})
		if fails(t, err, row.want); t.Failed() {
			t.Fatalf("at %v", row)
		}
		if err == nil && (res.Status != row.status || string(res.Body) != row.body) {
			t.Errorf("%v: got %d %q", row, res.Status, res.Body)
		}
	}
}

// SEC-INJ-14: a body may have exactly as many bytes as are allowed, whether its
// length is announced or not.
func TestBodiesAreBounded(t *testing.T) {
	web := newInternet(t)
	c := web.client()
	var size int
	var announce bool
	web.serve("client.example", here, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if announce {
			w.Header().Set("Content-Length", strconv.Itoa(size))
		} else {
			w.(http.Flusher).Flush()
		}
		_, _ = io.WriteString(w, strings.Repeat("x", size))
	}))
	for _, announce = range []bool{true, false} {
		for _, row := range []struct {
			size  int
			limit int64
			want  error
		}{{1000, 1000, nil}, {1001, 1000, outbound.ErrAnswer}, {outbound.DefaultMaxBytes, 0, nil}, {outbound.DefaultMaxBytes + 1, 0, outbound.ErrAnswer}} {
			size = row.size
			res, err := c.Do(t.Context(), outbound.Request{URL: "https://client.example/", MaxBytes: row.limit})
			fails(t, err, row.want)
			if announced := err != nil && strings.Contains(err.Error(), "announces"); announced != (announce && row.want != nil) {
				t.Errorf("a long body is refused before it is read only where its length is announced: %v", err)
			}
			if err == nil && len(res.Body) != size {
				t.Errorf("%d bytes of %d", len(res.Body), size)
			}
		}
	}
}

// The zero Client, as production uses it, has a resolver and a dialer that work.
func TestTheZeroClientUsesTheNetwork(t *testing.T) {
	s := httptest.NewServer(text("{}"))
	defer s.Close()
	_, port, err := net.SplitHostPort(s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	dev := outbound.Client{Networks: outbound.Loopback()}
	for _, host := range []string{"127.0.0.1", "localhost"} {
		if res, err := dev.Do(t.Context(), outbound.Request{URL: "http://" + host + ":" + port + "/"}); err != nil || string(res.Body) != "{}" {
			t.Errorf("%s: %q, %v", host, res.Body, err)
		}
		var prod outbound.Client
		for _, scheme := range []string{"http", "https"} {
			_, err := prod.Do(t.Context(), outbound.Request{URL: scheme + "://" + host + ":" + port + "/"})
			fails(t, err, outbound.ErrRefused)
		}
		_, err := prod.Do(t.Context(), outbound.Request{URL: "https://" + host + "/"})
		fails(t, err, outbound.ErrRefused)
	}
}

func TestRequestsThatAreNoneAreRefused(t *testing.T) {
	web := newInternet(t)
	web.name("client.example", here)
	_, err := web.client().Do(t.Context(), outbound.Request{Method: "GET / HTTP/1.1\r\n", URL: "https://client.example/"})
	fails(t, err, outbound.ErrRefused)
	_, err = web.client().Do(t.Context(), outbound.Request{URL: "https://client.example/", Header: map[string]string{"X": "a\r\nY: b"}})
	if err == nil || slices.Contains(web.dialed, here) {
		t.Errorf("a header with two lines: %v", err)
	}
}

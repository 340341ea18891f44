package nginx_test

import (
	"encoding/json"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
)

func TestWhatAClientClaimsAboutItselfGoesNoFurther(t *testing.T) {
	p := start(t, newReplica(t, echo).address(), newReplica(t, echo).address())
	reply, body := p.do(t, "GET", "https://"+p.secure+"/", http.Header{
		"X-Forwarded-For":   {"6.6.6.6", "7.7.7.7"},
		"X-Forwarded-Proto": {"http"},
		"X-Forwarded-Host":  {"evil.example"},
		"X-Real-Ip":         {"6.6.6.6"},
		"Forwarded":         {"for=6.6.6.6;proto=http;host=evil.example"},
		"Authorization":     {"Bearer kept"},
	}, "")
	if reply.StatusCode != http.StatusOK || reply.ProtoMajor != 2 {
		t.Fatalf("%s %s", reply.Proto, reply.Status)
	}
	var seen http.Header
	if err := json.Unmarshal([]byte(body), &seen); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{
		"Host":              {host},
		"X-Forwarded-For":   {"127.0.0.1"},
		"X-Forwarded-Proto": {"https"},
		"X-Forwarded-Host":  nil,
		"X-Real-Ip":         nil,
		"Forwarded":         nil,
		"Authorization":     {"Bearer kept"},
	} {
		if !slices.Equal(seen[name], want) {
			t.Errorf("%s reached the replica as %q, want %q", name, seen[name], want)
		}
	}
}

func TestInClearAPageIsShownTheWayAndACredentialIsRefused(t *testing.T) {
	a := newReplica(t, echo)
	p := start(t, a.address(), newReplica(t, echo).address())
	reply, _ := p.do(t, "GET", "http://"+p.plain+"/login?next=%2F", nil, "")
	if got := reply.Header.Get("Location"); reply.StatusCode != http.StatusPermanentRedirect || got != "https://"+host+"/login?next=%2F" {
		t.Errorf("GET: %s, Location %q", reply.Status, got)
	}
	reply, _ = p.do(t, "POST", "http://"+p.plain+"/auth/login", nil, `{"password":"x"}`)
	if reply.StatusCode != http.StatusForbidden || reply.Header.Get("Location") != "" {
		t.Errorf("POST: %s", reply.Status)
	}
	if n := a.requests.Load(); n != 0 {
		t.Errorf("%d requests in clear reached a replica", n)
	}
}

func TestLongTokensAndCookiesFit(t *testing.T) {
	long := strings.Repeat("x", 14<<10)
	setCookies := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Set-Cookie", "a="+long[:7<<10])
		w.Header().Add("Set-Cookie", "b="+long[:7<<10])
		echo(w, r)
	}
	p := start(t, newReplica(t, setCookies).address(), newReplica(t, setCookies).address())
	reply, body := p.do(t, "GET", "https://"+p.secure+"/", http.Header{"Authorization": {"Bearer " + long}, "Cookie": {"a=" + long}}, "")
	if reply.StatusCode != http.StatusOK || strings.Count(body, long) != 2 || len(reply.Header["Set-Cookie"]) != 2 {
		t.Errorf("%s, %d cookies, %d bytes", reply.Status, len(reply.Header["Set-Cookie"]), len(body))
	}
}

func TestBodiesThatTheServerRefusesReachItSoThatItsOwnWordsDo(t *testing.T) {
	p := start(t, newReplica(t, echo).address(), newReplica(t, echo).address())
	if reply, body := p.do(t, "POST", "https://"+p.secure+"/", nil, strings.Repeat("x", 200<<10)); !strings.Contains(body, `"Body-Length":["204800"]`) {
		t.Errorf("200 KiB: %s", reply.Status)
	}
	if reply, _ := p.do(t, "POST", "https://"+p.secure+"/", nil, strings.Repeat("x", 300<<10)); reply.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("300 KiB: %s", reply.Status)
	}
}

func TestAReplicaThatIsDownOrDrainingIsPassedOver(t *testing.T) {
	t.Run("down", func(t *testing.T) {
		down := newReplica(t, echo)
		p := start(t, down.address(), newReplica(t, echo).address())
		down.Close()
		for i := range 10 {
			for _, method := range []string{"GET", "POST"} { // refused connections: no replica has seen the request
				if reply, _ := p.do(t, method, "https://"+p.secure+"/", nil, ""); reply.StatusCode != http.StatusOK {
					t.Errorf("%s number %d: %s", method, i, reply.Status)
				}
			}
		}
	})
	t.Run("draining", func(t *testing.T) {
		draining := newReplica(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
		p := start(t, draining.address(), newReplica(t, echo).address())
		for i := range 10 {
			if reply, _ := p.do(t, "GET", "https://"+p.secure+"/", nil, ""); reply.StatusCode != http.StatusOK {
				t.Errorf("GET number %d: %s", i, reply.Status)
			}
		}
		if draining.requests.Load() == 0 {
			t.Error("the draining replica was never asked; this test proves nothing")
		}
	})
}

func TestAPostIsNeverSentTwice(t *testing.T) {
	hangUp := func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) }
	a, b := newReplica(t, hangUp), newReplica(t, hangUp)
	p := start(t, a.address(), b.address())
	reply, _ := p.do(t, "POST", "https://"+p.secure+"/api/v1/auth/refresh", nil, "{}")
	if n := a.requests.Load() + b.requests.Load(); n != 1 || reply.StatusCode != http.StatusBadGateway {
		t.Errorf("%s after %d requests to replicas", reply.Status, n)
	}
}

func TestTheLogKeepsNoQuery(t *testing.T) {
	p := start(t, newReplica(t, echo).address(), newReplica(t, echo).address())
	p.do(t, "GET", "https://"+p.secure+"/oauth2/authorize?state=s3cret", http.Header{"Referer": {"https://a.example/?s3cret"}}, "")
	p.do(t, "GET", "http://"+p.plain+"/oauth2/authorize?state=s3cret", nil, "")
	// nginx writes a line when the request is over, which may be just after its reply has been read; a later one comes after it.
	var log string
	for !strings.Contains(log, `"GET /later"`) {
		p.do(t, "GET", "https://"+p.secure+"/later", nil, "")
		text, err := os.ReadFile(p.log)
		if err != nil {
			t.Fatal(err)
		}
		log = string(text)
	}
	if strings.Contains(log, "s3cret") || strings.Count(log, `"GET /oauth2/authorize"`) != 2 {
		t.Errorf("the log holds:\n%s", log)
	}
}

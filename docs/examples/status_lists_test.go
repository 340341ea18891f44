package examples_test

import (
	"bytes"
	"compress/zlib"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// O17: a token is refused within the ttl of its status list after a logout, by
// whatever verifies it offline; and others are not.
func TestO17ARevokedTokenIsRefusedWithinTheTTL(t *testing.T) {
	const ttl = 10 * time.Second // the shortest there is
	c := newClone(t, "TOKENHOUSE_STATUS_LIST_TTL="+ttl.String())
	for _, e := range withStatusLists(t) {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			mine, other := c.administrator(), c.administrator()
			talk := e.talk(t, "ISSUER=http://"+c.house)
			talk.expect("before", mine, "ok")
			talk.expect("before", other, "ok")
			if code := c.post("/api/v1/auth/logout", mine); code != http.StatusNoContent {
				t.Fatalf("logout: %d", code)
			}
			replied := time.Now()
			talk.becomes("after the logout", mine, "token revoked")
			if took := time.Since(replied); took > ttl+time.Second { // a second for a busy machine
				t.Errorf("it took %s with a ttl of %s", took, ttl)
			}
			talk.expect("another session", other, "ok")
			e.talk(t, "ISSUER=http://"+c.house, "AUDIENCE=https://other.example.com").expect("another audience", other, "invalid token")
		})
	}
}

// post sends a request of somebody with that token and returns the status.
func (c *clone) post(path, token string) int {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, "http://"+c.house+path, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	return res.StatusCode
}

// bomb is a ZLIB stream that inflates to 256 MiB.
func bomb(t *testing.T) []byte {
	t.Helper()
	var out bytes.Buffer
	w := zlib.NewWriter(&out)
	for zeros := make([]byte, 1<<20); out.Len() < 256<<10; {
		if _, err := w.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// Whatever an issuer, or somebody between, serves as a status list: it is
// refused within bounds of time and memory, and so is every token in it.
func TestHostileStatusLists(t *testing.T) {
	f := newFalseIssuer(t)
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	long := time.Now().Unix() - 3600
	for id, text := range map[string]string{
		"bomb":        f.sign("statuslist+jwt", "k1", f.key, f.listClaims("bomb", bomb(t))),
		"typ":         f.sign("at+jwt", "k1", f.key, f.listClaims("typ", deflate(t, []byte{0}))),
		"sub":         f.statusList("sub", []byte{0}, object{"sub": f.list("good")}),
		"iss":         f.statusList("iss", []byte{0}, object{"iss": f.url + "/"}),
		"expired":     f.statusList("expired", []byte{0}, object{"iat": long, "exp": long + 300}),
		"future":      f.statusList("future", []byte{0}, object{"iat": long + 7200, "exp": long + 7500}),
		"no-ttl":      f.statusList("no-ttl", []byte{0}, object{"ttl": nil}),
		"ttl-text":    f.statusList("ttl-text", []byte{0}, object{"ttl": "60"}),
		"no-exp":      f.statusList("no-exp", []byte{0}, object{"exp": nil}),
		"no-list":     f.statusList("no-list", []byte{0}, object{"status_list": nil}),
		"list-text":   f.statusList("list-text", []byte{0}, object{"status_list": "x"}),
		"three-bits":  f.statusList("three-bits", []byte{0}, object{"status_list": object{"bits": 3, "lst": "eNoDAAAAAAE"}}),
		"no-zlib":     f.statusList("no-zlib", []byte{0}, object{"status_list": object{"bits": 1, "lst": "AAAA"}}),
		"cut-off":     f.sign("statuslist+jwt", "k1", f.key, f.listClaims("cut-off", deflate(t, bytes.Repeat([]byte("0123456789"), 9))[:20])),
		"a-strangers": f.sign("statuslist+jwt", "k1", stranger, f.listClaims("a-strangers", deflate(t, []byte{0}))),
		"unknown-key": f.sign("statuslist+jwt", "k2", f.key, f.listClaims("unknown-key", deflate(t, []byte{0}))),
		"nonsense":    "nonsense",
		"empty":       "",
	} {
		f.serveText(id, text)
	}
	f.serveText("good", f.statusList("good", []byte{1 << 5, 1}))
	f.serveText("two-bits", f.statusList("two-bits", nil, object{"status_list": object{"bits": 2, "lst": base64.RawURLEncoding.EncodeToString(deflate(t, []byte{0b00_01_10_00}))}}))
	f.serve("broken", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	f.serve("redirect", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, f.list("redirected"), http.StatusFound)
	})
	f.serveText("redirected", f.statusList("redirect", []byte{0}))
	f.serve("endless", func(w http.ResponseWriter, r *http.Request) {
		for some := strings.Repeat("x", 64<<10); r.Context().Err() == nil; {
			if _, err := io.WriteString(w, some); err != nil {
				return
			}
		}
	})
	for _, e := range withStatusLists(t) {
		t.Run(e.name, func(t *testing.T) {
			talk := e.talk(t, "ISSUER="+f.url)
			for name, c := range map[string]struct{ token, want string }{
				"a place that is valid":     {f.token("good", 4), "ok"},
				"a place that is revoked":   {f.token("good", 5), "token revoked"},
				"the second byte":           {f.token("good", 8), "token revoked"},
				"its neighbour":             {f.token("good", 9), "ok"},
				"a place that is not there": {f.token("good", 16), "invalid token"},
				"two bits, revoked":         {f.token("two-bits", 1), "token revoked"},
				"two bits, suspended":       {f.token("two-bits", 2), "token revoked"},
				"two bits, valid":           {f.token("two-bits", 3), "ok"},
				"no status":                 {f.token("good", 4, object{"status": nil}), "invalid token"},
				"status of another kind":    {f.token("good", 4, object{"status": object{"other": 1}}), "invalid token"},
				"status a text":             {f.token("good", 4, object{"status": "valid"}), "invalid token"},
				"index negative":            {f.token("good", -1), "invalid token"},
				"index a fraction":          {f.token("good", 4.5), "invalid token"},
				"index a text":              {f.token("good", "4"), "invalid token"},
				"a list elsewhere":          {f.token("", 4, object{"status": object{"status_list": object{"idx": 4, "uri": "http://127.0.0.1:1/oauth2/status-lists/good"}}}), "invalid token"},
				"a list of another path":    {f.token("../good", 4), "invalid token"},
				"a token that is too long":  {f.token("good", 4, object{"x": strings.Repeat("x", 16<<10)}), "invalid token"},
				"brackets":                  {strings.Repeat("W1tb", 3000) + ".e30.AA", "invalid token"},
				"an unknown key":            {f.sign("at+jwt", "k9", f.key, object{"iss": f.url}), "invalid token"},
				"an ID token":               {f.sign("JWT", "k1", f.key, object{"iss": f.url}), "invalid token"},
			} {
				talk.expect(name, c.token, c.want)
			}
			if n := f.times("good"); n != 1 {
				t.Errorf("a list of 60 seconds was asked for %d times", n)
			}
			began := time.Now()
			for _, id := range []string{
				"bomb", "typ", "sub", "iss", "expired", "future", "no-ttl", "ttl-text", "no-exp", "no-list", "list-text", "three-bits", "no-zlib",
				"cut-off", "a-strangers", "unknown-key", "nonsense", "empty", "broken", "redirect", "endless", "not-there",
			} {
				talk.expect(id, f.token(id, 0), "unavailable")
			}
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("all that took %s", took)
			}
			if n := f.times("redirected"); n != 0 {
				t.Error("a redirect was followed")
			}
			if n := f.keys.Load(); n > 6 {
				t.Errorf("the key set was asked for %d times", n)
			}
			// A child begins with the peak of the process that forked it: ours.
			var own syscall.Rusage
			if err := syscall.Getrusage(syscall.RUSAGE_SELF, &own); err != nil {
				t.Fatal(err)
			}
			if most := talk.end(); most > max(240<<20, own.Maxrss<<10) {
				t.Errorf("it took %d MB", most>>20)
			}
			f.forget()
		})
	}
}

// A list serves on through an outage until it expires. Then every token is
// refused, or accepted where that was chosen, unless it was seen revoked; and
// an older list brings nothing back.
func TestAnIssuerThatIsOut(t *testing.T) {
	f := newFalseIssuer(t)
	for _, e := range withStatusLists(t) {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			closed, open := e.talk(t, "ISSUER="+f.url), e.talk(t, "ISSUER="+f.url, "FAIL_OPEN=yes")
			now := time.Now().Unix()
			older := f.statusList(e.name, []byte{0}, object{"iat": now - 5, "exp": now + 300, "ttl": 1})
			f.serveText(e.name, f.statusList(e.name, []byte{1}, object{"exp": now + 4, "ttl": 1}))
			revoked, good := f.token(e.name, 0), f.token(e.name, 1)
			for _, talk := range []*conversation{closed, open} {
				talk.expect("at first", revoked, "token revoked")
				talk.expect("at first", good, "ok")
			}
			f.serveText(e.name, older)
			before := f.times(e.name)
			for f.times(e.name) < before+2 {
				closed.expect("an older list", revoked, "token revoked")
				open.expect("an older list", revoked, "token revoked")
			}
			f.serve(e.name, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
			closed.becomes("when the list has expired", good, "unavailable")
			closed.expect("when the list has expired", revoked, "unavailable")
			open.expect("open", good, "ok")
			open.expect("open", revoked, "token revoked")
			open.expect("a list that was never seen", f.token(e.name+"-none", 0), "ok")

			f.serveText(e.name, f.statusList(e.name, []byte{1}))
			closed.becomes("when the issuer is back", good, "ok")
			closed.expect("when the issuer is back", revoked, "token revoked")
		})
	}
}

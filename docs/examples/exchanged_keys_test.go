package examples_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// An API key is exchanged for a token, which jose in Node.js and PyJWT verify
// offline, and refuse through the status list after the key was revoked.
// AK-44, AK-69.
func TestATokenOfARevokedAPIKeyIsRefusedOffline(t *testing.T) {
	const ttl = 10 * time.Second // the shortest there is
	c := newClone(t, "TOKENHOUSE_STATUS_LIST_TTL="+ttl.String())
	admin := c.administrator()
	for _, e := range withStatusLists(t) {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			var made, spared struct {
				ID  string `json:"id"`
				Key string `json:"api_key"`
			}
			c.call(t, http.MethodPost, "/api/v1/api-keys", admin, `{"name":"ci","permissions":["agents:read"]}`, &made)
			c.call(t, http.MethodPost, "/api/v1/api-keys", admin, `{"name":"other","permissions":["agents:read"]}`, &spared)
			token, second, other := c.exchange(t, made.Key), c.exchange(t, made.Key), c.exchange(t, spared.Key)
			talk := e.talk(t, "ISSUER=http://"+c.house)
			for name, good := range map[string]string{"the first": token, "the second": second, "of another key": other} {
				talk.expect(name, good, "ok")
			}
			c.call(t, http.MethodDelete, "/api/v1/api-keys/"+made.ID, admin, "", nil)
			replied := time.Now()
			talk.becomes("after the revocation", token, "token revoked")
			if took := time.Since(replied); took > ttl+time.Second { // a second for a busy machine
				t.Errorf("it took %s with a ttl of %s", took, ttl)
			}
			talk.expect("the second token of the key", second, "token revoked")
			talk.expect("the token of another key", other, "ok")
		})
	}
}

// call sends a request and reads the reply into out, which may be nil.
func (c *clone) call(t *testing.T, method, path, token, body string, out any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+c.house+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	c.do(t, req, out)
}

func (c *clone) do(t *testing.T, req *http.Request, out any) {
	t.Helper()
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(res.Body); err != nil || res.StatusCode >= http.StatusBadRequest {
		t.Fatalf("%s %s: %s %v\n%s", req.Method, req.URL.Path, res.Status, err, &text)
	}
	if out == nil {
		return
	}
	if err := json.Unmarshal(text.Bytes(), out); err != nil {
		t.Fatal(err)
	}
}

// exchange returns a token for an API key.
func (c *clone) exchange(t *testing.T, key string) string {
	t.Helper()
	form := url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "subject_token": {key},
		"subject_token_type": {"urn:tokenhouse:params:oauth:token-type:api_key"},
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+c.house+"/oauth2/token", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	var reply struct {
		Token string `json:"access_token"`
	}
	c.do(t, req, &reply)
	return reply.Token
}

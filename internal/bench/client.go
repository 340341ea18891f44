package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// client is the load generator: one connection kept alive for each worker.
type client struct{ http *http.Client }

func newClient(workers int) client {
	return client{&http.Client{
		Timeout:   30 * time.Second,
		Transport: &http.Transport{MaxIdleConnsPerHost: workers, MaxConnsPerHost: workers, DisableCompression: true},
	}}
}

// request is one call of the API.
type request struct {
	method, url string
	body        any // JSON, where neither nil nor url.Values: a form
	header      map[string]string
}

// expect sends r and fails unless the status is the wanted one.
func (c client) expect(status int, r request) error { return c.into(status, r, nil) }

// into is expect and decodes the reply.
func (c client) into(status int, r request, reply any) error {
	var body io.Reader
	kind := "application/json"
	switch content := r.body.(type) {
	case nil:
	case url.Values:
		kind, body = "application/x-www-form-urlencoded", strings.NewReader(content.Encode())
	default:
		b, err := json.Marshal(content)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequest(r.method, r.url, body)
	if err != nil {
		return err
	}
	if body != nil {
		req.Header.Set("Content-Type", kind)
	}
	for k, v := range r.header {
		req.Header.Set(k, v)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != status {
		return fmt.Errorf("%s %s: %d %.200s", r.method, r.url, resp.StatusCode, b)
	}
	if reply == nil {
		return nil
	}
	return json.Unmarshal(b, reply)
}

package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// fetchTimeout bounds one request to the issuer, body included.
const fetchTimeout = 5 * time.Second

// document is one answer of the issuer.
type document struct {
	body      []byte
	etag      string
	kind      string        // Content-Type
	maxAge    time.Duration // negative where Cache-Control does not say
	unchanged bool          // 304: body is empty
}

// request is one question to the issuer.
type request struct {
	client *http.Client
	url    string
	etag   string // of what is known; may be empty
	limit  int64  // bytes of the answer
	accept string // media type; may be empty
}

// fetch gets url, follows no redirect and reads at most limit bytes.
func fetch(ctx context.Context, client *http.Client, url, etag string, limit int64) (document, error) {
	return fetchWithin(ctx, fetchTimeout, request{client: client, url: url, etag: etag, limit: limit})
}

// fetchWithin is fetch with a time limit of its own.
func fetchWithin(ctx context.Context, most time.Duration, q request) (document, error) {
	etag, limit := q.etag, q.limit
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, q.url, nil)
	if err != nil {
		return document{}, err
	}
	if etag != "" {
		req.Header.Set("If-None-Match", etag)
	}
	if q.accept != "" {
		req.Header.Set("Accept", q.accept)
	}
	res, err := direct(q.client).Do(req)
	if err != nil {
		return document{}, err
	}
	defer func() { _ = res.Body.Close() }()
	d := document{etag: res.Header.Get("ETag"), kind: res.Header.Get("Content-Type"), maxAge: maxAge(res.Header.Get("Cache-Control"))}
	switch {
	case res.StatusCode == http.StatusNotModified && etag != "":
		d.unchanged, d.etag = true, etag
		return d, nil
	case res.StatusCode != http.StatusOK:
		return document{}, fmt.Errorf("the issuer answered %d", res.StatusCode)
	}
	d.body, err = io.ReadAll(io.LimitReader(res.Body, limit+1))
	if err != nil {
		return document{}, err
	}
	if int64(len(d.body)) > limit {
		return document{}, fmt.Errorf("the issuer's answer is longer than %d bytes", limit)
	}
	return d, nil
}

// direct returns a client like c that follows no redirect: the address of a key
// set is configured, not discovered.
func direct(c *http.Client) *http.Client {
	if c == nil {
		c = http.DefaultClient
	}
	d := *c
	d.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &d
}

// maxAge reads max-age (RFC 9111 §5.2.2.1); 0 for no-store and no-cache, -1
// where nothing is said.
func maxAge(cacheControl string) time.Duration {
	age := time.Duration(-1)
	for d := range strings.SplitSeq(cacheControl, ",") {
		name, value, _ := strings.Cut(strings.ToLower(strings.TrimSpace(d)), "=")
		switch name {
		case "no-store", "no-cache":
			return 0
		case "max-age":
			if n, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31); err == nil {
				age = time.Duration(n) * time.Second
			}
		}
	}
	return age
}

var errNoClock = errors.New("the fields URL and Now are required")

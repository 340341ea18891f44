package housetest

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
)

// Client speaks to one replica over real HTTP. Its methods that begin with As,
// With or From return a changed copy; the original stays as it is. A Client
// keeps no cookies unless it came from WithCookies.
type Client struct {
	t       testing.TB
	base    string
	http    *http.Client
	headers http.Header
}

// Session is what a login gave.
type Session struct {
	Access, Refresh string
	User, Org       string // identifiers
	Device          *http.Cookie
}

func newClient(t testing.TB, base string) *Client {
	return &Client{
		t: t, base: base, headers: http.Header{"User-Agent": {"housetest"}},
		http: &http.Client{
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

func (c *Client) copy() *Client {
	d := *c
	d.headers = c.headers.Clone()
	return &d
}

// For is the same client for another test or subtest.
func (c *Client) For(t testing.TB) *Client { d := c.copy(); d.t = t; return d }

// As presents an access token.
func (c *Client) As(token string) *Client { return c.With("Authorization", "Bearer "+token) }

// WithKey presents an API key.
func (c *Client) WithKey(key string) *Client { return c.With("X-API-Key", key) }

// With sends a header with every request; an empty value takes it away.
func (c *Client) With(name, value string) *Client {
	d := c.copy()
	if value == "" {
		d.headers.Del(name)
	} else {
		d.headers.Set(name, value)
	}
	return d
}

// From sends requests as a proxy would that was asked by this address. (The
// harness trusts loopback as a proxy.)
func (c *Client) From(ip string) *Client { return c.With("X-Forwarded-For", ip) }

// Agent is the same client with another User-Agent.
func (c *Client) Agent(name string) *Client { return c.With("User-Agent", name) }

// WithCookies returns a client that keeps cookies in jar as a browser does.
func (c *Client) WithCookies(jar http.CookieJar) *Client {
	d := c.copy()
	h := *c.http
	h.Jar = jar
	d.http = &h
	return d
}

// Get asks for a path such as "/api/v1/me". The bodies of its siblings: a string
// or []byte is sent as it is, nil not at all, anything else as JSON.
func (c *Client) Get(path string) Reply { c.t.Helper(); return c.Do(http.MethodGet, path, nil) }

// Post sends body; see Get.
func (c *Client) Post(path string, body any) Reply {
	c.t.Helper()
	return c.Do(http.MethodPost, path, body)
}

// Put sends body; see Get.
func (c *Client) Put(path string, body any) Reply {
	c.t.Helper()
	return c.Do(http.MethodPut, path, body)
}

// Patch sends body; see Get.
func (c *Client) Patch(path string, body any) Reply {
	c.t.Helper()
	return c.Do(http.MethodPatch, path, body)
}

// Delete asks for path to go away; see Get.
func (c *Client) Delete(path string) Reply { c.t.Helper(); return c.Do(http.MethodDelete, path, nil) }

// Do sends any request; see Get. It fails the test where there is no answer.
func (c *Client) Do(method, path string, body any) Reply {
	c.t.Helper()
	r, err := c.Try(method, path, body)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	return r
}

// Try is Do for requests that may get no answer. It may be called from any
// goroutine.
func (c *Client) Try(method, path string, body any) (Reply, error) {
	var content io.Reader
	kind := "application/json"
	switch b := body.(type) {
	case nil:
		kind = ""
	case string:
		content = strings.NewReader(b)
	case []byte:
		content = bytes.NewReader(b)
	default:
		encoded, err := json.Marshal(b)
		if err != nil {
			return Reply{}, err
		}
		content = bytes.NewReader(encoded)
	}
	req, err := http.NewRequest(method, c.base+path, content)
	if err != nil {
		return Reply{}, err
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	for name, values := range c.headers {
		req.Header[name] = values
	}
	res, err := c.http.Do(req)
	if err != nil {
		return Reply{}, err
	}
	defer res.Body.Close()
	read, err := io.ReadAll(res.Body)
	return Reply{t: c.t, asked: method + " " + path, Status: res.StatusCode, Header: res.Header, Body: read}, err
}

// Login logs in in the dialect of /api/v1/auth/login.
func (c *Client) Login(email, password string) Session {
	c.t.Helper()
	r := c.TryLogin(email, password).Expect(http.StatusOK)
	return Session{
		Access: r.Text("access_token"), Refresh: r.Text("refresh_token"),
		User: r.Text("user.id"), Org: r.Text("user.organization_id"), Device: r.Cookie("device"),
	}
}

// TryLogin is Login that may be refused.
func (c *Client) TryLogin(email, password string) Reply {
	c.t.Helper()
	return c.Post("/api/v1/auth/login", map[string]string{"email": email, "password": password})
}

// SessionLogin logs in in the dialect of /auth/login, which has no refresh.
func (c *Client) SessionLogin(email, password string) Session {
	c.t.Helper()
	r := c.Post("/auth/login", map[string]string{"email": email, "password": password}).Expect(http.StatusOK)
	return Session{Access: r.Text("token"), User: r.Text("user.id"), Org: r.Text("user.orgId")}
}

// Refresh presents a refresh token, whatever comes of it.
func (c *Client) Refresh(token string) Reply {
	c.t.Helper()
	return c.Post("/api/v1/auth/refresh", map[string]string{"refresh_token": token})
}

// CreateKey makes an API key with the permissions of the caller and returns
// its id and the key.
func (c *Client) CreateKey(name string, permissions ...string) (id, key string) {
	c.t.Helper()
	r := c.Post("/api/v1/api-keys", map[string]any{"name": name, "permissions": permissions}).Expect(http.StatusCreated)
	return r.Text("id"), r.Text("api_key")
}

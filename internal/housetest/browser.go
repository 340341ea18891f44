package housetest

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
)

// Browser looks at our pages as a person does who has switched scripts off: it
// keeps cookies, goes where it is redirected, and sends forms as they stand on
// the page. It leaves the server for no other site; where it would have gone is
// then to be asked with FollowsTo. One goroutine uses it at a time.
type Browser struct {
	// Page is what it shows: the last page of ours.
	Page Page
	// Left is where it was sent when it last left us; nil while it is here.
	Left *url.URL

	t    testing.TB
	base *url.URL
	http *http.Client
	from string // a proxy says it asks for this address
	sent url.Values
}

// maxRedirects is how many redirects in a row are no loop.
const maxRedirects = 10

// Browser starts a browser without cookies, at the first replica.
func (h *Harness) Browser() *Browser { return h.BrowserAt(0) }

// BrowserAt is Browser at the replica of that number.
func (h *Harness) BrowserAt(replica int) *Browser {
	h.t.Helper()
	return NewBrowser(h.t, h.Replicas[replica].URL)
}

// NewBrowser starts a browser without cookies at a server that the test runs
// itself, by its issuer.
func NewBrowser(t testing.TB, issuer string) *Browser {
	t.Helper()
	base, err := url.Parse(issuer)
	if err != nil {
		t.Fatal(err)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Browser{t: t, base: base, http: &http.Client{Jar: jar, CheckRedirect: stay}}
}

// For is the same browser, with the same cookies, for another test or subtest.
func (b *Browser) For(t testing.TB) *Browser { d := *b; d.t = t; return &d }

// At makes it ask the replica of that number from now on, as a load balancer
// does; pages are shown and forms are sent there.
func (b *Browser) At(h *Harness, replica int) *Browser {
	b.t.Helper()
	base, err := url.Parse(h.Replicas[replica].URL)
	if err != nil {
		b.t.Fatal(err)
	}
	for i := range b.Page.Forms {
		if f := &b.Page.Forms[i]; b.ours(f.Action) {
			moved := *f.Action
			moved.Host = base.Host
			f.Action = &moved
		}
	}
	b.base = base // cookies do not tell ports apart
	return b
}

// From makes it ask from another address; see Client.From.
func (b *Browser) From(ip string) *Browser { b.from = ip; return b }

// Open goes to an address: a path of ours, or a whole URL of ours, and on to
// wherever it redirects.
func (b *Browser) Open(address string) Page {
	b.t.Helper()
	u, err := b.base.Parse(address)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.visit(http.MethodGet, u, nil, b.origin())
}

// OpenFrom is Open by a link on a page of another site.
func (b *Browser) OpenFrom(site, address string) Page {
	b.t.Helper()
	u, err := b.base.Parse(address)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.visit(http.MethodGet, u, nil, site)
}

// Submit fills in the form of the page that has all the named fields, and sends
// it. A button is named like a field: {"decision": "allow"}.
func (b *Browser) Submit(fields map[string]string) Page {
	b.t.Helper()
	f := b.form(fields)
	values := f.values(fields)
	if !b.ours(f.Action) {
		b.leave(f.Action, values)
		return b.Page
	}
	if f.Method == http.MethodGet {
		u := *f.Action
		u.RawQuery = values.Encode()
		return b.visit(http.MethodGet, &u, nil, b.origin())
	}
	return b.visit(http.MethodPost, f.Action, values, b.origin())
}

// Post sends a form that a page of the site (its origin) made up. From another
// site than ours it carries no cookies, as they are SameSite=Lax.
func (b *Browser) Post(site, path string, values url.Values) Page {
	b.t.Helper()
	u, err := b.base.Parse(path)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.visit(http.MethodPost, u, values, site)
}

// FollowsTo fails the test unless the browser was sent to an address of another
// site that begins with prefix: by a redirect, or by a form that the page sends
// (OAuth 2.0 Form Post Response Mode). It returns what the other site reads:
// the query, the fragment, or the form.
func (b *Browser) FollowsTo(prefix string) url.Values {
	b.t.Helper()
	if b.Left == nil && len(b.Page.Forms) == 1 && !b.ours(b.Page.Forms[0].Action) {
		b.Submit(nil)
	}
	if b.Left == nil {
		b.t.Fatalf("the browser was sent nowhere; it shows %s", b.Page)
	}
	if !strings.HasPrefix(b.Left.String(), prefix) {
		b.t.Fatalf("the browser was sent to %s, want %s", b.Left, prefix)
	}
	if b.sent != nil {
		return b.sent
	}
	if b.Left.Fragment != "" {
		values, err := url.ParseQuery(b.Left.EscapedFragment())
		if err != nil {
			b.t.Fatal(err)
		}
		return values
	}
	return b.Left.Query()
}

// SignIn opens path ("/login", or an authorization request) and logs in where
// the page asks for it.
func (b *Browser) SignIn(path string, p Person) Page {
	b.t.Helper()
	b.Open(path)
	if b.Page.Has("password") {
		b.Submit(map[string]string{"email": p.Email, "password": p.Password})
	}
	return b.Page
}

// Allow does as SignIn, and allows where the page asks for consent.
func (b *Browser) Allow(path string, p Person) Page {
	b.t.Helper()
	b.SignIn(path, p)
	if b.Left == nil && b.Page.Has("decision") {
		b.Submit(map[string]string{"decision": "allow"})
	}
	return b.Page
}

// Cookie is the value of a cookie whose name ends in name; empty where there is
// none.
func (b *Browser) Cookie(name string) string {
	for _, c := range b.http.Jar.Cookies(b.base) {
		if strings.HasSuffix(c.Name, name) {
			return c.Value
		}
	}
	return ""
}

// SetCookie plants a cookie for every path of ours; an empty value takes it away.
func (b *Browser) SetCookie(name, value string) {
	c := &http.Cookie{Name: name, Value: value, Path: "/"}
	if value == "" {
		c.MaxAge = -1
	}
	b.http.Jar.SetCookies(b.base, []*http.Cookie{c})
}

func (b *Browser) origin() string { return b.base.Scheme + "://" + b.base.Host }

func (b *Browser) ours(u *url.URL) bool { return u.Scheme == b.base.Scheme && u.Host == b.base.Host }

func (b *Browser) leave(to *url.URL, form url.Values) { b.Left, b.sent = to, form }

func (b *Browser) form(fields map[string]string) Form {
	b.t.Helper()
	for _, f := range b.Page.Forms {
		if f.takes(fields) {
			return f
		}
	}
	b.t.Fatalf("no form takes %v; the browser shows %s", fields, b.Page)
	return Form{}
}

// visit asks for a page of ours on behalf of a page of site, and follows.
func (b *Browser) visit(method string, u *url.URL, form url.Values, site string) Page {
	b.t.Helper()
	b.Left, b.sent = nil, nil
	var steps []string
	var trail []Reply
	for range maxRedirects {
		page, to := b.ask(method, u, form, site)
		page.Steps = append(steps, method+" "+u.Path)
		page.Trail = append(trail, page.Reply)
		steps, trail = page.Steps, page.Trail
		b.Page = page
		if to == nil {
			return page
		}
		if page.Status != http.StatusTemporaryRedirect && page.Status != http.StatusPermanentRedirect {
			method, form = http.MethodGet, nil // RFC 9110 §15.4.4
		}
		if !b.ours(to) {
			b.leave(to, form)
			return page
		}
		u = to
	}
	b.t.Fatalf("too many redirects: %q", steps)
	return Page{}
}

// ask sends one request as a browser would, and says where the answer redirects.
func (b *Browser) ask(method string, u *url.URL, form url.Values, site string) (Page, *url.URL) {
	b.t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	req, err := http.NewRequest(method, u.String(), body)
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("User-Agent", "housetest browser")
	req.Header.Set("Accept", "text/html,application/xhtml+xml")
	req.Header.Set("Sec-Fetch-Mode", "navigate")
	req.Header.Set("Sec-Fetch-Site", map[bool]string{true: "same-origin", false: "cross-site"}[site == b.origin()])
	if b.from != "" {
		req.Header.Set("X-Forwarded-For", b.from)
	}
	client := *b.http
	if method == http.MethodPost {
		req.Header.Set("Origin", site)
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if site != b.origin() {
			client.Jar = deaf{b.http.Jar}
		}
	}
	res, err := client.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	read, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	page := Page{Reply: Reply{t: b.t, asked: method + " " + u.Path, Status: res.StatusCode, Header: res.Header, Body: read}, URL: u}
	page.parse(b.t)
	if res.StatusCode < 300 || res.StatusCode > 399 || res.Header.Get("Location") == "" {
		return page, nil
	}
	to, err := u.Parse(res.Header.Get("Location"))
	if err != nil {
		b.t.Fatal(err)
	}
	return page, to
}

// deaf sends no cookies; it still takes them.
type deaf struct{ http.CookieJar }

// Cookies implements http.CookieJar.
func (deaf) Cookies(*url.URL) []*http.Cookie { return nil }

package server

import (
	"net/http"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/fault"
)

// deviceMaxAge is how long a browser keeps the cookie that says "this device
// has logged in as that person": as long as its marks are good.
const deviceMaxAge = 365 * 24 * time.Hour

// jar names the cookies. Over https the names carry the prefixes by which a
// browser refuses a cookie planted by a sibling domain or over cleartext
// (RFC 6265bis §4.1.3).
type jar struct {
	access, refresh, device string // of the API
	session, browser        string // of our own pages
	notice                  string // of the console: a sentence to show once
	secure                  bool
}

func jarOf(https bool) jar {
	if https {
		return jar{
			access: "__Host-th_access", refresh: "__Secure-th_refresh", device: "__Secure-th_device",
			session: "__Host-th_session", browser: "__Host-th_browser", notice: "__Host-th_notice", secure: true,
		}
	}
	return jar{access: "th_access", refresh: "th_refresh", device: "th_device", session: "th_session", browser: "th_browser", notice: "th_notice"}
}

// The paths a cookie is sent to. The device cookie is needed by both login
// dialects, by the login page and by nothing else, so it is set once for each.
const (
	everywhere = "/"
	authPath   = "/api/v1/auth"
	loginPath  = "/auth"
	pagePath   = "/login"
)

// set returns the Set-Cookie of value; an age of zero or less deletes.
func (j jar) set(name, path, value string, age time.Duration) *http.Cookie {
	c := &http.Cookie{Name: name, Path: path, Value: value, MaxAge: int(age / time.Second), HttpOnly: true, Secure: j.secure, SameSite: http.SameSiteLaxMode}
	if c.MaxAge <= 0 {
		c.MaxAge = -1 // written as Max-Age=0
	}
	return c
}

// setSession puts both tokens of a login into the browser's jar. An empty
// refresh token leaves that cookie as it is.
func (s *Server) setSession(h http.Header, access, refresh string) {
	j := s.jar()
	add(h, j.set(j.access, everywhere, access, s.Config.AccessTTL))
	if refresh != "" {
		add(h, j.set(j.refresh, authPath, refresh, s.Config.RefreshTTL))
	}
}

// clearSession deletes both tokens, with the attributes they were set with
// (SEC-WEB-10).
func (s *Server) clearSession(h http.Header) {
	j := s.jar()
	add(h, j.set(j.access, everywhere, "", 0))
	add(h, j.set(j.refresh, authPath, "", 0))
}

// setDevice remembers the device for the lockout counters; an empty value
// leaves the cookie as it is.
func (s *Server) setDevice(h http.Header, value string) {
	if value == "" {
		return
	}
	j := s.jar()
	add(h, j.set(j.device, authPath, value, deviceMaxAge))
	add(h, j.set(j.device, loginPath, value, deviceMaxAge))
	add(h, j.set(j.device, pagePath, value, deviceMaxAge))
}

func add(h http.Header, c *http.Cookie) { h.Add("Set-Cookie", c.String()) }

// cookie returns the value of a cookie, empty where there is none. Two
// different values of one name mean that somebody else has put one there: we
// do not choose.
func cookie(r *http.Request, name string) (string, error) {
	found := r.CookiesNamed(name)
	for _, c := range found[min(1, len(found)):] {
		if c.Value != found[0].Value {
			return "", fault.New(fault.AmbiguousCredentials, "The cookie "+name+" was sent twice with different values.")
		}
	}
	if len(found) == 0 {
		return "", nil
	}
	return found[0].Value, nil
}

package server_test

import (
	"context"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// SEC-WEB-11 SEC-WEB-12 SEC-WEB-13: the page that people see is framed by
// nobody, runs no script, and shows what was typed as text.
func TestTheSetUpPage(t *testing.T) {
	g := start(t)
	link, _, err := g.house.People.IssueSetupLink(context.Background(), g.house.Operator(""), g.adminID())
	if err != nil {
		t.Fatal(err)
	}
	shown := g.want(g.do("GET", "/setup?token="+link.Reveal(), ""), 200)
	const evil = `"><script>alert(1)</script><img src=x onerror=alert(1)>`
	form := url.Values{"token": {link.Reveal()}, "email": {evil}, "organization_name": {evil}, "password": {"short"}}.Encode()
	refused := g.do("POST", "/setup", form, "Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin", "Origin", "null")
	if refused.status != 422 {
		t.Fatalf("%d %s", refused.status, refused.body)
	}
	if !strings.Contains(string(refused.body), "&lt;script&gt;") {
		t.Error("what was typed is not shown again; take another field for this test")
	}
	reflected := g.do("GET", "/setup?token="+url.QueryEscape(evil), "")
	for _, a := range []answer{shown, refused, reflected} {
		page := regexp.MustCompile(`"[^"<>]*"`).ReplaceAllString(string(a.body), `""`) // what is quoted is text
		if regexp.MustCompile(`(?i)<script|<img|\son\w+=|javascript:|<style|\sstyle=`).MatchString(page) {
			t.Errorf("%d: markup from outside, or inline code: %s", a.status, page)
		}
		policy := a.header.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"} {
			if !strings.Contains(policy, want) {
				t.Errorf("%d: no %s in %q", a.status, want, policy)
			}
		}
		if strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") || a.header.Get("X-Frame-Options") != "DENY" || a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%d: %v", a.status, a.header)
		}
	}
}

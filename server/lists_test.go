package server_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// pages reads a list to its end and returns the ids, and the first cursor.
func (g *rig) pages(token, path string, limit int) (ids []string, cursor string) {
	g.t.Helper()
	next := ""
	for range 100 {
		sep := "?"
		if strings.Contains(path, "?") {
			sep = "&"
		}
		at := fmt.Sprintf("%s%slimit=%d", path, sep, limit)
		if next != "" {
			at += "&cursor=" + url.QueryEscape(next)
		}
		a := g.want(g.do("GET", at, "", bearer(token)...), 200)
		data, _ := a.json["data"].([]any)
		if len(data) > limit {
			g.t.Fatalf("%d items on a page of %d", len(data), limit)
		}
		for _, d := range data {
			ids = append(ids, str(d.(map[string]any)["id"]))
		}
		next = a.text("next_cursor")
		if cursor == "" {
			cursor = next
		}
		if next == "" {
			return ids, cursor
		}
		if len(data) != limit {
			g.t.Fatalf("a page of %d items, and there is another", len(data))
		}
	}
	g.t.Fatal("the list has no end")
	return nil, ""
}

func TestListsPageByPage(t *testing.T) {
	g := start(t)
	admin := g.admin()
	for i := range 7 {
		g.createKey(admin, fmt.Sprintf(`{"name":"k%d","permissions":["agents:read"]}`, i))
	}
	for _, path := range []string{"/api/v1/api-keys", "/api/v1/audit-events", "/api/v1/audit?name=api_key.created"} {
		whole, _ := g.pages(admin, path, 200)
		if len(whole) < 7 {
			t.Fatalf("%s: %d items", path, len(whole))
		}
		if path == "/api/v1/api-keys" && !slices.IsSortedFunc(whole, func(a, b string) int { return strings.Compare(b, a) }) {
			t.Errorf("%s: not newest first: %v", path, whole)
		}
		for _, limit := range []int{1, 2, 3, 7, 8} {
			if got, _ := g.pages(admin, path, limit); !slices.Equal(got, whole) {
				t.Errorf("%s by %d: %v, want %v", path, limit, got, whole)
			}
		}
	}
}

// SEC-INJ-02: a cursor is good for one list of one organisation.
func TestCursorsOfOtherLists(t *testing.T) {
	g := start(t)
	admin := g.admin()
	foreign := g.stranger("else@example.com")
	for range 3 {
		g.createKey(admin, `{"name":"k","permissions":["agents:read"]}`)
		g.createKey(foreign, `{"name":"k","permissions":["agents:read"]}`)
	}
	_, keys := g.pages(admin, "/api/v1/api-keys", 1)
	_, events := g.pages(admin, "/api/v1/audit-events?outcome=success", 1)
	for name, c := range map[string][2]string{
		"another organisation": {foreign, "/api/v1/api-keys?cursor=" + keys},
		"another route":        {admin, "/api/v1/users?cursor=" + keys},
		"another filter":       {admin, "/api/v1/audit-events?outcome=denied&cursor=" + events},
		"no filter":            {admin, "/api/v1/audit-events?cursor=" + events},
		"the alias":            {admin, "/api/v1/audit?outcome=success&cursor=" + events},
		"tampered":             {admin, "/api/v1/api-keys?cursor=" + flip(keys)},
		"made up":              {admin, "/api/v1/api-keys?cursor=MTIz"},
		"SQL":                  {admin, "/api/v1/api-keys?cursor=" + url.QueryEscape("' OR 1=1--")},
	} {
		a := g.do("GET", c[1], "", bearer(c[0])...)
		if a.status != 400 || a.text("code") != "INVALID_CURSOR" {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	g.want(g.do("GET", "/api/v1/api-keys?limit=2&cursor="+keys, "", bearer(admin)...), 200) // another page size is the same list
}

// SEC-INJ-03 SEC-INJ-07: whatever the filter, no line of another organisation
// comes back, and what is no filter is refused.
func TestAuditFilters(t *testing.T) {
	g := start(t)
	admin := g.admin()
	foreign := g.stranger("else@example.com")
	their, _ := g.createKey(foreign, `{"name":"theirs","permissions":["agents:read"]}`)
	them := g.want(g.do("GET", "/api/v1/me", "", bearer(foreign)...), 200)
	mine, _ := g.createKey(admin, `{"name":"mine","permissions":["agents:read"]}`)
	for _, q := range []string{
		"", "key_id=" + their, "user_id=" + them.text("id"), "session_id=" + them.text("session_id"), "name=api_key.created", "outcome=success", "outcome=failure",
		"since=2000-01-01T00:00:00Z", "until=2100-01-01T00:00:00Z", "organization_id=" + them.text("organization_id"), "org_id=" + them.text("organization_id"),
	} {
		a := g.want(g.do("GET", "/api/v1/audit-events?"+q, "", bearer(admin)...), 200)
		for _, leak := range []string{their, them.text("id"), them.text("organization_id"), "else@example.com"} {
			if strings.Contains(string(a.body), leak) {
				t.Errorf("?%s shows another organisation's %s: %s", q, leak, a.body)
			}
		}
	}
	if a := g.want(g.do("GET", "/api/v1/audit-events?key_id="+mine, "", bearer(admin)...), 200); !strings.Contains(string(a.body), "api_key.created") { // O37
		t.Errorf("%s", a.body)
	}
	for q, field := range map[string]string{
		"name=login.everything": "name", "name=%27%20OR%201=1--": "name", "outcome=maybe": "outcome", "user_id=x": "user_id", "key_id=user_x": "key_id", "session_id=x": "session_id",
		"request_id=x": "request_id", "since=yesterday": "since", "until=1": "until", "name=api_key.created,nothing.*": "name", "name=,": "name",
		"reason=no%20reason": "reason", "actor_id=%25": "actor_id", "target_id=%27": "target_id", "ip=localhost": "ip", "deployment=maybe": "deployment",
	} {
		a := g.do("GET", "/api/v1/audit-events?"+q, "", bearer(admin)...)
		if a.status != 422 || !strings.Contains(string(a.body), `{"name":"`+field+`"`) {
			t.Errorf("?%s: %d %s", q, a.status, a.body)
		}
	}
}

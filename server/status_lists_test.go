package server_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/tokens"
)

// listOf is the path of the status list that a token names.
func listOf(t *testing.T, g *rig, token string) string {
	t.Helper()
	_, payload := claims(t, token)
	status, _ := payload["status"].(map[string]any)
	list, _ := status["status_list"].(map[string]any)
	path, ours := strings.CutPrefix(str(list["uri"]), "http://localhost:8080")
	if !ours || !strings.HasPrefix(path, "/oauth2/status-lists/") {
		t.Fatalf("the token says %v", status)
	}
	return path
}

// A status list is served as draft-ietf-oauth-status-list §8 has it, to pages of
// any origin, and kept no longer than until it is signed anew.
func TestAStatusListIsServed(t *testing.T) {
	g := start(t)
	a := g.login(adminEmail, adminPassword)
	path := listOf(t, g, a.text("access_token"))
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		r := g.want(g.do(method, path, "", "Origin", "https://anybody.example", "Accept", "application/statuslist+jwt"), 200)
		for name, want := range map[string]string{
			"Content-Type": "application/statuslist+jwt", "Cache-Control": "public, max-age=30", "Access-Control-Allow-Origin": "*", "Access-Control-Allow-Credentials": "",
		} {
			if got := r.header.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", method, name, got, want)
			}
		}
		g.want(g.do(method, path, "", "If-None-Match", r.header.Get("ETag")), 304)
	}
	header, list := claims(t, string(g.want(g.do("GET", path, ""), 200).body))
	if header["typ"] != "statuslist+jwt" || list["sub"] != "http://localhost:8080"+path || list["iss"] != "http://localhost:8080" || list["ttl"] != 60.0 {
		t.Errorf("%v %v", header, list["sub"])
	}
	all, _ := g.want(g.do("GET", "/oauth2/status-lists", ""), 200).json["status_lists"].([]any)
	if len(all) != 1 || all[0] != list["sub"] {
		t.Errorf("the lists are %v", all)
	}
	for _, unknown := range []string{"/oauth2/status-lists/unknown1", path + "x", "/oauth2/status-lists/" + strings.Repeat("a", 65)} {
		g.want(g.do("GET", unknown, ""), 404)
	}
}

// A logout changes the list, and a cache has no part in when that is seen.
func TestALogoutChangesTheStatusList(t *testing.T) {
	g := start(t)
	a := g.login(adminEmail, adminPassword)
	path := listOf(t, g, a.text("access_token"))
	before := g.want(g.do("GET", path, ""), 200)
	g.advance(time.Second)
	if same := g.want(g.do("GET", path, ""), 200); same.header.Get("ETag") != before.header.Get("ETag") || same.header.Get("Cache-Control") != "public, max-age=29" {
		t.Errorf("it was made anew: %v", same.header)
	}
	g.want(g.do("POST", "/api/v1/auth/logout", "", bearer(a.text("access_token"))...), 204)
	g.want(g.do("GET", path, "", "If-None-Match", before.header.Get("ETag")), 200)
	scraped := httptest.NewRecorder()
	g.house.Metrics.Handler().ServeHTTP(scraped, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, line := range []string{"tokenhouse_status_revoked_places 1\n", "tokenhouse_status_lists 1\n", "tokenhouse_status_build_seconds_count 2\n"} {
		if !strings.Contains(scraped.Body.String(), line) {
			t.Errorf("the metrics do not say %s", line)
		}
	}
}

// A replica that hears of no changes signs no list: what it does not know it
// would deny.
func TestAReplicaThatHearsNothingSignsNoStatusList(t *testing.T) {
	g := start(t)
	path := listOf(t, g, g.login(adminEmail, adminPassword).text("access_token"))
	g.want(g.do("GET", path, ""), 200)
	g.mu.Lock()
	g.now = g.now.Add(changes.DefaultMaxSilence + time.Second)
	g.mu.Unlock()
	g.want(g.do("GET", path, ""), 503)
	g.advance(tokens.DefaultStatusListTTL)
	g.want(g.do("GET", path, ""), 200)
}

package server_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/house"
)

// lines are the lines of an export: events by name, and what else there is by its one member.
func lines(t *testing.T, body []byte) (kinds []string, events []audit.ProvenLine) {
	t.Helper()
	for line := range bytes.Lines(body) {
		var members map[string]json.RawMessage
		if err := json.Unmarshal(line, &members); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if _, ok := members["event"]; !ok {
			for name := range members {
				kinds = append(kinds, name)
			}
			continue
		}
		var e audit.ProvenLine
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		kinds, events = append(kinds, string(e.Event)), append(events, e)
	}
	return kinds, events
}

// SEC-OBS-05, SEC-WEB-15: an export has a name of ours and the organisation's own events in their places, ends with a signed line, and
// goes on where another stopped.
func TestAnExportOverHTTPIsWholeAndGoesOn(t *testing.T) {
	g := start(t)
	admin := g.admin()
	g.advance(time.Second) // organisations of one moment have no first among them
	foreign := g.stranger("else@example.com")
	g.do("POST", "/api/v1/auth/login", credentials("nobody@example.com", userPassword))
	whole := g.want(g.do("GET", "/api/v1/audit-events/export", "", bearer(admin)...), 200)
	kinds, events := lines(t, whole.body)
	if whole.header.Get("Content-Type") != "application/x-ndjson" || whole.header.Get("Cache-Control") != "no-store" || whole.header.Get("Content-Disposition") != `attachment; filename="audit.ndjson"` {
		t.Errorf("%v", whole.header)
	}
	if len(events) < 2 || kinds[len(kinds)-1] == string(events[len(events)-1].Event) || strings.Contains(string(whole.body), "else@example.com") {
		t.Fatalf("%s", whole.body)
	}
	for i, e := range events {
		if e.Position != int64(i+1) || e.Org != events[0].Org || e.Org == "" || i > 0 && e.Previous != events[i-1].Hash {
			t.Errorf("line %d: %+v", i, e)
		}
	}
	g.createKey(admin, `{"name":"mine","permissions":["agents:read"]}`)
	rest := g.want(g.do("GET", fmt.Sprintf("/api/v1/audit-events/export?after=%d", len(events)), "", bearer(admin)...), 200)
	if _, more := lines(t, rest.body); len(more) != 1 || more[0].Event != audit.APIKeyCreated || more[0].Previous != events[len(events)-1].Hash {
		t.Errorf("%s", rest.body)
	}
	nobodys := g.want(g.do("GET", "/api/v1/audit-events/export?deployment=true", "", bearer(admin)...), 200)
	if _, free := lines(t, nobodys.body); !slices.ContainsFunc(free, func(e audit.ProvenLine) bool { return e.Reason == "unknown_user" }) {
		t.Errorf("%s", nobodys.body)
	}
	for _, path := range []string{"/api/v1/audit-events/export?deployment=true", "/api/v1/audit-events?deployment=true"} {
		g.want(g.do("GET", path, "", bearer(foreign)...), 403)
	}
	for _, q := range []string{"after=-1", "after=x", "deployment=2"} {
		g.want(g.do("GET", "/api/v1/audit-events/export?"+q, "", bearer(admin)...), 422)
	}
}

func TestTheAuditLogIsNarrowed(t *testing.T) {
	g := start(t)
	admin := g.admin()
	id, _ := g.createKey(admin, `{"name":"mine","permissions":["agents:read"]}`)
	g.do("POST", "/api/v1/auth/login", credentials(adminEmail, "not the password"))
	for q, want := range map[string]int{
		"name=api_key.*": 1, "name=api_key.created,login.failed": 2, "reason=wrong_password": 1, "target_id=" + id: 1, "target_id=key": 0,
		"actor_id=" + string(g.adminID()) + "&name=api_key.*": 1, "ip=127.0.0.1&name=login.failed": 1, "ip=127.0.0.2": 0,
	} {
		a := g.want(g.do("GET", "/api/v1/audit-events?"+q, "", bearer(admin)...), 200)
		if data, _ := a.json["data"].([]any); len(data) != want {
			t.Errorf("?%s finds %d, want %d: %s", q, len(data), want, a.body)
		}
	}
}

// An administrator learns why a request was refused; the caller learned what is safe.
func TestWhyARequestWasRefusedIsExplained(t *testing.T) {
	g := start(t, func(c *house.Config) { c.Tokens.AccessTTL = time.Minute })
	short := g.admin()
	g.advance(time.Second) // organisations of one moment have no first among them
	admin := g.admin()
	g.stranger("else@example.com")
	viewer := g.member(admin, "viewer@example.com", "viewer")
	_, key := g.createKey(admin, `{"name":"mine","permissions":["agents:read"]}`)
	wrong := g.do("POST", "/api/v1/auth/login", credentials(adminEmail, "not the password"))
	nobody := g.do("POST", "/api/v1/auth/login", credentials("nobody@example.com", "not the password"))
	lacking := g.do("POST", "/api/v1/users", `{}`, bearer(viewer)...)
	broken := g.do("GET", "/api/v1/me", "", "X-API-Key", key[:len(key)-1])
	missing := g.do("GET", "/api/v1/me", "")
	g.advance(2 * time.Minute)
	expired := g.do("GET", "/api/v1/me", "", bearer(short)...)
	admin = g.admin()
	foreign := g.login("else@example.com", userPassword).text("access_token")
	for name, c := range map[string]struct {
		refused answer
		status  int
		why     string
		event   string // empty: it left none
	}{
		"a wrong password":     {wrong, 401, "The password was wrong.", "login.failed"},
		"an unknown person":    {nobody, 401, "Nobody has that e-mail address.", "login.failed"},
		"a lack of permission": {lacking, 403, "lacks the permission: users:create", "permission.denied"},
		"a broken key":         {broken, 401, "No key of this deployment", ""},
		"no credential":        {missing, 401, "No credential was presented", ""},
		"an expired token":     {expired, 401, "The access token had expired.", ""},
	} {
		path := "/api/v1/audit-events/explain/" + c.refused.text("request_id")
		a := g.want(g.do("GET", path, "", bearer(admin)...), 200)
		why, _ := a.json["why"].([]any)
		answered, _ := a.json["answer"].(map[string]any)
		events, _ := a.json["events"].([]any)
		if c.refused.status != c.status || len(why) == 0 || !strings.Contains(why[0].(string), c.why) {
			t.Errorf("%s: %d %s", name, c.refused.status, a.body)
		}
		if answered == nil || answered["status"] != float64(c.status) || (len(events) == 1) != (c.event != "") || c.event != "" && events[0].(map[string]any)["event"] != c.event {
			t.Errorf("%s: %s", name, a.body)
		}
		if strings.Contains(string(c.refused.body), c.why) && c.why != "The access token had expired." && c.status == 401 && c.event != "" {
			t.Errorf("%s: the caller was told: %s", name, c.refused.body)
		}
		g.want(g.do("GET", path, "", bearer(foreign)...), 404) // SEC-OBS-05
		g.want(g.do("GET", path, "", bearer(g.login("viewer@example.com", userPassword).text("access_token"))...), 403)
	}
	for _, id := range []string{"x", "req_00000000000000000000000000"} {
		g.want(g.do("GET", "/api/v1/audit-events/explain/"+id, "", bearer(admin)...), 404)
	}
}

// Whoever asks again with the after of the reply gets each event of their
// organisation once; SEC-OBS-05: of no other.
func TestTheAuditLogIsFollowed(t *testing.T) {
	g := start(t)
	admin := g.admin()
	g.advance(time.Second) // organisations of one moment have no first among them
	foreign := g.stranger("else@example.com")
	type tail struct {
		Data  []audit.Line `json:"data"`
		After int64        `json:"after"`
	}
	look := func(token, query string) (out tail) {
		t.Helper()
		if err := g.house.SealAudit(t.Context()); err != nil {
			t.Fatal(err)
		}
		a := g.want(g.do("GET", "/api/v1/audit-events/tail?"+query, "", bearer(token)...), 200)
		if err := json.Unmarshal(a.body, &out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	names := func(in tail) (out []string) {
		for _, l := range in.Data {
			out = append(out, string(l.Event))
		}
		return out
	}
	first := look(admin, "")
	if len(first.Data) == 0 || first.After < int64(len(first.Data)) {
		t.Fatalf("%+v", first)
	}
	if again := look(admin, fmt.Sprint("after=", first.After)); len(again.Data) != 0 || again.Data == nil || again.After != first.After {
		t.Errorf("nothing happened, and there is %+v", again)
	}
	g.createKey(admin, `{"name":"mine","permissions":["agents:read"]}`)
	g.do("POST", "/api/v1/auth/login", credentials(adminEmail, "not the password"))
	g.do("POST", "/api/v1/auth/login", credentials("else@example.com", "not the password"))
	one := look(admin, fmt.Sprint("limit=1&after=", first.After))
	two := look(admin, fmt.Sprint("limit=9&after=", one.After))
	if got := append(names(one), names(two)...); !slices.Equal(got, []string{"api_key.created", "login.failed"}) || two.After != first.After+2 {
		t.Errorf("%+v, then %+v", one, two)
	}
	if some := look(admin, fmt.Sprint("name=login.*&outcome=failure&after=", first.After)); !slices.Equal(names(some), []string{"login.failed"}) || some.After != two.After {
		t.Errorf("narrowed: %+v", some)
	}
	if theirs := look(foreign, "limit=200"); slices.Contains(names(theirs), "api_key.created") || !slices.Contains(names(theirs), "login.failed") {
		t.Errorf("somebody else sees %+v", theirs)
	}
	g.do("POST", "/api/v1/auth/login", credentials("nobody@example.com", userPassword))
	if nobodys := look(admin, "deployment=true"); !slices.ContainsFunc(nobodys.Data, func(l audit.Line) bool { return l.Reason == "unknown_user" }) {
		t.Errorf("of no organisation: %+v", nobodys)
	}
	g.want(g.do("GET", "/api/v1/audit-events/tail?deployment=true", "", bearer(foreign)...), 403)
	for _, q := range []string{"after=-1", "after=x", "deployment=2", "limit=0", "limit=201", "outcome=good", "name=no.such"} {
		g.want(g.do("GET", "/api/v1/audit-events/tail?"+q, "", bearer(admin)...), 422)
	}
}

// Where each is wanted, every use is in the log before it is answered.
func TestRoutineIsRecordedAsChosen(t *testing.T) {
	for routine, want := range map[string]int{house.RoutineHourly: 1, house.RoutineEach: 3} {
		t.Run(routine, func(t *testing.T) {
			g := start(t, func(c *house.Config) { c.Audit.Routine = routine })
			admin := g.login(adminEmail, adminPassword)
			_, key := g.createKey(admin.text("access_token"), `{"name":"mine","permissions":["agents:read"]}`)
			id, value := g.createClient(admin.text("access_token"), worker)
			basic := "Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+value))
			refresh := admin.text("refresh_token")
			for range 3 {
				g.want(g.do("GET", "/api/v1/me", "", "X-API-Key", key), 200)
				g.want(g.do("POST", "/oauth2/token", "grant_type=client_credentials", "Content-Type", "application/x-www-form-urlencoded", "Authorization", basic), 200)
				g.advance(2 * time.Minute)
				refresh = g.want(g.do("POST", "/api/v1/auth/refresh", `{"refresh_token":"`+refresh+`"}`), 200).text("refresh_token")
			}
			counted := func(when string) {
				t.Helper()
				for _, name := range []string{"api_key.used", "session.refreshed", "client.token_issued"} {
					a := g.want(g.do("GET", "/api/v1/audit-events?name="+name, "", bearer(g.admin())...), 200)
					if data, _ := a.json["data"].([]any); len(data) != want {
						t.Errorf("%s: %s: %d events, want %d: %s", when, name, len(data), want, a.body)
					}
				}
			}
			if routine == house.RoutineEach {
				counted("as they were answered")
			}
			if err := g.house.Tend(t.Context()); err != nil {
				t.Fatal(err)
			}
			counted("after the flush")
		})
	}
}

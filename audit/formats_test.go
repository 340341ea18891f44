package audit

import (
	"encoding/json"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// awkward is an event whose texts hold all that a format may stumble over.
func awkward() Event {
	return Event{
		Seq: 7, ID: "evt_1", Time: time.Date(2026, 1, 2, 3, 4, 5, 678_901_000, time.UTC), Name: LoginFailed, Outcome: Failure, Reason: "wrong_password",
		Actor:   Actor{Type: "anonymous", Via: "password"},
		Targets: []Target{{Type: "user", ID: "user_1", Name: "o'neil=x|y@example.com"}},
		Origin:  ident.Origin{IP: netip.MustParseAddr("203.0.113.7"), UserAgent: "a|b=c\\d\r\nCEF:0|e", Request: "req_1"},
		Session: "sess_1", Key: "key_1", Org: "org_1", Meta: map[string]string{"k": "v=w\nz"},
	}
}

// cefPair finds a key of an extension: the format has no other end of a value
// than the next key.
var cefPair = regexp.MustCompile(`(?:^| )([A-Za-z0-9]+)=`)

// readCEF takes a line apart by the rules of the format.
func readCEF(t *testing.T, line string) (header []string, ext map[string]string) {
	t.Helper()
	if strings.ContainsAny(line, "\r\n") {
		t.Fatalf("the line has a line break: %q", line)
	}
	var field strings.Builder
	rest := line
	for len(header) < 7 {
		if rest == "" {
			t.Fatalf("the header ends early: %q", line)
		}
		switch c := rest[0]; {
		case c == '\\' && len(rest) > 1:
			field.WriteByte(rest[1])
			rest = rest[1:]
		case c == '|':
			header = append(header, field.String())
			field.Reset()
		default:
			field.WriteByte(c)
		}
		rest = rest[1:]
	}
	ext = map[string]string{}
	unescape := strings.NewReplacer(`\\`, `\`, `\=`, `=`, `\n`, "\n", `\r`, "\r")
	found := cefPair.FindAllStringSubmatchIndex(rest, -1)
	for i, m := range found {
		end := len(rest)
		if i+1 < len(found) {
			end = found[i+1][0]
		}
		ext[rest[m[2]:m[3]]] = unescape.Replace(rest[m[1]:end])
	}
	return header, ext
}

func TestACEFLineKeepsEveryText(t *testing.T) {
	e := awkward()
	header, ext := readCEF(t, CEF(e, "1.2|3\\4"))
	want := []string{"CEF:0", "tokenhouse", "tokenhouse", "1.2|3\\4", "TH1002E", "login.failed", "8"}
	for i := range want {
		if header[i] != want[i] {
			t.Errorf("header %d is %q, want %q", i, header[i], want[i])
		}
	}
	for key, want := range map[string]string{
		"rt": "1767323045678", "externalId": "evt_1", "outcome": "failure", "reason": "wrong_password", "src": "203.0.113.7",
		"requestClientApplication": e.Origin.UserAgent, "duser": "o'neil=x|y@example.com", "duid": "user_1", "spriv": "anonymous",
		"cs1Label": "orgId", "cs1": "org_1", "cs2": "req_1", "cs3": "sess_1", "cs4": "key_1", "cn1Label": "seq", "cn1": "7",
		"cs6": `{"k":"v=w\nz"}`,
	} {
		if ext[key] != want {
			t.Errorf("%s is %q, want %q", key, ext[key], want)
		}
	}
	e.Origin.IP = netip.MustParseAddr("2001:db8::1")
	if _, ext = readCEF(t, CEF(e, "1")); ext["src"] != "" || ext["c6a2"] != "2001:db8::1" {
		t.Errorf("an IPv6 address is at %v", ext)
	}
	e.Origin.UserAgent = strings.Repeat("é", 2000)
	if _, ext = readCEF(t, CEF(e, "1")); ext["requestClientApplication"] != strings.Repeat("é", 511) {
		t.Errorf("a long user agent has %d bytes", len(ext["requestClientApplication"]))
	}
}

// ocsfRequired are the members that the framework requires of each class, and
// those of which it wants one at least.
var ocsfRequired = map[int]struct{ all, some []string }{
	3001: {[]string{"user"}, nil},
	3002: {[]string{"user"}, []string{"service", "dst_endpoint"}},
	3004: {[]string{"entity"}, nil},
	3006: {[]string{"group"}, nil},
	6003: {[]string{"actor", "api", "src_endpoint"}, nil},
}

func TestEveryEventHasAPlaceInOCSF(t *testing.T) {
	base := []string{"activity_id", "category_uid", "class_uid", "metadata", "severity_id", "time", "type_uid", "status_id"}
	for _, name := range Names() {
		for _, e := range []Event{awkward(), {Name: name, Time: time.Unix(1, 0), Outcome: Success, Actor: Actor{Type: "system"}}} {
			e.Name = name
			raw, err := json.Marshal(OCSF(e, "1.2.3"))
			if err != nil {
				t.Fatal(err)
			}
			var got map[string]any
			if err := json.Unmarshal(raw, &got); err != nil {
				t.Fatal(err)
			}
			class := int(got["class_uid"].(float64))
			must, ok := ocsfRequired[class]
			if !ok {
				t.Fatalf("%s is of the class %d", name, class)
			}
			for _, member := range append(base, must.all...) {
				if got[member] == nil {
					t.Errorf("%s: no %s in %s", name, member, raw)
				}
			}
			has := len(must.some) == 0
			for _, member := range must.some {
				has = has || got[member] != nil
			}
			activity := int(got["activity_id"].(float64))
			if !has || int(got["type_uid"].(float64)) != class*100+activity || int(got["category_uid"].(float64)) != class/1000 {
				t.Errorf("%s: the class, category and type do not agree: %s", name, raw)
			}
			if activity == 99 && got["activity_name"] != string(name) {
				t.Errorf("%s: what it is is not said: %s", name, raw)
			}
		}
	}
}

func TestOCSFSaysWhoWhereAndHowItEnded(t *testing.T) {
	got := OCSF(awkward(), "1.2.3")
	raw := compact(got)
	for _, want := range []string{
		`"class_uid":3002`, `"activity_id":1`, `"status_id":2`, `"status_detail":"wrong_password"`, `"severity_id":4`, `"time":1767323045678`,
		`"src_endpoint":{"ip":"203.0.113.7"}`, `"correlation_uid":"req_1"`, `"event_code":"TH1002E"`, `"uid":"user_1"`, `"session":{"uid":"sess_1"}`,
	} {
		if !strings.Contains(raw, want) {
			t.Errorf("no %s in %s", want, raw)
		}
	}
}

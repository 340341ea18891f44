package metrics_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tokenhouse/tokenhouse/internal/housetest"
	"github.com/tokenhouse/tokenhouse/server"
)

// atRest and most bound the samples of a replica: before the first request, and
// after any number of strange ones. docs/monitoring.md states them.
const (
	atRest = 1_000
	most   = 20_000
)

// strange makes requests that nobody would send, by a seed that is always the same.
type strange struct {
	*rand.Rand
	templates []string
	held      []string // credentials that are good
}

// text is unlike any other, and can be told in the metrics.
func (s strange) text() string {
	return "canary" + strconv.FormatUint(s.Uint64(), 36) + string(rune('a'+s.IntN(26))) + []string{"", "@example.com", "%00", "é", "..", "th_live_"}[s.IntN(6)]
}

var parameter = regexp.MustCompile(`[:*][a-z_]+`)

func (s strange) request(n int) *http.Request {
	path := "/" + s.text()
	if s.IntN(5) > 0 {
		path = parameter.ReplaceAllStringFunc(s.templates[s.IntN(len(s.templates))], func(string) string { return s.text() })
	}
	method := []string{"GET", "GET", "POST", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "X" + strconv.Itoa(s.IntN(1<<30))}[s.IntN(10)]
	body := []string{"", "{}", `{"email":"` + s.text() + `","name":"` + s.text() + `"}`, "grant_type=" + s.text() + "&client_id=" + s.text()}[s.IntN(4)]
	if n%500 == 0 { // hashing passwords is what takes time
		method, path, body = "POST", "/api/v1/auth/login", `{"email":"`+s.text()+`","password":"`+s.text()+`"}`
	}
	req := httptest.NewRequest(method, "http://localhost/", strings.NewReader(body))
	req.URL.Path = path
	req.URL.RawQuery = s.text() + "=" + s.text()
	req.RemoteAddr = "127.0.0.1:1"
	req.Header.Set("X-Forwarded-For", fmt.Sprintf("203.%d.%d.1", s.IntN(256), s.IntN(256)))
	req.Header.Set("User-Agent", s.text())
	req.Header.Set("X-Request-Id", s.text())
	switch s.IntN(6) {
	case 0:
		req.Header.Set("Authorization", "Bearer "+s.text())
	case 1:
		req.Header.Set("X-API-Key", s.text())
	case 2, 3:
		req.Header.Set("Authorization", "Bearer "+s.held[s.IntN(len(s.held))])
	case 4:
		req.Header.Set("Authorization", "Basic "+s.text())
	}
	if s.IntN(2) == 0 {
		req.Header.Set("Content-Type", []string{"application/json", "application/x-www-form-urlencoded", s.text()}[s.IntN(3)])
	}
	return req
}

// requests is how many are sent: a few thousand, or as many as
// TOKENHOUSE_TEST_CARDINALITY says.
func requests(t *testing.T) int {
	t.Helper()
	text := os.Getenv("TOKENHOUSE_TEST_CARDINALITY")
	if text == "" {
		return 4_000
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 4_000 {
		t.Fatalf("TOKENHOUSE_TEST_CARDINALITY=%q: want a number from 4000", text)
	}
	return n
}

// Whatever is sent, the number of series is bounded, and no label holds
// anything from a request.
func TestTheNumberOfSeriesIsBounded(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	admin := h.Login(h.Admin).Access
	_, key := h.Client().As(admin).CreateKey("agent", "agents:read")
	s := strange{rand.New(rand.NewPCG(1, 2)), server.RouteTemplates(), []string{admin, key, h.Login(h.Person(h.Admin.Org, "viewing", "viewer")).Access}}
	exported := func() string { return string(h.OpsClient().Get("/metrics").Expect(http.StatusOK).Body) }
	start, n := seriesOf(exported()), requests(t)
	answered := map[int]int{}
	var half map[string]bool
	for i := range n {
		if i == n/2 {
			half = seriesOf(exported())
		}
		reply := httptest.NewRecorder()
		h.House().Handler.ServeHTTP(reply, s.request(i))
		answered[reply.Code]++
	}
	page := exported()
	end := seriesOf(page)
	t.Logf("%d requests, answered %v: %d samples at first, %d half-way, %d at the end; %d routes", n, answered, len(start), len(half), len(end), len(s.templates))
	if len(answered) < 8 || answered[http.StatusOK] == 0 {
		t.Errorf("only %v was answered: this proves little", answered)
	}
	if len(start) > atRest || len(end) > most {
		t.Errorf("there are %d samples at first and %d at the end; %d and %d are stated", len(start), len(end), atRest, most)
	}
	if strings.Contains(strings.ToLower(page), "canary") {
		t.Error("something from a request is in the metrics")
	}
	perRequest := regexp.MustCompile(`^tokenhouse_http_request_duration_seconds`)
	perKey := regexp.MustCompile(`^tokenhouse_signing_key_age_seconds\{alg="[A-Z]+\d+",state="(published|active|retiring|revoked)"\}$`)
	routes := append([]string{"unmatched"}, s.templates...)
	for name := range end {
		if !perRequest.MatchString(name) {
			// What is counted beside requests has a series for each value from the start, and the values are those that occur.
			if !start[name] && !perKey.MatchString(name) {
				t.Errorf("%s was not there at first", name)
			}
			continue
		}
		labels := regexp.MustCompile(`method="([^"]*)",route="([^"]*)",status="([^"]*)"`).FindStringSubmatch(name)
		if labels == nil || !slices.Contains(routes, labels[2]) {
			t.Errorf("%s is of no route of ours", name)
			continue
		}
		if code, err := strconv.Atoi(labels[3]); err != nil || http.StatusText(code) == "" {
			t.Errorf("%s has a status that HTTP has not", name)
		}
		if !slices.Contains([]string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"}, labels[1]) {
			t.Errorf("%s has a method of somebody else's", name)
		}
	}
}

// seriesOf gives the names and labels of every sample of ours and of the runtime.
func seriesOf(page string) map[string]bool {
	out := map[string]bool{}
	for line := range strings.Lines(page) {
		if i := strings.LastIndexByte(line, ' '); i > 0 && !strings.HasPrefix(line, "#") {
			out[line[:i]] = true
		}
	}
	return out
}

package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/tokens/verify"
)

func TestEveryFaultHasOneRowAndEveryRowIsWhole(t *testing.T) {
	for _, c := range fault.Codes() {
		row, ok := wires[c]
		if !ok {
			t.Errorf("fault %q has no row", c)
			continue
		}
		if row.status < 400 || row.status > 599 || http.StatusText(row.status) == "" {
			t.Errorf("%s: status %d", c, row.status)
		}
		if row.code == "" || row.code != strings.ToUpper(row.code) || row.text == "" || row.title == "" || row.detail == "" || row.oauth == "" {
			t.Errorf("%s: incomplete row %+v", c, row)
		}
	}
	if len(wires) != len(fault.Codes()) {
		t.Errorf("%d rows for %d codes", len(wires), len(fault.Codes()))
	}
}

// failing answers every request with err.
func failing(t testing.TB, err error) (http.Handler, func() string) {
	t.Helper()
	s, log := bare(t, Config{})
	h := mounted(t, s, http.MethodGet, "/fails", func(w http.ResponseWriter, r *http.Request) { s.fail(w, r, err) })
	return h, log.String
}

// O43: one shape for every 4xx and 5xx, whatever went wrong.
func TestEveryFailureHasTheSameBody(t *testing.T) {
	for _, c := range fault.Codes() {
		h, _ := failing(t, fault.New(c, "A sentence."))
		w := ask(h, http.MethodGet, "/fails", "")
		var body map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
			t.Fatalf("%s: %v", c, err)
		}
		for _, member := range []string{"type", "title", "status", "detail", "status_code", "code", "error", "request_id"} {
			if body[member] == nil || body[member] == "" {
				t.Errorf("%s: no %s in %s", c, member, w.Body)
			}
		}
		if w.Code != wires[c].status || body["status"] != float64(w.Code) || body["status_code"] != float64(w.Code) {
			t.Errorf("%s: status %d, body %s", c, w.Code, w.Body)
		}
		if got := w.Result().Header.Get("Content-Type"); got != "application/problem+json" {
			t.Errorf("%s: Content-Type %q", c, got)
		}
		if body["request_id"] != w.Result().Header.Get("X-Request-Id") {
			t.Errorf("%s: the body and the header name different requests", c)
		}
	}
}

// SEC-OBS-06: what went wrong inside stays inside, and is logged once.
func TestInternalCausesStayInTheLog(t *testing.T) {
	cause := errors.New(`pq: duplicate key violates "users_email" at db.internal:5432 user=th_owner`)
	for name, err := range map[string]error{
		"bare":        cause,
		"wrapped":     fmt.Errorf("insert user: %w", cause),
		"internal":    fault.Wrap(cause, fault.Internal, "a detail with th_owner in it"),
		"unavailable": fault.Wrap(cause, fault.Unavailable, "db.internal is down").After(1500 * time.Millisecond),
	} {
		t.Run(name, func(t *testing.T) {
			h, log := failing(t, err)
			w := ask(h, http.MethodGet, "/fails", "")
			if w.Code < 500 {
				t.Fatalf("status %d", w.Code)
			}
			for _, leak := range []string{"pq:", "users_email", "db.internal", "th_owner", "insert user"} {
				if strings.Contains(w.Body.String(), leak) {
					t.Errorf("the reply tells %q: %s", leak, w.Body)
				}
			}
			if n := strings.Count(log(), "users_email"); n != 1 {
				t.Errorf("the cause is logged %d times:\n%s", n, log())
			}
			if !strings.Contains(log(), w.Result().Header.Get("X-Request-Id")) {
				t.Error("the log does not name the request")
			}
		})
	}
}

func TestRetryAfterIsWholeSecondsAndNeverTooEarly(t *testing.T) {
	for wait, want := range map[time.Duration]string{
		time.Millisecond: "1", time.Second: "1", 1001 * time.Millisecond: "2", 15 * time.Minute: "900", 0: "",
	} {
		h, _ := failing(t, fault.New(fault.AccountLocked, "").After(wait))
		if got := ask(h, http.MethodGet, "/fails", "").Result().Header.Get("Retry-After"); got != want {
			t.Errorf("after %v: Retry-After %q, want %q", wait, got, want)
		}
	}
}

func TestChallenges(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"K19: nothing presented", fault.Unauthenticated, `Bearer realm="tokenhouse"`},
		{"O9: expired", fault.New(fault.InvalidToken, "JWT token has expired").Because("expired"), `Bearer realm="tokenhouse", error="invalid_token", error_description="JWT token has expired"`},
		{"a detail cannot break out of its quotes", fault.New(fault.InvalidToken, "a\"b\\c\r\nd\u2028e"), `Bearer realm="tokenhouse", error="invalid_token", error_description="abcde"`},
		{"API key", fault.InvalidAPIKey, `Bearer realm="tokenhouse", error="invalid_token", error_description="The API key is invalid."`},
		{"O41: lacking", fault.Lacking("procedures:execute", "agents:read"), `Bearer realm="tokenhouse", error="insufficient_scope", scope="procedures:execute agents:read"`},
		{"a refused password opens no dialog", fault.InvalidCredentials, ""},
		{"not about the credential", fault.NotFound, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, _ := failing(t, c.err)
			if got := ask(h, http.MethodGet, "/fails", "").Result().Header.Get("WWW-Authenticate"); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestTheErrorMemberFollowsTheReason(t *testing.T) {
	for reason, want := range map[string]string{
		verify.ErrExpired.Reason: "token expired",        // K22
		verify.ErrNoOrg.Reason:   "missing org_id claim", // K21
		verify.ErrInvalid.Reason: "invalid token",        // K20
		verify.ErrRevoked.Reason: "invalid token",
		"stale":                  "invalid token",
	} {
		h, _ := failing(t, fault.New(fault.InvalidToken, "x").Because(reason))
		var body problem
		if err := json.Unmarshal(ask(h, http.MethodGet, "/fails", "").Body.Bytes(), &body); err != nil {
			t.Fatal(err)
		}
		if body.Error != want || body.Reason != reason {
			t.Errorf("reason %s: error %q, reason %q", reason, body.Error, body.Reason)
		}
	}
}

// SEC-DOS-17: a panic is a 500 like any other; its stack is in the log only.
func TestAPanicIsA500AndTheServerLives(t *testing.T) {
	s, log := bare(t, Config{})
	var counted []int
	s.Observe.Request = func(_, _ string, status int, _ time.Duration) { counted = append(counted, status) }
	h := mounted(t, s, http.MethodGet, "/panics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Half-Done", "secret")
		panic("the password is hunter2")
	})
	for range 2 {
		w := ask(h, http.MethodGet, "/panics", "")
		if w.Code != 500 || strings.Contains(w.Body.String(), "hunter2") || strings.Contains(w.Body.String(), "goroutine") {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		if w.Result().Header.Get("X-Half-Done") != "" {
			t.Error("a header of the reply that was not made is sent")
		}
	}
	if fmt.Sprint(counted) != "[500 500]" {
		t.Errorf("counted %v", counted)
	}
	if !strings.Contains(log.String(), `"stack"`) {
		t.Error("no stack in the log")
	}
}

func TestAReplyThatHasBegunIsBrokenOffByAPanic(t *testing.T) {
	s, _ := bare(t, Config{})
	h := mounted(t, s, http.MethodGet, "/panics", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("half"))
		panic("late")
	})
	defer func() {
		if err, _ := recover().(error); !errors.Is(err, http.ErrAbortHandler) {
			t.Errorf("recovered %v, want http.ErrAbortHandler", err)
		}
	}()
	ask(h, http.MethodGet, "/panics", "")
}

func TestRunningOutOfTimeIsNotAFaultOfOurs(t *testing.T) {
	s, log := bare(t, Config{})
	h := mounted(t, s, http.MethodGet, "/slow", func(w http.ResponseWriter, r *http.Request) {
		if _, ok := r.Context().Deadline(); !ok {
			t.Error("a request may take for ever")
		}
		<-r.Context().Done()
		s.fail(w, r, fmt.Errorf("read users: %w", r.Context().Err()))
	})
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(gone, http.MethodGet, "/slow", nil))
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if strings.Contains(log.String(), `"ERROR"`) {
		t.Errorf("a client that left is logged as an error: %s", log)
	}
}

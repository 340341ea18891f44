package housetest_test

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// witness is a house whose audit log is read after each request.
type witness struct {
	h       *housetest.Harness
	worker  housetest.Person
	session housetest.Session // of the worker
	owner   *housetest.Client
	keyID   string
	key     string
	bot     string // a service account
	hook    string // a webhook
	given   string // the id of a key that it was given

	invitation string
	seen       int64 // the newest event so far
}

// admin speaks for the owner, whose one login is read over.
func (w *witness) admin(t *testing.T) *housetest.Client {
	if w.owner == nil {
		w.owner = w.h.Client().As(w.h.Login(w.h.Admin).Access)
		w.recorded(t)
	}
	return w.owner.For(t)
}

// as speaks for the worker, in a new session.
func (w *witness) as(t *testing.T) *housetest.Client {
	w.session = w.h.Login(w.worker)
	w.recorded(t)
	return w.h.Client().As(w.session.Access)
}

// recorded is what was recorded since it was last asked.
func (w *witness) recorded(t *testing.T) []audit.Event {
	t.Helper()
	if err := w.h.House().APIKeys.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	events, err := w.h.House().DB.Audit().Export(t.Context(), w.seen, 1000)
	if err != nil {
		t.Fatal(err)
	}
	if len(events) > 0 {
		w.seen = events[len(events)-1].Seq
	}
	return events
}

// happening is a request and all that the audit log says of it: the name of each
// event, its outcome and its reason.
type happening struct {
	name string
	ask  func(*testing.T, *witness) housetest.Reply
	want []string
}

// wrong is a password of nobody.
const wrong = "not the password of anyone"

func loginOf(email, password string) func(*testing.T, *witness) housetest.Reply {
	return func(_ *testing.T, w *witness) housetest.Reply { return w.h.Client().TryLogin(email, password) }
}

// byAdmin is a request of the owner's. The path may name the worker or the key.
func byAdmin(method, path string, body any) func(*testing.T, *witness) housetest.Reply {
	return func(t *testing.T, w *witness) housetest.Reply {
		names := strings.NewReplacer("{worker}", string(w.worker.ID), "{key}", w.keyID, "{org}", string(w.h.Admin.Org))
		return w.admin(t).Do(method, names.Replace(path), body)
	}
}

// byWorker is a request of the worker's, in a session of its own.
func byWorker(method, path string, body any) func(*testing.T, *witness) housetest.Reply {
	return func(t *testing.T, w *witness) housetest.Reply { return w.as(t).Do(method, path, body) }
}

const workerEmail, workerPassword = "worker@example.com", "a long enough sentence for one"

// authentications are the outcomes of every way to prove who one is.
var authentications = []happening{
	{"login", loginOf(workerEmail, workerPassword), []string{"login.succeeded success"}},
	{"login of the other dialect", func(_ *testing.T, w *witness) housetest.Reply {
		return w.h.Client().Post("/auth/login", map[string]string{"email": workerEmail, "password": workerPassword})
	}, []string{"login.succeeded success"}},
	{"wrong password", loginOf(workerEmail, wrong), []string{"login.failed failure wrong_password"}},
	{"unknown person", loginOf("nobody@example.com", wrong), []string{"login.failed failure unknown_user"}},
	{"second failure", loginOf(workerEmail, wrong), []string{"login.failed failure wrong_password"}},
	{"third failure", loginOf(workerEmail, wrong), []string{"login.failed failure wrong_password"}},
	{"fourth failure", loginOf(workerEmail, wrong), []string{"login.failed failure wrong_password"}},
	{"the failure that locks", loginOf(workerEmail, wrong), []string{"login.failed failure wrong_password", "login.locked denied pair"}},
	{"while locked", loginOf(workerEmail, workerPassword), []string{"login.refused denied locked"}},
	{"unlock", byAdmin("POST", "/api/v1/users/{worker}/unlock", nil), []string{"login.unlocked success"}},
	{"right again", loginOf(workerEmail, workerPassword), []string{"login.succeeded success"}},
	{"refresh", func(t *testing.T, w *witness) housetest.Reply {
		w.as(t)
		return w.h.Client().Refresh(w.session.Refresh)
	}, []string{"session.refreshed success replayed"}},
	{"refresh by a thief", func(t *testing.T, w *witness) housetest.Reply {
		first := w.session.Refresh
		w.h.Advance(2 * time.Minute)
		next := w.h.Client().Refresh(first).Expect(http.StatusOK).Text("refresh_token")
		w.h.Advance(2 * time.Minute)
		w.h.Client().Refresh(next).Expect(http.StatusOK)
		w.recorded(t)
		return w.h.Client().Agent("thief").From("203.0.113.7").Refresh(first)
	}, []string{"refresh.reuse_detected denied reuse_detected"}},
	{"refresh of what ended", func(_ *testing.T, w *witness) housetest.Reply { return w.h.Client().Refresh(w.session.Refresh) },
		[]string{"refresh.refused failure reuse_detected"}},
	{"logout", byWorker("POST", "/api/v1/auth/logout", nil), []string{"session.revoked success logout"}},
	{"change of the password", byWorker("POST", "/api/v1/me/password", map[string]string{"current_password": workerPassword, "new_password": "another sentence, just as long"}),
		[]string{"password.changed success"}},
	{"change with a wrong one", func(t *testing.T, w *witness) housetest.Reply {
		w.worker.Password = "another sentence, just as long"
		return w.as(t).Post("/api/v1/me/password", map[string]string{"current_password": wrong, "new_password": "a third sentence, just as long"})
	}, []string{"login.failed failure wrong_password"}},
	{"registration", func(_ *testing.T, w *witness) housetest.Reply {
		return w.h.Client().Post("/api/v1/auth/register", map[string]string{"email": "new@example.org", "name": "New", "password": workerPassword})
	}, []string{"member.added success", "org.created success", "user.registered success"}},
	{"registration of a known address", func(_ *testing.T, w *witness) housetest.Reply {
		return w.h.Client().Post("/api/v1/auth/register", map[string]string{"email": workerEmail, "name": "New", "password": workerPassword})
	}, []string{"user.registered failure email_taken"}},
}

// decisions are denials, keys and changes of what people may do.
var decisions = []happening{
	{"a permission that lacks", byWorker("GET", "/api/v1/audit-events", nil), []string{"permission.denied denied insufficient_permissions"}},
	{"a key", func(t *testing.T, w *witness) housetest.Reply {
		r := w.admin(t).Post("/api/v1/api-keys", map[string]any{"name": "k", "permissions": []string{"agents:read"}})
		w.keyID, w.key = r.Text("id"), r.Text("api_key")
		return r
	}, []string{"api_key.created success"}},
	{"its first use", func(_ *testing.T, w *witness) housetest.Reply { return w.h.Client().WithKey(w.key).Get("/api/v1/me") }, []string{"api_key.used success"}},
	{"a use in the same hour", func(_ *testing.T, w *witness) housetest.Reply { return w.h.Client().WithKey(w.key).Get("/api/v1/me") }, nil},
	{"more than it may", func(_ *testing.T, w *witness) housetest.Reply {
		return w.h.Client().WithKey(w.key).Get("/api/v1/users")
	},
		[]string{"permission.denied denied insufficient_permissions"}},
	{"its new name", byAdmin("PATCH", "/api/v1/api-keys/{key}", map[string]string{"name": "renamed"}), []string{"api_key.updated success"}},
	{"its rotation", byAdmin("POST", "/api/v1/api-keys/{key}/rotate", map[string]string{"grace": "0s"}), []string{"api_key.rotated success"}},
	{"its old secret", func(_ *testing.T, w *witness) housetest.Reply { return w.h.Client().WithKey(w.key).Get("/api/v1/me") },
		[]string{"api_key.refused failure superseded"}},
	{"its revocation", byAdmin("DELETE", "/api/v1/api-keys/{key}", nil), []string{"api_key.revoked success"}},
	{"another key", func(t *testing.T, w *witness) housetest.Reply {
		r := w.admin(t).Post("/api/v1/api-keys", map[string]any{"name": "leaked", "permissions": []string{"agents:read"}})
		w.keyID, w.key = r.Text("id"), r.Text("api_key")
		return r
	}, []string{"api_key.created success"}},
	{"its report as leaked", func(_ *testing.T, w *witness) housetest.Reply {
		return w.h.Client().Post("/api/v1/leaked-keys", map[string]any{"keys": []string{"nothing", w.key}, "url": "https://paste.example"})
	}, []string{"api_key.leaked success revoked", "api_key.revoked success leaked"}},
	{"another organisation's key", func(t *testing.T, w *witness) housetest.Reply {
		return stranger(t, w).Delete("/api/v1/api-keys/" + w.keyID)
	}, []string{"tenant.cross_org_denied denied"}},
	{"another organisation's user", func(t *testing.T, w *witness) housetest.Reply {
		return stranger(t, w).Patch("/api/v1/users/"+string(w.worker.ID), map[string]string{"status": "disabled"})
	}, []string{"tenant.cross_org_denied denied"}},
	{"a user", byAdmin("POST", "/api/v1/users", map[string]string{"email": "third@example.com", "name": "Third", "role": "viewer", "password": workerPassword}),
		[]string{"member.added success", "user.created success"}},
	{"a role for somebody", byAdmin("PATCH", "/api/v1/memberships/{worker}", map[string]string{"role": "viewer"}), []string{"member.role_set success"}},
	{"a name for somebody", byAdmin("PATCH", "/api/v1/users/{worker}", map[string]string{"name": "Renamed"}), []string{"user.updated success"}},
	{"somebody disabled", byAdmin("PATCH", "/api/v1/users/{worker}", map[string]string{"status": "disabled"}), []string{"user.disabled success"}},
	{"their login", loginOf(workerEmail, "another sentence, just as long"), []string{"login.failed denied disabled"}},
	{"somebody enabled", byAdmin("PATCH", "/api/v1/users/{worker}", map[string]string{"status": "active"}), []string{"user.enabled success"}},
	{"a role", byAdmin("PUT", "/api/v1/roles/auditor", map[string]any{"permissions": []string{"audit:read"}}), []string{"role.set success"}},
	{"a role gone", byAdmin("DELETE", "/api/v1/roles/auditor", nil), []string{"role.deleted success"}},
	{"a name for the organisation", byAdmin("PATCH", "/api/v1/organizations/{org}", map[string]string{"name": "Renamed"}), []string{"org.updated success"}},
	{"a policy for its keys", byAdmin("PATCH", "/api/v1/organizations/{org}/key-policy", map[string]any{"max_lifetime": "1000h"}), []string{"api_key.policy_set success"}},
	{"no policy for its keys", byAdmin("PATCH", "/api/v1/organizations/{org}/key-policy", map[string]any{"max_lifetime": "0s"}), []string{"api_key.policy_set success"}},
	{"the other sessions", func(t *testing.T, w *witness) housetest.Reply {
		w.as(t).Delete("/api/v1/sessions").Expect(http.StatusOK)
		return w.as(t).Delete("/api/v1/sessions") // ends the one session that is left
	}, []string{"session.revoked success signed_out_everywhere"}},
	{"a service account", func(t *testing.T, w *witness) housetest.Reply {
		r := w.admin(t).Post("/api/v1/service-accounts", map[string]string{"name": "bot", "role": "viewer"}).Expect(http.StatusCreated)
		w.bot = r.Text("id")
		return r
	}, []string{"service_account.created success"}},
	{"a name for it", byBot("PATCH", map[string]string{"name": "robot"}), []string{"service_account.updated success"}},
	{"a role for it", byBot("PATCH", map[string]string{"role": "engineer"}), []string{"service_account.role_set success"}},
	{"a key given to it", func(t *testing.T, w *witness) housetest.Reply {
		w.given, _ = w.admin(t).CreateKey("given", "agents:read")
		w.recorded(t)
		return w.admin(t).Patch("/api/v1/api-keys/"+w.given, map[string]string{"owner": w.bot})
	}, []string{"api_key.transferred success"}},
	{"that key gone", func(t *testing.T, w *witness) housetest.Reply {
		return w.admin(t).Delete("/api/v1/api-keys/" + w.given)
	}, []string{"api_key.revoked success"}},
	{"it disabled", byBot("PATCH", map[string]string{"status": "disabled"}), []string{"service_account.disabled success"}},
	{"it enabled", byBot("PATCH", map[string]string{"status": "active"}), []string{"service_account.enabled success"}},
	{"another organisation's service account", func(t *testing.T, w *witness) housetest.Reply {
		return stranger(t, w).Delete("/api/v1/service-accounts/" + w.bot)
	}, []string{"tenant.cross_org_denied denied"}},
	{"it gone", byBot("DELETE", nil), []string{"service_account.deleted success"}},
	{"an invitation", func(t *testing.T, w *witness) housetest.Reply {
		r := w.admin(t).Post("/api/v1/invitations", map[string]string{"email": "guest@example.org", "role": "viewer"}).Expect(http.StatusCreated)
		w.invitation = r.Text("id")
		return r
	}, []string{"invitation.created success"}},
	{"it once more", byInvitation("POST", "/resend"), []string{"invitation.resent success"}},
	{"another organisation's invitation", func(t *testing.T, w *witness) housetest.Reply {
		return stranger(t, w).Delete("/api/v1/invitations/" + w.invitation)
	}, []string{"tenant.cross_org_denied denied"}},
	{"it taken back", byInvitation("DELETE", ""), []string{"invitation.revoked success"}},
	{"a webhook", func(t *testing.T, w *witness) housetest.Reply {
		r := w.admin(t).Post("/api/v1/webhooks", map[string]any{"url": "http://127.0.0.1:9/", "events": []string{"setup.*"}}).Expect(http.StatusCreated)
		w.hook = r.Text("id")
		return r
	}, []string{"webhook.created success"}},
	{"events for it", byHook("PATCH", "", map[string]any{"events": []string{"org.created"}}), []string{"webhook.updated success"}},
	{"a secret for it", byHook("POST", "/rotate-secret", nil), []string{"webhook.secret_rotated success"}},
	{"a replay for it", byHook("POST", "/replay", nil), []string{"webhook.replayed success"}},
	{"a test of it", byHook("POST", "/test", nil), []string{"webhook.tested success"}},
	{"another organisation's webhook", func(t *testing.T, w *witness) housetest.Reply {
		return stranger(t, w).Delete("/api/v1/webhooks/" + w.hook)
	}, []string{"tenant.cross_org_denied denied"}},
	{"its deletion", byHook("DELETE", "", nil), []string{"webhook.deleted success"}},
	{"the next signing key", byAdmin("POST", "/api/v1/signing-keys/rotate", map[string]string{"algorithm": "RS256"}), []string{"signing_key.created success"}},
	{"its use at once", byAdmin("POST", "/api/v1/signing-keys/rotate", map[string]any{"algorithm": "RS256", "immediately": true}), []string{"signing_key.rotated success"}},
	{"its revocation", func(t *testing.T, w *witness) housetest.Reply {
		return w.admin(t).Post("/api/v1/signing-keys/"+activeKey(w.h.House(), "RS256")+"/revoke", nil)
	}, []string{"signing_key.revoked success", "signing_key.rotated success"}},
	{"a member gone", byAdmin("DELETE", "/api/v1/memberships/{worker}", nil), []string{"member.removed success"}},
}

// byBot asks about the service account.
func byBot(method string, body any) func(*testing.T, *witness) housetest.Reply {
	return func(t *testing.T, w *witness) housetest.Reply {
		return w.admin(t).Do(method, "/api/v1/service-accounts/"+w.bot, body)
	}
}

// byInvitation asks about the invitation.
func byInvitation(method, path string) func(*testing.T, *witness) housetest.Reply {
	return func(t *testing.T, w *witness) housetest.Reply {
		return w.admin(t).Do(method, "/api/v1/invitations/"+w.invitation+path, nil)
	}
}

// byHook asks about the webhook.
func byHook(method, path string, body any) func(*testing.T, *witness) housetest.Reply {
	return func(t *testing.T, w *witness) housetest.Reply {
		return w.admin(t).Do(method, "/api/v1/webhooks/"+w.hook+path, body)
	}
}

// stranger owns another organisation.
func stranger(t *testing.T, w *witness) *housetest.Client {
	p := housetest.Person{Email: "new@example.org", Password: workerPassword}
	c := w.h.Client().As(w.h.Login(p).Access)
	w.recorded(t)
	return c
}

// SEC-OBS-02, INV-18: whatever is decided is recorded exactly once, with who,
// what, when, from where and how it ended, and the metrics count the same.
func TestEveryDecisionIsRecordedOnceAndCounted(t *testing.T) {
	housetest.Both(t, housetest.Options{New: true}, func(t *testing.T, h *housetest.Harness) {
		w := &witness{h: h, worker: h.Person(h.Admin.Org, "worker", "engineer")}
		w.recorded(t)
		for _, step := range slices.Concat(authentications, decisions) {
			t.Run(step.name, func(t *testing.T) {
				reply := step.ask(t, w)
				events := w.recorded(t)
				var got []string
				for _, e := range events {
					got = append(got, strings.TrimSpace(fmt.Sprintf("%s %s %s", e.Name, e.Outcome, e.Reason)))
					complete(t, h, e, reply)
				}
				slices.Sort(got)
				if !slices.Equal(got, step.want) {
					t.Errorf("recorded %q, want %q\n%s", got, step.want, reply)
				}
			})
		}
		all, err := h.House().DB.Audit().Export(t.Context(), 0, 10_000)
		if err != nil {
			t.Fatal(err)
		}
		counted(t, h, all)
	})
}

// complete fails the test where an event leaves out who, what, when or where.
func complete(t *testing.T, h *housetest.Harness, e audit.Event, reply housetest.Reply) {
	t.Helper()
	if !e.Time.Equal(h.Clock.Now()) || e.Time.Location() != time.UTC {
		t.Errorf("%s happened at %s, which is not now in UTC (%s)", e.Name, e.Time, h.Clock.Now())
	}
	if e.Name.Code() == "" || e.ID == "" || e.Actor.Type == "" || !slices.Contains([]audit.Outcome{audit.Success, audit.Failure, audit.Denied}, e.Outcome) {
		t.Errorf("an event is incomplete: %+v", e)
	}
	if !e.Origin.IP.IsValid() || e.Origin.UserAgent == "" {
		t.Errorf("%s does not say from where: %+v", e.Name, e.Origin)
	}
	if got, want := string(e.Origin.Request), reply.Header.Get("X-Request-Id"); got != want && e.Name != audit.APIKeyUsed && e.Name != audit.APIKeyRefused {
		t.Errorf("%s is of the request %q, want %q", e.Name, got, want)
	}
	if e.Actor.Type != "anonymous" && (e.Actor.ID == "" || e.Org == "") {
		t.Errorf("%s does not say who: %+v", e.Name, e)
	}
	// Who knocks at a locked door, and what nobody is called, is known by a keyed hash.
	named := len(e.Targets) > 0 || e.Meta["identifier"] != "" || e.Meta["required"] != "" || e.Key != "" || e.Reason == "email_taken"
	if !named {
		t.Errorf("%s does not say to what: %+v", e.Name, e)
	}
}

// sample is one line of the text format of Prometheus.
var sample = regexp.MustCompile(`(?m)^tokenhouse_audit_events_total\{event="([^"]+)",outcome="([^"]+)"\} (\S+)$`)

// counted compares the metric of audit events with the log itself.
func counted(t *testing.T, h *housetest.Harness, all []audit.Event) {
	t.Helper()
	log, metric := map[string]int{}, map[string]int{}
	logins := map[string]int{}
	for _, e := range all {
		log[string(e.Name)+" "+string(e.Outcome)]++
		if e.Name == audit.LoginSucceeded {
			logins["success"]++
		}
	}
	text := string(h.OpsClient().Get("/metrics").Expect(http.StatusOK).Body)
	for _, m := range sample.FindAllStringSubmatch(text, -1) {
		n, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			t.Fatal(err)
		}
		if n > 0 {
			metric[m[1]+" "+m[2]] = int(n)
		}
	}
	if len(log) < 25 {
		t.Errorf("only %d kinds of event were recorded", len(log))
	}
	for kind, n := range log {
		if metric[kind] != n {
			t.Errorf("%s was recorded %d times, and counted %d times", kind, n, metric[kind])
		}
	}
	for kind, n := range metric {
		if log[kind] == 0 {
			t.Errorf("%s was counted %d times, and never recorded", kind, n)
		}
	}
	if want := fmt.Sprintf(`tokenhouse_login_attempts_total{method="password",result="success"} %d`, logins["success"]); !strings.Contains(text, want) {
		t.Errorf("the metrics do not say %s", want)
	}
}

// SEC-OBS-05: the audit log is read with audit:read only, and shows one's own
// organisation only, to its owner too.
func TestTheAuditLogIsForItsOwnOrganisation(t *testing.T) {
	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		other := h.Person(h.Org("elsewhere"), "elsewhere", "owner")
		viewer := h.Login(h.Person(other.Org, "viewing", "viewer"))
		owner := h.Client().As(h.Login(other).Access)
		admin := h.Client().As(h.Login(h.Admin).Access)
		_, blind := admin.CreateKey("blind", "agents:read")
		_, sighted := admin.CreateKey("sighted", "audit:read")
		mine := admin.Get("/api/v1/audit-events?limit=1").Expect(http.StatusOK).Text("data.0.session_id")
		for _, path := range []string{"/api/v1/audit-events", "/api/v1/audit"} {
			for _, c := range []*housetest.Client{h.Client().WithKey(blind), h.Client().As(viewer.Access)} {
				c.Get(path).Problem(http.StatusForbidden, "INSUFFICIENT_PERMISSIONS")
			}
			for _, query := range []string{"", "?limit=200", "?user_id=" + string(h.Admin.ID), "?session_id=" + mine, "?name=login.succeeded"} {
				reply := owner.Get(path + query).Expect(http.StatusOK)
				for _, secret := range []string{string(h.Admin.Org), h.Admin.Email, mine} {
					if strings.Contains(string(reply.Body), secret) {
						t.Errorf("%s shows another organisation %s", path+query, secret)
					}
				}
			}
			if n := len(h.Client().WithKey(sighted).Get(path).Expect(http.StatusOK).List("data")); n == 0 {
				t.Errorf("%s shows a key with audit:read nothing", path)
			}
		}
	})
}

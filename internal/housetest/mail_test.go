package housetest_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/internal/smtptest"
)

// mailing starts a house that sends its mails to the sink.
func mailing(t *testing.T, s *smtptest.Sink, o housetest.Options) *housetest.Harness {
	t.Helper()
	o.Config = func(c *house.Config) {
		c.Mail.Server, c.Mail.CAFile, c.Mail.From = s.Address, s.CAFile, "Tokens <tokens@example.com>"
		c.Mail.Username, c.Mail.Password = "tokens", secret.Of("hush-hush")
	}
	return housetest.Start(t, o)
}

// fewer makes a dozen failures fill the pool of an account, as hashing takes time.
func fewer(h *housetest.Harness) {
	h.House().Logins.Throttle.Pool = accounts.Limit{Failures: 12, Window: time.Hour}
}

// sink is a mail server that asks for a name.
func sink(t *testing.T) *smtptest.Sink {
	return smtptest.Start(t, smtptest.Options{Username: "tokens", Password: "hush-hush"})
}

// onBothWithMail runs a test with a mail server on SQLite and on PostgreSQL.
func onBothWithMail(t *testing.T, o housetest.Options, test func(*testing.T, *housetest.Harness, *smtptest.Sink)) {
	for name, postgres := range map[string]bool{"sqlite": false, "postgres": true} {
		t.Run(name, func(t *testing.T) {
			s, o := sink(t), o
			o.Postgres = postgres
			test(t, mailing(t, s, o), s)
		})
	}
}

// mistype enters n wrong passwords from one address.
func mistype(h *housetest.Harness, email, from string, n int) (last housetest.Reply) {
	for range n {
		last = h.Client().From(from).TryLogin(email, "not the password of anyone")
	}
	return last
}

// mailed returns once no mail is due: whatever was to be sent has been.
func mailed(t *testing.T, h *housetest.Harness) {
	t.Helper()
	for _, r := range h.Replicas {
		if err := r.House.SendMails(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// unlockPathOf is the path and query of an unlock link, whose host is the issuer's.
func unlockPathOf(t *testing.T, h *housetest.Harness, m smtptest.Mail) string {
	t.Helper()
	path, ok := strings.CutPrefix(m.Link(), h.Config.Issuer)
	if !ok || !strings.HasPrefix(path, "/login/unlock?token=th_unlock_") {
		t.Fatalf("the mail has no link of ours: %s", m.Text)
	}
	return path
}

// The owner is told once of a lock, by a mail that names address and time, and
// with the link in it one browser passes the lock: once, for a while, for this
// account, and with the password.
func TestTheOwnerIsMailedOncePerLockAndUnlocksABrowser(t *testing.T) {
	onBothWithMail(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness, s *smtptest.Sink) {
		const office = "198.51.100.7"
		victim := h.Person(h.Admin.Org, "victim", "viewer")
		other := h.Person(h.Admin.Org, "other", "viewer")
		b := h.Browser().From(office)
		in := map[string]string{"email": victim.Email, "password": victim.Password}
		mistype(h, victim.Email, office, 5)
		mistype(h, victim.Email, office, 3).Expect(http.StatusLocked)
		mistype(h, "nobody@example.com", office, 5)
		m := s.Next(t, 1)
		mailed(t, h)
		if n := len(s.Mails()); n != 1 || m.To != victim.Email || !m.Secure || m.Login != "tokens" || !strings.Contains(m.Text, office) || !strings.Contains(m.Text, "1 March 2027, 09:00 UTC") {
			t.Fatalf("%d mails; %+v", n, m)
		}
		b.Open("/login")
		b.Submit(in).Expect(http.StatusLocked)
		link := unlockPathOf(t, h, m)
		for range 3 { // whoever looks uses nothing up
			h.Browser().Open(link).Shows("Sign in here again?").Expect(http.StatusOK)
		}
		b.Open(link).Shows("Sign in here again?")
		b.Submit(nil).Shows("You can sign in again").Expect(http.StatusOK)
		b.Open(link).Shows("This link is not valid any more").Expect(http.StatusGone)
		mistype(h, victim.Email, office, 1).Expect(http.StatusLocked) // everybody else there
		mistype(h, other.Email, office, 5)
		b.Open("/login")
		b.Submit(map[string]string{"email": other.Email, "password": other.Password}).Expect(http.StatusLocked)
		b.Open("/login")
		b.Submit(map[string]string{"email": victim.Email, "password": "not the password of anyone"}).Expect(http.StatusUnauthorized)
		b.Submit(in).Shows("You are signed in")
		h.Advance(accounts.UnlockLinkTTL)
		if events := eventsOf(t, h, audit.UnlockLinkUsed); len(events) != 1 || events[0].Actor.ID != string(victim.ID) || events[0].Origin.IP.String() != office || events[0].Org != victim.Org {
			t.Errorf("%+v", events)
		}
		if events := eventsOf(t, h, audit.MailSent); len(events) != 2 || events[0].Org != victim.Org {
			t.Errorf("%+v", events)
		}
	})
}

// A flood from everywhere locks strangers out. The link lets one browser in that
// never was there before, and its guesses are bounded.
func TestAnUnlockLinkPassesAFullPool(t *testing.T) {
	s := sink(t)
	h := mailing(t, s, housetest.Options{})
	victim := h.Person(h.Admin.Org, "flooded", "viewer")
	fewer(h)
	for i := range 3 {
		mistype(h, victim.Email, fmt.Sprintf("10.1.%d.1", i), 4)
	}
	m := s.Next(t, 1)
	mailed(t, h)
	if n := len(s.Mails()); n != 1 || !strings.Contains(m.Text, "from a browser that has not done so before") {
		t.Fatalf("%d mails; %s", n, m.Text)
	}
	b := h.Browser().From("203.0.113.9")
	b.Open("/login")
	b.Submit(map[string]string{"email": victim.Email, "password": victim.Password}).Expect(http.StatusLocked)
	b.Open(unlockPathOf(t, h, m))
	b.Submit(nil).Shows("You can sign in again")
	b.Open("/login")
	for n := range 12 { // as many as a known device has
		want := http.StatusUnauthorized
		if n >= 10 {
			want = http.StatusLocked
		}
		b.Submit(map[string]string{"email": victim.Email, "password": "not the password of anyone"}).Expect(want)
	}
	h.Advance(time.Minute)
	b.Submit(map[string]string{"email": victim.Email, "password": victim.Password}).Shows("You are signed in")
	// What a browser may do without the link ends with it.
	c := h.Browser().From("203.0.113.10")
	c.Open("/login")
	c.Submit(map[string]string{"email": victim.Email, "password": victim.Password}).Expect(http.StatusLocked)
}

// Nobody is buried in mails, however many addresses the attacker has, and
// nobody is mailed who could do nothing with it.
func TestMailsAreFew(t *testing.T) {
	s := sink(t)
	h := mailing(t, s, housetest.Options{})
	victim := h.Person(h.Admin.Org, "buried", "viewer")
	fewer(h)
	h.House().Logins.Throttle.Pair = accounts.Limit{Failures: 2, Window: 15 * time.Minute, Locks: []time.Duration{time.Minute}}
	for i := range 6 {
		mistype(h, victim.Email, fmt.Sprintf("10.2.%d.1", i), 3)
	}
	s.Next(t, 4)
	mailed(t, h)
	if n := len(s.Mails()); n != 4 { // three of networks, and the one of the pool
		t.Errorf("%d mails in one hour", n)
	}
	h.Advance(61 * time.Minute)
	mistype(h, victim.Email, "10.2.200.1", 5)
	s.Next(t, 5)
	barred := h.Person(h.Admin.Org, "barred", "viewer")
	h.Client().As(h.Login(h.Admin).Access).Patch("/api/v1/users/"+string(barred.ID), map[string]any{"status": accounts.Disabled}).Expect(http.StatusOK)
	mistype(h, barred.Email, "10.3.1.1", 5)
	mistype(h, "nobody@example.com", "10.3.2.1", 5)
	mailed(t, h)
	if n := len(s.Mails()); n != 5 {
		t.Errorf("%d mails", n)
	}
	if due, err := h.House().DB.LockNotices().NextLockNotice(t.Context()); err != nil || !due.IsZero() {
		t.Errorf("something is still due: %v, %v", due, err)
	}
}

// A link is for the address it was mailed to, for 15 minutes, for a form of
// ours, and for whoever did not make it up.
func TestUnlockLinksAreRefused(t *testing.T) {
	s := sink(t)
	h := mailing(t, s, housetest.Options{})
	mails := 0
	linked := func(name string) (housetest.Person, string) {
		p := h.Person(h.Admin.Org, name, "viewer")
		mistype(h, p.Email, "198.51.100.1", 5)
		mails++
		return p, unlockPathOf(t, h, s.Next(t, mails))
	}
	gone := func(what string, b *housetest.Browser, path string) {
		t.Helper()
		b.Open("/login") // it has a name
		if p := b.Open(path); p.Status != http.StatusGone {
			t.Errorf("%s is shown: %s", what, p)
		}
	}
	gone("no token", h.Browser(), "/login/unlock")
	gone("a made-up token", h.Browser(), "/login/unlock?token=th_unlock_"+strings.Repeat("a", 43))
	p, link := linked("one")
	gone("a cut token", h.Browser(), link[:len(link)-1])
	h.Browser().Open(link + "&token=x").Expect(http.StatusBadRequest)

	values := func(b *housetest.Browser) url.Values {
		return b.Open(link).Shows("Sign in here again?").Forms[0].Fields
	}
	b := h.Browser()
	form := values(b)
	b.Post("https://evil.example", "/login/unlock", form).Expect(http.StatusForbidden)
	h.Browser().Post(h.Config.Issuer, "/login/unlock", form).Shows("Sign in here again?") // another browser's form
	b.Post(h.Config.Issuer, "/login/unlock", url.Values{"token": form["token"]}).Shows("Sign in here again?")
	wrong := url.Values{"form_token": form["form_token"], "token": {"th_unlock_" + strings.Repeat("b", 43)}}
	b.Post(h.Config.Issuer, "/login/unlock", wrong).Expect(http.StatusGone)
	if events := eventsOf(t, h, audit.UnlockLinkRefused); len(events) != 1 || events[0].Reason != "invalid_link" || !events[0].Origin.IP.IsValid() {
		t.Errorf("%+v", events)
	}
	h.Client().As(h.Login(h.Admin).Access).Patch("/api/v1/users/"+string(p.ID), map[string]any{"status": accounts.Disabled}).Expect(http.StatusOK)
	gone("a link of who is disabled", h.Browser(), link)

	_, link = linked("two")
	h.Clock.Advance(accounts.UnlockLinkTTL - time.Second)
	form = values(b)
	h.Clock.Advance(time.Second)
	gone("an expired link", h.Browser(), link)
	b.Post(h.Config.Issuer, "/login/unlock", form).Expect(http.StatusGone)
	if strings.Contains(h.Logs(), "th_unlock_") { // SEC-OBS-01
		t.Error("a link is in the logs")
	}
}

// A mail waits while its server is away, is tried again later and later, and is
// sent once. What is refused is not tried again.
func TestAMailOutlivesItsServer(t *testing.T) {
	s := sink(t)
	h := mailing(t, s, housetest.Options{})
	victim := h.Person(h.Admin.Org, "patient", "viewer")
	s.Refuse(func(try int) error {
		if try < 4 {
			return smtptest.Temporary
		}
		return nil
	})
	mistype(h, victim.Email, "198.51.100.1", 5)
	for i, wait := range []time.Duration{0, 10 * time.Second, time.Minute} {
		if wait > 0 {
			h.Clock.Advance(wait - time.Microsecond)
			mailed(t, h)
			h.Clock.Advance(time.Microsecond)
		}
		attempted(t, h, s, i+1)
	}
	h.Clock.Advance(5 * time.Minute)
	first := s.Next(t, 1)
	attempted(t, h, s, 4)
	h.Browser().Open(unlockPathOf(t, h, first)).Shows("Sign in here again?") // its 15 minutes begin when it is sent
	h.Advance(24 * time.Hour)
	mailed(t, h)
	if n := len(s.Mails()); n != 1 || s.Tries() != 4 {
		t.Errorf("%d mails in %d attempts", n, s.Tries())
	}
	s.Refuse(func(int) error { return smtptest.Permanent })
	mistype(h, victim.Email, "198.51.100.1", 5)
	attempted(t, h, s, 1)
	h.Advance(24 * time.Hour)
	mailed(t, h)
	if s.Tries() != 1 {
		t.Errorf("%d attempts of what is refused", s.Tries())
	}
	s.Refuse(func(int) error { return smtptest.Temporary })
	mistype(h, victim.Email, "198.51.100.1", 5)
	for n := range 7 {
		attempted(t, h, s, n+1)
		h.Advance(3 * time.Hour)
	}
	mailed(t, h)
	if events := eventsOf(t, h, audit.MailFailed); s.Tries() != 7 || len(events) != 2 || events[1].Reason != "unreachable" || events[0].Reason != "refused" {
		t.Errorf("%d attempts, %+v", s.Tries(), events)
	}
}

// attempted waits until the n-th attempt was made, and its end written down.
func attempted(t *testing.T, h *housetest.Harness, s *smtptest.Sink, n int) {
	t.Helper()
	waitFor(t, h, func() bool {
		due, err := h.House().DB.LockNotices().NextLockNotice(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s.Tries() == n && !due.Equal(h.Clock.Now().Add(2*time.Minute)) // it is nobody's any more
	})
}

// waitFor does the work in the background until it has had its effect.
func waitFor(t *testing.T, h *housetest.Harness, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); mailed(t, h) {
		if time.Now().After(deadline) {
			t.Fatal("it does not happen")
		}
	}
}

// A server that dies between the lock and the mail sends the mail when it is
// back, and of several replicas one sends it.
func TestAMailSurvivesACrashAndIsSentByOneReplica(t *testing.T) {
	for name, postgres := range map[string]bool{"sqlite": false, "postgres": true} {
		t.Run(name, func(t *testing.T) {
			s := sink(t)
			h := mailing(t, s, housetest.Options{Postgres: postgres})
			victim := h.Person(h.Admin.Org, "victim", "viewer")
			s.Refuse(func(int) error { return smtptest.Temporary })
			mistype(h, victim.Email, "198.51.100.1", 5)
			waitFor(t, h, func() bool { return s.Tries() > 0 })
			if err := h.Replicas[0].Stop(); err != nil {
				t.Fatal(err)
			}
			s.Refuse(nil)
			h.Replicas = nil
			h.Clock.Advance(time.Hour)
			for range map[bool]int{false: 1, true: 3}[postgres] {
				h.AddReplica()
			}
			s.Next(t, 1)
			mailed(t, h)
			if n := len(s.Mails()); n != 1 {
				t.Errorf("%d mails", n)
			}
		})
	}
}

// SEC-INJ-16: nothing that somebody chose for themselves gets into a mail but
// the address it goes to, and that is text there.
func TestNothingChosenGetsIntoAMail(t *testing.T) {
	s := sink(t)
	h := mailing(t, s, housetest.Options{})
	const name = "{{.Link}} http://evil.example <b>Win</b>"
	email := "{{.Account}}!#$%&'*+-/=?^_`{|}~@example.com"
	h.Client().Post("/api/v1/auth/register", map[string]string{"email": email, "name": name, "password": workerPassword}).Expect(http.StatusCreated)
	for _, bad := range []string{"a@example.com\r\nBcc: eve@evil.example", "a@example.com\nX: y", "a b@example.com", "a@example.com,eve@evil.example", "<a@example.com>", `"a\r\n"@example.com`} {
		h.Client().Post("/api/v1/auth/register", map[string]string{"email": bad, "name": "x", "password": workerPassword}).Expect(http.StatusUnprocessableEntity)
	}
	h.Client().Post("/api/v1/auth/register", map[string]string{"email": "b@example.com", "name": "a\r\nBcc: eve@evil.example", "password": workerPassword}).Expect(http.StatusUnprocessableEntity)
	agent := h.Client().Agent("evil.example {{.Link}}").From("198.51.100.1")
	for range 5 {
		agent.TryLogin(email, "not the password of anyone")
	}
	m := s.Next(t, 1)
	if m.To != email || !strings.Contains(m.Text, email) || strings.Contains(m.Raw, "evil") || strings.Contains(m.Raw, "Win") || strings.Contains(m.HTML, "<b>") || m.Header.Get("Bcc") != "" {
		t.Errorf("%s", m.Raw)
	}
	unlockPathOf(t, h, m)
}

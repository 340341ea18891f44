package housetest_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/housetest"
	"github.com/tokenhouse/tokenhouse/internal/smtptest"
)

// inviteGuest returns the invitation's id, and its link where no mail is sent.
func inviteGuest(c *housetest.Client, email, role string) (id, link string) {
	r := c.Post("/api/v1/invitations", map[string]string{"email": email, "role": role}).Expect(http.StatusCreated)
	if r.Has("link") {
		link = r.Text("link")
	}
	return r.Text("id"), link
}

// guestPassword is what invited people choose.
const guestPassword = "a sentence that visitors like"

// invitationOf is the path and query of the link in a mail.
func invitationOf(t *testing.T, h *housetest.Harness, m smtptest.Mail) string {
	t.Helper()
	path, ok := strings.CutPrefix(m.Link(), h.Config.Issuer)
	if !ok || !strings.HasPrefix(path, "/invitation?token=th_invite_") {
		t.Fatalf("the mail has no link of ours: %s", m.Text)
	}
	return path
}

// roleOf is what the administrator sees that somebody is; empty: no member.
func roleOf(t *testing.T, admin *housetest.Client, email string) string {
	t.Helper()
	for _, m := range admin.Get("/api/v1/memberships?limit=200").Expect(http.StatusOK).List("data") {
		if m := m.(map[string]any); m["email"] == email {
			return m["role"].(string)
		}
	}
	return ""
}

// The whole way of an invitation, by mail: a stranger makes an account and joins,
// somebody with an account signs in and joins, and the answer to whoever invites
// is the same for both.
func TestInvitedPeopleJoinByMail(t *testing.T) {
	onBothWithMail(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness, s *smtptest.Sink) {
		admin := h.Client().As(h.Login(h.Admin).Access)
		known := h.Person(h.Org("elsewhere"), "known", "viewer")
		var answers []string
		for _, email := range []string{"Guest@Example.org", known.Email} {
			r := admin.Post("/api/v1/invitations", map[string]string{"email": email, "role": "engineer"}).Expect(http.StatusCreated)
			answers = append(answers, strings.NewReplacer(r.Text("id"), "ID", email, "EMAIL").Replace(string(r.Body)))
		}
		if answers[0] != answers[1] || strings.Contains(answers[0], "th_invite_") {
			t.Errorf("a stranger's and a known address: %q", answers)
		}
		mailed(t, h)
		letters := map[string]string{}
		for n := range 2 {
			m := s.Next(t, n+1)
			letters[strings.ToLower(m.To)] = invitationOf(t, h, m)
		}
		if strings.Contains(h.Logs(), "th_invite_") {
			t.Error("a link is in the log")
		}

		t.Run("a stranger", func(t *testing.T) {
			b, link := h.Browser().For(t), letters["guest@example.org"]
			b.Open(link).Shows("You are invited")
			b.Submit(map[string]string{"name": "Guest", "password": "short", "accept": "new"}).Shows("You are invited")
			b.Submit(map[string]string{"name": "Guest", "password": guestPassword, "accept": "new"}).Shows("Now sign in")
			if got := roleOf(t, admin.For(t), "Guest@Example.org"); got != "engineer" {
				t.Errorf("the guest is %q", got)
			}
			h.Client().For(t).Login("guest@example.org", guestPassword)
			b.Open(link)
			if p := h.Browser().For(t).Open(link); p.Status != http.StatusGone {
				t.Errorf("the link a second time: %s", p)
			}
		})
		t.Run("somebody with an account", func(t *testing.T) {
			link := letters[strings.ToLower(known.Email)]
			before := h.Browser().For(t)
			before.Open(link).Shows("You are invited")
			// Who does not know of their account, or is not its owner, is told the same as a stranger.
			before.Submit(map[string]string{"name": "Impostor", "password": guestPassword, "accept": "new"}).Shows("Now sign in")
			h.Client().For(t).TryLogin(known.Email, guestPassword).Problem(http.StatusUnauthorized, "INVALID_CREDENTIALS")
			if got := roleOf(t, admin.For(t), known.Email); got != "" {
				t.Errorf("a form without the password made them %q", got)
			}
			b := h.Browser().For(t)
			b.SignIn("/login?return_to="+strings.ReplaceAll(link, "?", "%3F"), known).Shows("You are invited")
			b.Submit(map[string]string{"accept": "own"}).Shows("You are a member")
			if got := roleOf(t, admin.For(t), known.Email); got != "engineer" {
				t.Errorf("they are %q", got)
			}
			b.Open(link).Shows("You are a member")
		})
	})
}

// An invitation is for one address: whoever else has the link and is signed in
// cannot take it. It ends after a week, unless it is sent again, and when it is taken back.
func TestAnInvitationIsForOneAddressAndAWhile(t *testing.T) {
	h := housetest.Start(t, housetest.Options{Still: true})
	admin := func() *housetest.Client { return h.Client().As(h.Login(h.Admin).Access) }
	eve := h.Person(h.Org("elsewhere"), "eve", "owner")
	id, link := inviteGuest(admin(), "guest@example.org", "viewer")
	link = strings.TrimPrefix(link, h.Config.Issuer)
	b := h.Browser()
	b.SignIn("/login", eve)
	if p := b.Open(link); !strings.Contains(string(p.Body), "whom it is not for") {
		t.Errorf("shown to another: %s", p)
	}
	gone := func(what string, want bool, address string) {
		t.Helper()
		if p := h.Browser().Open(address); (p.Status == http.StatusGone) != want {
			t.Errorf("%s: %s", what, p)
		}
	}
	h.Advance(6 * 24 * time.Hour)
	gone("after six days", false, link)
	another := admin().Post("/api/v1/invitations/"+id+"/resend", nil).Expect(http.StatusOK).Text("link")
	h.Advance(6 * 24 * time.Hour)
	gone("sent again, after twelve", false, link)
	gone("the other link", false, strings.TrimPrefix(another, h.Config.Issuer))
	admin().Post("/api/v1/invitations", map[string]string{"email": "GUEST@example.org", "role": "viewer"}).Problem(http.StatusConflict, "CONFLICT")
	h.Advance(2 * 24 * time.Hour)
	gone("after fourteen", true, link)
	_, link = inviteGuest(admin(), "guest@example.org", "viewer") // one that expired makes room
	link = strings.TrimPrefix(link, h.Config.Issuer)
	gone("another", false, link)
	list := admin().Get("/api/v1/invitations").Expect(http.StatusOK).List("data")
	if states := []any{list[0].(map[string]any)["status"], list[1].(map[string]any)["status"]}; states[0] != "open" || states[1] != "expired" {
		t.Errorf("listed %v", list)
	}
	newest := list[0].(map[string]any)["id"].(string)
	admin().Delete("/api/v1/invitations/" + newest).Expect(http.StatusNoContent)
	admin().Delete("/api/v1/invitations/"+newest).Problem(http.StatusConflict, "CONFLICT")
	gone("taken back", true, link)
}

// SEC-INJ-16, SEC-WEB-13: nothing that an organisation calls itself is a link or
// markup in its letters, and an address is not flooded, by however many
// organisations.
func TestInvitationsAreNoWayToSpam(t *testing.T) {
	s := sink(t)
	h := mailing(t, s, housetest.Options{Still: true})
	const victim = "victim@example.org"
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g"} {
		p := h.Person(h.Org("spam-"+name), "spammer-"+name, "owner")
		c := h.Client().As(h.Login(p).Access)
		c.Patch("/api/v1/organizations/"+string(p.Org), map[string]string{"name": "Prizes <b>http://evil.example/x?y</b>"}).Expect(http.StatusOK)
		inviteGuest(c, victim, "viewer")
	}
	mailed(t, h)
	if n := len(s.Mails()); n != 5 {
		t.Fatalf("%d letters to one address", n)
	}
	m := s.Mails()[0]
	if all := m.Subject + m.Text + m.HTML; strings.Contains(all, "evil.example") || strings.Contains(all, "://evil") || strings.Contains(all, "<b>") {
		t.Errorf("%s\n%s\n%s", m.Subject, m.Text, m.HTML)
	}
	for range 4 {
		h.Advance(6*time.Hour + time.Minute)
		mailed(t, h)
	}
	if n := len(s.Mails()); n != 7 {
		t.Errorf("%d letters by the next day", n)
	}
}

// An organisation sends no more than a hundred a day, be it new ones or again.
func TestAnOrganisationsInvitationsAreBounded(t *testing.T) {
	h := housetest.Start(t, housetest.Options{Still: true})
	admin := h.Client().As(h.Login(h.Admin).Access)
	id, _ := inviteGuest(admin, "guest@example.org", "viewer")
	for range 99 {
		admin.Post("/api/v1/invitations/"+id+"/resend", nil).Expect(http.StatusOK)
	}
	r := admin.Post("/api/v1/invitations", map[string]string{"email": "other@example.org", "role": "viewer"}).Problem(http.StatusTooManyRequests, "RATE_LIMITED")
	if r.Header.Get("Retry-After") == "" {
		t.Error("not told when")
	}
	h.Advance(24*time.Hour + time.Minute)
	inviteGuest(h.Client().As(h.Login(h.Admin).Access), "other@example.org", "viewer")
}

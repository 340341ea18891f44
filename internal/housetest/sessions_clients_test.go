package housetest_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// listed is a session as GET /api/v1/sessions shows it.
type listed struct {
	ID      string  `json:"id"`
	User    string  `json:"user_id"`
	Client  string  `json:"client_id"`
	Method  string  `json:"method"`
	Current bool    `json:"current"`
	For     *client `json:"client"`
	Clients []struct {
		ID       string `json:"client_id"`
		Name     string `json:"name"`
		LastSeen string `json:"last_seen_at"`
		Offline  bool   `json:"offline"`
	} `json:"clients"`
}

type client struct{ ID, Name string }

// sessionsBy are a list's sessions by the id of their client.
func sessionsBy(c *housetest.Client, query string) map[string][]listed {
	var page struct{ Data []listed }
	c.Get("/api/v1/sessions" + query).Expect(http.StatusOK).Decode(&page)
	out := map[string][]listed{}
	for _, s := range page.Data {
		out[s.Client] = append(out[s.Client], s)
	}
	return out
}

// A list of sessions shows the clients that were signed in to, by name, to
// their user and to an administrator of the organisation and nobody else.
// SEC-OAU-56: whoever ends a browser's session ends the tokens of its clients,
// at once and on every replica, but for what is offline.
func TestSessionsShowTheClientsTheySignedInTo(t *testing.T) {
	housetest.Both(t, housetest.Options{Replicas: 2}, func(t *testing.T, h *housetest.Harness) {
		member := h.Person(h.Admin.Org, "member", "engineer")
		admin := h.Client().As(h.Login(h.Admin).Access)
		me := h.Client().As(h.Login(member).Access)
		shop := (&party{h: h, scope: "openid", user: member, client: web(admin, map[string]any{"name": "Shop"})}).in(t)
		mail := shop.other(map[string]any{"name": "Mail"}).withScope("openid offline_access")
		bought := shop.happy(nil)
		sent := mail.happy(map[string]string{"prompt": "consent"})

		for name, own := range map[string]map[string][]listed{"own": sessionsBy(me, ""), "an administrator's": sessionsBy(admin, "?user_id="+string(member.ID))} {
			browsers, delegated := own["cli_browser"], own[shop.client.id]
			if len(browsers) != 1 || len(delegated) != 1 || len(own[mail.client.id]) != 1 || len(own["cli_api"]) != 1 {
				t.Fatalf("%s list: %+v", name, own)
			}
			if d := delegated[0]; d.For == nil || *d.For != (client{shop.client.id, "Shop"}) || d.ID != bought.claims["sid"] || d.Clients != nil {
				t.Errorf("%s list: the client's session is %+v", name, d)
			}
			b := browsers[0]
			if b.For != nil || b.Method != "password" || b.User != string(member.ID) || len(b.Clients) != 2 || own["cli_api"][0].For != nil {
				t.Fatalf("%s list: the browser's session is %+v", name, b)
			}
			for _, got := range b.Clients {
				want := map[string]string{mail.client.id: "Mail", shop.client.id: "Shop"}[got.ID]
				if got.Name != want || got.Offline != (want == "Mail") || got.LastSeen == "" {
					t.Errorf("%s list: beside the browser's session stands %+v", name, got)
				}
			}
		}
		stranger := h.Person(h.Org("globex"), "stranger", "owner")
		if all := sessionsBy(h.Client().As(h.Login(stranger).Access), "?user_id=*"); len(all["cli_browser"]) > 0 || len(all[shop.client.id]) > 0 {
			t.Errorf("another organisation sees %+v", all)
		}

		me.Delete("/api/v1/sessions/" + sessionsBy(me, "")["cli_browser"][0].ID).Expect(http.StatusNoContent)
		h.Follow()
		for replica := range h.Replicas {
			if r := h.At(replica).As(bought.access).Get("/oauth2/userinfo"); r.Status != http.StatusUnauthorized {
				t.Errorf("the access token of an ended session: %s", r)
			}
			h.At(replica).As(sent.access).Get("/oauth2/userinfo").Expect(http.StatusOK)
		}
		refused(t, shop.post("/oauth2/token", "grant_type", "refresh_token", "refresh_token", bought.refresh), http.StatusBadRequest, "invalid_grant")
		h.Advance(time.Second)
		mail.refresh(sent, false)
		after := sessionsBy(me, "")
		if len(after["cli_browser"]) > 0 || len(after[shop.client.id]) > 0 || len(after[mail.client.id]) != 1 {
			t.Errorf("afterwards: %+v", after)
		}
		shop.open(shop.request(nil))
		shop.asked()
	})
}

package housetest_test

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/tokenhouse/tokenhouse/internal/housetest"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/oauth"
)

// People see what they allowed, and take it back: then it is over at once. What
// they allowed cannot be changed by whom they allowed something.
func TestPeopleTakeBackWhatTheyAllowed(t *testing.T) {
	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		p := single(t, h)
		id := ident.ClientID(p.client.id)
		err := h.House().DB.Clients().InClientTx(t.Context(), func(tx oauth.ClientTx) error {
			r, err := tx.LockClient(h.Operator(h.Admin.Org).Tenant(), id)
			if err != nil {
				return err
			}
			r.Settings.SkipConsent = false
			return tx.UpdateClient(r)
		})
		if err != nil {
			t.Fatal(err)
		}
		h.House().Clients.Forget()
		token := func(form string) housetest.Reply {
			return h.Client().With("Content-Type", "application/x-www-form-urlencoded").Post("/oauth2/token", form)
		}
		given := token(p.freshCode()).Expect(http.StatusOK)
		app := h.Client().As(given.Text("access_token"))
		own := h.Client().As(h.Login(h.Admin).Access)

		list := own.Get("/api/v1/me/consents").Expect(http.StatusOK)
		if list.Text("data.0.client_id") != p.client.id || list.Text("data.0.client_name") != "Single-page" || list.Text("data.0.scopes.0") != "openid" {
			t.Errorf("listed %s", list.Body)
		}
		path := "/api/v1/me/consents/" + p.client.id
		app.Get("/api/v1/me").Expect(http.StatusOK)
		app.Get("/api/v1/me/consents").Expect(http.StatusForbidden)
		app.Delete(path).Expect(http.StatusForbidden)
		app.Get("/api/v1/sessions").Expect(http.StatusForbidden)
		app.Delete("/api/v1/sessions").Expect(http.StatusForbidden)
		app.Delete("/api/v1/sessions/" + own.Get("/api/v1/sessions").Text("data.0.id")).Expect(http.StatusForbidden)
		app.Post("/api/v1/me/password", map[string]string{"current_password": h.Admin.Password, "new_password": "another long sentence"}).Expect(http.StatusForbidden)

		other := h.Person(h.Admin.Org, "grace", "viewer")
		h.Client().As(h.Login(other).Access).Delete(path).Expect(http.StatusNotFound)
		own.Delete(path).Expect(http.StatusNoContent)
		own.Delete(path).Expect(http.StatusNotFound)
		app.Get("/api/v1/me").Expect(http.StatusUnauthorized)
		again := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {given.Text("refresh_token")}, "client_id": {p.client.id}}
		if r := token(again.Encode()).Expect(http.StatusBadRequest); r.Text("error") != "invalid_grant" {
			t.Errorf("refresh: %s", r.Body)
		}
	})
}

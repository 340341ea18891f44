package housetest_test

import (
	"net/http"
	"testing"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// AK-26: the keys of a disabled organisation, a person's and a service account's,
// are refused at every replica as if they did not exist, and work again when the
// organisation does. Those of other organisations go on.
func TestKeysOfADisabledOrganisation(t *testing.T) {
	housetest.Both(t, housetest.Options{Replicas: 2}, func(t *testing.T, h *housetest.Harness) {
		org := h.Org("acme")
		owner := h.Client().As(h.Login(h.Person(org, "owner", "owner")).Access)
		_, person := owner.CreateKey("a person's", "agents:read")
		_, bot := keyOf(owner, serviceAccount(owner, "bot", "engineer"), "a service account's", "agents:read")
		_, other := h.Client().As(h.Login(h.Admin).Access).CreateKey("another organisation's", "agents:read")
		set := func(status accounts.Status) {
			t.Helper()
			err := h.House().DB.Accounts().InTx(t.Context(), func(tx accounts.Tx) error {
				o, err := tx.LockOrg(org)
				if err != nil {
					return err
				}
				o.Status = status
				if err := tx.UpdateOrg(o); err != nil {
					return err
				}
				return tx.Announce(changes.Change{Kind: changes.Org, Key: string(org), At: h.Clock.Now()})
			})
			if err != nil {
				t.Fatal(err)
			}
			h.Follow()
		}
		everywhere := func(want int) {
			t.Helper()
			for i := range h.Replicas {
				for _, key := range []string{person, bot} {
					r := h.At(i).For(t).WithKey(key).Get("/api/v1/agents").Expect(want)
					if want == http.StatusUnauthorized {
						r.Problem(want, "INVALID_API_KEY")
					}
				}
				h.At(i).For(t).WithKey(other).Get("/api/v1/agents").Expect(http.StatusOK)
			}
		}
		h.Follow()
		everywhere(http.StatusOK)
		set(accounts.Disabled)
		everywhere(http.StatusUnauthorized)
		set(accounts.Active)
		everywhere(http.StatusOK)
	})
}

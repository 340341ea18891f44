package housetest_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

func TestTheBrowserFillsInTheSetUpForm(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	link, _, err := h.House().People.IssueSetupLink(context.Background(), h.Operator(""), h.Admin.ID)
	if err != nil {
		t.Fatal(err)
	}
	b := h.Browser()
	b.Open("/setup?token=" + link.Reveal()).Shows("Set up tokenhouse").Expect(http.StatusOK)
	b.Submit(map[string]string{"email": "first@example.com", "password": "quite a long sentence", "organization_name": "Example"}).Shows("You are set up")
	h.Client().Login("first@example.com", "quite a long sentence")
}

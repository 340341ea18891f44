package audit_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// written is a log that remembers what it was asked for.
type written struct {
	audit.Reader
	events []audit.Event
	tenant ident.Tenant
	filter audit.Filter
}

func (w *written) Events(_ context.Context, t ident.Tenant, f audit.Filter, _ int64, _ int) ([]audit.Event, error) {
	w.tenant, w.filter = t, f
	return w.events, nil
}

func TestOwnTrailShowsWhereOneWasAndNotWhereOthersWere(t *testing.T) {
	from := ident.Origin{IP: netip.MustParseAddr("192.0.2.7"), UserAgent: "curl", Request: "req_1"}
	by := func(kind, id string) audit.Event {
		return audit.Event{Actor: audit.Actor{Type: kind, ID: id}, Origin: from, Session: "ses_1", Meta: map[string]string{"a": "b"}}
	}
	w := &written{events: []audit.Event{by("user", "user_eve"), by("anonymous", ""), by("user", "user_admin"), by("api_key", "key_1")}}
	eve := ident.Caller{Kind: ident.Person, User: "user_eve", Org: "org_acme"}
	got, err := audit.Trail{Reader: w}.Own(t.Context(), eve, 0, 10)
	if err != nil || len(got) != 4 {
		t.Fatal(got, err)
	}
	if w.tenant != eve.Tenant() || w.filter.User != "user_eve" {
		t.Errorf("asked for %v of %v", w.filter, w.tenant)
	}
	for i, shown := range []bool{true, true, false, false} {
		e := got[i]
		if e.Origin.IP.IsValid() != shown || (e.Origin.UserAgent != "") != shown || (e.Session != "") != shown || (e.Meta != nil) != shown {
			t.Errorf("%s %s: %+v", e.Actor.Type, e.Actor.ID, e)
		}
		if e.Origin.Request != "req_1" {
			t.Errorf("%s: the request is %q", e.Actor.Type, e.Origin.Request)
		}
	}
}

func TestOnlyPeopleHaveATrail(t *testing.T) {
	for _, c := range []ident.Caller{{}, {Kind: ident.Person, Org: "org_acme"}, {Kind: ident.APIKey, User: "user_eve", Org: "org_acme"}, ident.OperatorOf("org_acme", nil)} {
		if _, err := (audit.Trail{Reader: &written{}}).Own(t.Context(), c, 0, 10); !errors.Is(err, fault.InsufficientPermissions) {
			t.Errorf("%s: %v", c.Kind, err)
		}
	}
}

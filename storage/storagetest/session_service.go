package storagetest

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
	"github.com/tokenhouse/tokenhouse/tokens"
)

// sessionService: people see and end their own sessions, administrators those
// of their organisation, and nobody any other.
func sessionService(t *testing.T, f *fixture) {
	d := newDesk(t, f)
	var ids []ident.SessionID
	for range 4 {
		fam, _ := d.open(t, tokens.Opening{Origin: atHome, Refreshable: true})
		ids = append(ids, fam.ID)
		d.pass(time.Second)
	}
	whole, token := d.open(t, tokens.Opening{Origin: atHome, TTL: 24 * time.Hour})
	if token != "" {
		t.Error("a session without refresh has a refresh token")
	}
	ids = append(ids, whole.ID)
	slices.Reverse(ids) // newest first

	stranger := ident.Caller{Kind: ident.Person, Org: "org_other", User: "user_other", Session: "sess_other"}
	admin := ident.Caller{Kind: ident.Person, Org: d.org.ID, User: "user_admin", Session: "sess_admin", Permissions: scope.Of("sessions:read", "sessions:revoke")}
	colleague := ident.Caller{Kind: ident.Person, Org: d.org.ID, User: "user_colleague", Session: "sess_colleague"}
	key := ident.Caller{Kind: ident.APIKey, Org: d.org.ID, User: d.user.ID, Key: "key_1"}
	d.lists(t, d.caller(ids[0]), ids)
	d.lists(t, stranger, nil)
	d.lists(t, colleague, nil)
	if all, err := d.service.SessionsOf(t.Context(), admin, "", ident.Page{Limit: 50}); err != nil || len(all) != 5 {
		t.Errorf("an administrator sees %d, %v", len(all), err)
	}
	for _, c := range []ident.Caller{colleague, key} {
		if _, err := d.service.SessionsOf(t.Context(), c, d.user.ID, ident.Page{Limit: 50}); !errors.Is(err, fault.InsufficientPermissions) {
			t.Errorf("%s without permission: %v", c.Kind, err)
		}
	}
	if _, err := d.service.Sessions(t.Context(), key, ident.Page{Limit: 50}); !errors.Is(err, fault.InsufficientPermissions) {
		t.Errorf("an API key lists its owner's sessions: %v", err)
	}

	for name, c := range map[string]ident.Caller{"another organisation": stranger, "a colleague": colleague, "an API key": key} {
		if err := d.service.RevokeSession(t.Context(), c, ids[1]); !errors.Is(err, fault.NotFound) {
			t.Errorf("%s ends a session: %v, want fault.NotFound", name, err)
		}
	}
	if d.stored(t, ids[1]).Ended != (tokens.Ended{}) || !slices.Contains(d.committed(), audit.CrossOrgDenied) {
		t.Error("the session has ended, or the attempt from another organisation was not recorded")
	}
	d.endsSingly(t, admin, ids)
	d.signsOut(t, ids)
}

// endsSingly: an own session and, by an administrator, another.
func (d *desk) endsSingly(t *testing.T, admin ident.Caller, ids []ident.SessionID) {
	t.Helper()
	for _, step := range []struct {
		name string
		c    ident.Caller
		id   ident.SessionID
		want error
	}{
		{"an own one", d.caller(ids[0]), ids[1], nil},
		{"the same again", d.caller(ids[0]), ids[1], fault.NotFound},
		{"an administrator", admin, ids[2], nil},
		{"one that does not exist", admin, "sess_none", fault.NotFound},
	} {
		if err := d.service.RevokeSession(t.Context(), step.c, step.id); !errors.Is(err, step.want) {
			t.Errorf("%s: %v, want %v", step.name, err, step.want)
		}
	}
	if n := d.told(audit.SessionRevoked, ids[1]); n != 1 {
		t.Errorf("%d events of one revocation", n)
	}
	d.lists(t, d.caller(ids[0]), []ident.SessionID{ids[0], ids[3], ids[4]})
}

// signsOut: one call ends all other sessions, and another this one as well.
func (d *desk) signsOut(t *testing.T, ids []ident.SessionID) {
	t.Helper()
	me := d.caller(ids[0])
	access := func(id ident.SessionID) tokens.AccessID {
		return tokens.AccessID{Token: "tok_1", Session: id, User: d.user.ID, IssuedAt: d.now}
	}
	if err := d.service.Check(t.Context(), access(ids[3])); err != nil {
		t.Errorf("a living session's access token: %v", err)
	}
	if n, err := d.service.RevokeOthers(t.Context(), me, false); n != 2 || err != nil {
		t.Errorf("the other sessions: %d, %v; want 2", n, err)
	}
	d.lists(t, me, ids[:1])
	for _, s := range []*tokens.Service{d.service, d.blind()} {
		f := fault.Of(s.Check(t.Context(), access(ids[3])))
		if f.Code != fault.InvalidToken || f.Reason != "revoked" || f.Detail != "Token has been revoked" {
			t.Errorf("O16: an access token of an ended session: %v", f)
		}
		if err := s.Check(t.Context(), access(ids[0])); err != nil {
			t.Errorf("the present session's access token: %v", err)
		}
	}
	if n, err := d.service.RevokeOthers(t.Context(), me, true); n != 1 || err != nil {
		t.Errorf("with the present one: %d, %v; want 1", n, err)
	}
	if err := d.service.Logout(t.Context(), me); !errors.Is(err, fault.InvalidToken) {
		t.Errorf("O16: logout of an ended session: %v", err)
	}
	d.pass(2 * time.Second)
	last := d.login(t)
	if err := d.service.Logout(t.Context(), d.caller(last.id)); err != nil {
		t.Errorf("logout: %v", err)
	}
	last.TB = t
	last.refused("revoked")
	byToken := d.login(t)
	shown := tokens.Presented{Token: byToken.token, Client: apiClient, Origin: atHome}
	if err := d.service.RevokePresented(t.Context(), shown); err != nil {
		t.Errorf("logout with a refresh token: %v", err)
	}
	if f := fault.Of(d.service.RevokePresented(t.Context(), shown)); f.Code != fault.InvalidToken || f.Reason != "revoked" {
		t.Errorf("the same again: %v", f)
	}
	shown.Token = "thr_x"
	if err := d.service.RevokePresented(t.Context(), shown); !errors.Is(err, fault.InvalidToken) {
		t.Errorf("logout with rubbish: %v", err)
	}
	for _, h := range []*holder{last, byToken} {
		if n := d.told(audit.SessionRevoked, h.id); n != 1 {
			t.Errorf("%d events of one logout", n)
		}
	}
}

// blind is the service while the change feed is silent.
func (d *desk) blind() *tokens.Service {
	return &tokens.Service{
		Store: d.Sessions(), MACs: theMAC{}, Now: d.clock,
		Revocations: &tokens.Revocations{Now: d.clock}, Fresh: func() bool { return false },
	}
}

// lists compares what a caller sees of their own sessions, in one page and in
// pages of two.
func (d *desk) lists(t *testing.T, c ident.Caller, want []ident.SessionID) {
	t.Helper()
	for _, limit := range []int{50, 2} {
		var got []ident.SessionID
		page := ident.Page{Limit: limit}
		for {
			fs, err := d.service.Sessions(t.Context(), c, page)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range fs {
				got = append(got, f.ID)
			}
			if len(fs) < limit {
				break
			}
			page.Before = string(got[len(got)-1])
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s sees %v, want %v", c.User, got, want)
		}
	}
}

package storagetest

import (
	"errors"
	"slices"
	"testing"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
	"github.com/tokenhouse/tokenhouse/tokens"
)

// household is a user with two browsers, and the clients they let in.
type household struct {
	*desk
	globex                       accounts.Org
	browser, web, mobile, abroad tokens.Family // mobile is offline; abroad is in the other organisation
	other, otherWeb              tokens.Family
	plain                        tokens.Family
	webToken, mobileToken        string
}

func (d *desk) household(t *testing.T, globex accounts.Org) *household {
	t.Helper()
	h := &household{desk: d, globex: globex}
	h.browser, h.other = d.signIn(t, d.user, "").Family, d.signIn(t, d.user, "").Family
	var err, err2 error
	h.web, h.webToken, err = d.delegate(t, h.browser, allows{client: webClient})
	h.mobile, h.mobileToken, err2 = d.delegate(t, h.browser, allows{client: mobileClient, offline: true})
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	h.abroad = d.mustDelegate(t, h.browser, allows{client: webClient, org: globex.ID})
	h.otherWeb = d.mustDelegate(t, h.other, allows{client: webClient})
	h.plain, _ = d.open(t, tokens.Opening{Origin: atHome, Refreshable: true})
	return h
}

// way is one in which sessions end.
type way struct {
	name, reason string
	end          func(h *household) error
	ends         func(h *household) []tokens.Family
	silent       bool // one event of the account tells of it all
}

// browserEndings: SEC-OAU-56. By whatever way a browser's session ends, what it
// delegated ends with it, but for what is offline.
func browserEndings(t *testing.T, f *fixture) {
	d := newClientDesk(t, f)
	globex := f.org("globex")
	f.add(t, nil, []accounts.Org{globex})
	f.member(t, d.user, globex, "engineer", f.now)
	for _, way := range slices.Concat(d.byBrowser(t), d.byService(t), d.byAccounts(t)) {
		t.Run(way.name, func(t *testing.T) {
			h := d.household(t, globex)
			if err := way.end(h); err != nil {
				t.Fatal(err)
			}
			h.holds(t, way.ends(h), way.reason, way.silent)
			if _, err := d.service.RevokeOthers(t.Context(), d.caller(""), true); err != nil { // for the next one
				t.Fatal(err)
			}
		})
	}
	d.refusesEndings(t)
}

// anAdmin may end the sessions of the desk's organisation.
func (d *desk) anAdmin() ident.Caller {
	return ident.Caller{Kind: ident.Person, Org: d.org.ID, User: "user_admin", Session: "sess_admin", Permissions: scope.Of("sessions:read", "sessions:revoke")}
}

// byBrowser are the ways in which one session ends.
func (d *desk) byBrowser(t *testing.T) []way {
	return []way{
		{"logout at our pages", "logout", func(h *household) error {
			children, err := d.service.EndBrowser(t.Context(), d.caller(h.browser.ID), h.browser.ID, "logout")
			if !sameSessions(children, h.web, h.abroad) {
				t.Errorf("told to notify %v", children)
			}
			return err
		}, (*household).browserAlone, false},
		{"logout with an access token", "logout", func(h *household) error { return d.service.Logout(t.Context(), d.caller(h.browser.ID)) },
			(*household).browserAlone, false},
		{"revoked by its owner", "signed_out", func(h *household) error {
			return d.service.RevokeSession(t.Context(), d.caller(h.plain.ID), h.browser.ID)
		},
			(*household).browserAlone, false},
		{"revoked by an administrator", "signed_out", func(h *household) error { return d.service.RevokeSession(t.Context(), d.anAdmin(), h.browser.ID) },
			(*household).browserAlone, false},
		{"a client's alone", "signed_out", func(h *household) error { return d.service.RevokeSession(t.Context(), d.caller(h.plain.ID), h.web.ID) },
			func(h *household) []tokens.Family { return []tokens.Family{h.web} }, false},
	}
}

// byService are those in which many do.
func (d *desk) byService(t *testing.T) []way {
	return []way{
		{"signed out everywhere else", "signed_out_everywhere", func(h *household) error {
			n, err := d.service.RevokeOthers(t.Context(), d.caller(h.other.ID), false)
			if n != 6 {
				t.Errorf("%d sessions ended, want 6", n)
			}
			return err
		}, func(h *household) []tokens.Family {
			return []tokens.Family{h.browser, h.web, h.mobile, h.abroad, h.otherWeb, h.plain}
		}, false},
		{"signed out everywhere but in a client", "signed_out_everywhere", func(h *household) error {
			_, err := d.service.RevokeOthers(t.Context(), d.caller(h.web.ID), false)
			return err
		}, func(h *household) []tokens.Family {
			return []tokens.Family{h.browser, h.mobile, h.abroad, h.other, h.otherWeb, h.plain}
		}, false},
		{"signed out of the organisation", "signed_out_everywhere", func(h *household) error {
			_, err := d.service.RevokeAllOf(t.Context(), d.anAdmin(), d.user.ID)
			return err
		}, (*household).everything, false},
		{"consent withdrawn", "consent_withdrawn", func(h *household) error {
			ended, err := d.service.EndClientFamilies(t.Context(), d.caller(h.plain.ID), d.user.ID, mobileClient, "consent_withdrawn")
			if !sameSessions(ended, h.mobile) {
				t.Errorf("ended %v", ended)
			}
			return err
		}, func(h *household) []tokens.Family { return []tokens.Family{h.mobile} }, false},
	}
}

// byAccounts are those in which they end for what happens to their user.
func (d *desk) byAccounts(t *testing.T) []way {
	return []way{
		{"password changed", "password_changed", d.inAccounts(t, func(h *household, tx accounts.Tx) error {
			_, err := tx.EndSessions(accounts.Ending{User: d.user.ID, Except: h.plain.ID, Reason: "password_changed", At: d.now, Until: d.service.Until(d.now)})
			return err
		}), func(h *household) []tokens.Family {
			return []tokens.Family{h.browser, h.web, h.mobile, h.abroad, h.other, h.otherWeb}
		}, true},
		{"user disabled", "user_disabled", d.inAccounts(t, func(_ *household, tx accounts.Tx) error {
			_, err := tx.EndSessions(accounts.Ending{User: d.user.ID, Reason: "user_disabled", At: d.now, Until: d.service.Until(d.now)})
			return err
		}), (*household).everything, true},
		{"removed from the browser's organisation", "member_removed", d.inAccounts(t, func(_ *household, tx accounts.Tx) error {
			_, err := tx.EndSessions(accounts.Ending{User: d.user.ID, Org: d.org.ID, Reason: "member_removed", At: d.now, Until: d.service.Until(d.now)})
			return err
		}), (*household).everything, true},
	}
}

// inAccounts is an end that the accounts package makes in a transaction of its own.
func (d *desk) inAccounts(t *testing.T, do func(*household, accounts.Tx) error) func(*household) error {
	return func(h *household) error {
		return d.Accounts().InTx(t.Context(), func(tx accounts.Tx) error { return do(h, tx) })
	}
}

func (h *household) browserAlone() []tokens.Family {
	return []tokens.Family{h.browser, h.web, h.abroad}
}

func (h *household) everything() []tokens.Family {
	return []tokens.Family{h.browser, h.web, h.mobile, h.abroad, h.other, h.otherWeb, h.plain}
}

// holds: these ended, and no others; and their tokens say so.
func (h *household) holds(t *testing.T, ended []tokens.Family, reason string, silent bool) {
	t.Helper()
	for _, f := range []tokens.Family{h.browser, h.web, h.mobile, h.abroad, h.other, h.otherWeb, h.plain} {
		is := slices.ContainsFunc(ended, func(e tokens.Family) bool { return e.ID == f.ID })
		switch {
		case !is:
			h.lives(t, f.ID)
		case silent:
			if got := h.stored(t, f.ID).Ended; got.Reason != reason || h.announced(f.ID) != 1 {
				t.Errorf("%s: %+v, announced %d times", f.ID, got, h.announced(f.ID))
			}
		default:
			h.hasEnded(t, f.ID, reason)
		}
	}
	for _, shown := range []struct {
		f     tokens.Family
		token string
	}{{h.web, h.webToken}, {h.mobile, h.mobileToken}} {
		want := ""
		if slices.ContainsFunc(ended, func(e tokens.Family) bool { return e.ID == shown.f.ID }) {
			want = "revoked"
		}
		r, err := h.service.Refresh(t.Context(), tokens.Presented{Token: shown.token, Client: shown.f.Client, Origin: atHome})
		if fault.Of(err).Reason != want || (err == nil) != (want == "") {
			t.Errorf("SEC-OAU-56: refresh of %s: %v, want %q", shown.f.Client, err, want)
		}
		if err == nil && r.Family.Delegation != shown.f.Delegation {
			t.Errorf("a refresh changed the delegation: %+v", r.Family.Delegation)
		}
	}
}

// refusesEndings: what is no living browser session cannot be ended as one, and
// delegates nothing.
func (d *desk) refusesEndings(t *testing.T) {
	t.Helper()
	browser := d.signIn(t, d.user, "").Family
	app := d.mustDelegate(t, browser, allows{client: webClient})
	end := func(id ident.SessionID) error {
		_, err := d.service.EndBrowser(t.Context(), d.caller(browser.ID), id, "logout")
		return err
	}
	for _, id := range []ident.SessionID{app.ID, "sess_none"} {
		if err := end(id); !errors.Is(err, fault.NotFound) {
			t.Errorf("end of %s: %v, want fault.NotFound", id, err)
		}
	}
	d.lives(t, app.ID)
	if err := end(browser.ID); err != nil {
		t.Fatal(err)
	}
	if err := end(browser.ID); !errors.Is(err, fault.NotFound) {
		t.Errorf("a second end: %v, want fault.NotFound", err)
	}
	if _, _, err := d.delegate(t, browser, allows{client: webClient}); !errors.Is(err, fault.InvalidToken) || fault.Of(err).Reason != "revoked" {
		t.Errorf("delegated by an ended session: %v", err)
	}
	if _, _, err := d.delegate(t, tokens.Family{ID: "sess_none", User: d.user.ID, Org: d.org.ID}, allows{client: webClient}); !errors.Is(err, fault.InvalidToken) {
		t.Errorf("delegated by a session that does not exist: %v", err)
	}
	if _, _, err := d.delegate(t, browser, allows{client: webClient, offline: true}); err != nil {
		t.Errorf("offline: %v", err)
	}
	err := d.Sessions().InTx(t.Context(), func(tx tokens.Tx) error {
		_, err := tx.EndSessions(tokens.Ending{Org: d.org.ID, At: d.now, Until: d.service.Until(d.now)})
		return err
	})
	if err == nil {
		t.Error("an ending of everything was accepted")
	}
}

func sameSessions(got []tokens.Family, want ...tokens.Family) bool {
	ids := func(fs []tokens.Family) []ident.SessionID {
		var out []ident.SessionID
		for _, f := range fs {
			out = append(out, f.ID)
		}
		slices.Sort(out)
		return out
	}
	return slices.Equal(ids(got), ids(want))
}

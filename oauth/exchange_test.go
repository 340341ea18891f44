package oauth_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/oauth"
	"github.com/tokenhouse/tokenhouse/tokens"
)

func TestGrantsAreForTheClientsThatMayUseThem(t *testing.T) {
	w := open(t, backends["SQLite"](t), newClock())
	third := oauth.Client{ID: "cli_third", Grants: []string{oauth.GrantPassword, oauth.GrantRefreshToken}, AccessTTL: time.Hour}
	for _, tt := range []struct {
		name, typ string
		client    oauth.Client
		want      fault.Code
	}{
		{"a grant nobody has", "urn:ietf:params:oauth:grant-type:device_code", apiClient, fault.UnsupportedGrant},
		{"no grant", "", apiClient, fault.UnsupportedGrant},
		{"passwords seen by another's client (RFC 9700 §2.4)", oauth.GrantPassword, third, fault.UnauthorizedClient},
		{"a client without refresh tokens", oauth.GrantRefreshToken, sessionClient, fault.UnauthorizedClient},
	} {
		if _, err := w.Exchange(t.Context(), tt.typ, tt.client, oauth.Request{}); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
	if got := oauth.GrantTypes(); !slices.Equal(got, []string{oauth.GrantRefreshToken, oauth.GrantClientCredentials, oauth.GrantAuthorizationCode, oauth.GrantTokenExchange}) {
		t.Errorf("discovery would show %v", got)
	}
}

func TestParametersNeverPrint(t *testing.T) {
	r := oauth.Request{Params: oauth.Params{"password": "hunter2"}}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "params", r.Params)
	for _, s := range []string{fmt.Sprint(r), fmt.Sprintf("%+v %#v %v %s", r, r.Params, r.Params, r.Params), log.String()} {
		if strings.Contains(s, "hunter2") {
			t.Errorf("a password is printed: %s", s)
		}
	}
}

func TestRefreshRenewsTheAccessToken(t *testing.T) {
	w := open(t, backends["SQLite"](t), newClock())
	w.person("ada@example.com")
	in, err := w.login(apiClient, attempt{email: "ada@example.com", password: rightPassword})
	must(t, err)
	w.issued = nil
	w.clock.advance(55 * time.Minute)
	out, err := w.refresh(in.Refresh)
	must(t, err)
	if out.Session != in.Session || out.AccessID == in.AccessID || out.Refresh.Reveal() == in.Refresh.Reveal() || out.Device != "" {
		t.Errorf("refreshed %+v from %+v", out, in)
	}
	if c := claims(t, out.Access); c.ExpiresAt-c.IssuedAt != 3600 || c.Session != in.Session || c.Org != in.Org {
		t.Errorf("claims %+v", c)
	}
	if !out.RefreshExpiresAt.Equal(w.clock.now().Add(7 * 24 * time.Hour)) {
		t.Errorf("the new refresh token is good until %v", out.RefreshExpiresAt)
	}
	if want := []string{"refresh_token access_token", "refresh_token refresh_token"}; !slices.Equal(w.issued, want) {
		t.Errorf("observed %v", w.issued)
	}
	for _, token := range []string{"", "x", "thr_x", in.Access.Reveal()} {
		if _, err := w.refresh(secret.Of(token)); !errors.Is(err, fault.InvalidToken) {
			t.Errorf("refresh token %.5q: %v", token, err)
		}
	}
}

// What the user may do is read again at each refresh.
func TestRefreshFollowsTheStanding(t *testing.T) { // O33, SEC-OAU-36
	onBoth(t, func(t *testing.T, o opener) {
		w := open(t, o, newClock())
		role := func(name string) func(accounts.User, ident.OrgID) error {
			return func(u accounts.User, org ident.OrgID) error {
				return w.db.Accounts().InTx(t.Context(), func(tx accounts.Tx) error { return tx.SetMemberRole(org, u.ID, name) })
			}
		}
		for i, tt := range []struct {
			name    string
			change  func(accounts.User, ident.OrgID) error
			refused bool
			lost    string
		}{
			{"role reduced", role(accounts.RoleViewer), false, "agents:delete"},
			{"removed from the organisation", role(""), true, ""},
			{"user disabled", func(u accounts.User, _ ident.OrgID) error { return w.disable(u) }, true, ""},
			{"organisation disabled", func(_ accounts.User, org ident.OrgID) error {
				return w.db.Accounts().InTx(t.Context(), func(tx accounts.Tx) error {
					got, err := tx.LockOrg(org)
					got.Status = accounts.Disabled
					return errors.Join(err, tx.UpdateOrg(got))
				})
			}, true, ""},
			{"password changed elsewhere", func(u accounts.User, _ ident.OrgID) error {
				return w.people.ChangePassword(t.Context(), w.caller(u), secret.Of(rightPassword), secret.Of("nine tall violet herons"))
			}, true, ""},
		} {
			t.Run(tt.name, func(t *testing.T) {
				email := fmt.Sprintf("user%d@example.com", i)
				u := w.person(email)
				in, err := w.login(apiClient, attempt{email: email, password: rightPassword})
				must(t, err)
				w.clock.advance(time.Minute)
				must(t, tt.change(u, in.Org))
				out, err := w.refresh(in.Refresh)
				if tt.refused {
					if f := fault.Of(err); f.Code != fault.InvalidToken || f.Reason != "revoked" || !out.Access.IsZero() {
						t.Errorf("%v, want fault.InvalidToken because revoked", err)
					}
					return
				}
				must(t, err)
				before, after := claims(t, in.Access).Permissions, claims(t, out.Access).Permissions
				if !slices.Contains(before, tt.lost) || slices.Contains(after, tt.lost) || out.Role != accounts.RoleViewer {
					t.Errorf("before %v, after %v", before, after)
				}
			})
		}
	})
}

func TestScopeOnlyNarrows(t *testing.T) {
	w := open(t, backends["SQLite"](t), newClock())
	w.person("ada@example.com")
	in, err := w.login(apiClient, attempt{email: "ada@example.com", password: rightPassword})
	must(t, err)
	ask := func(scope string) (oauth.Response, error) {
		return w.Exchange(t.Context(), oauth.GrantRefreshToken, apiClient, oauth.Request{
			Params: oauth.Params{"refresh_token": in.Refresh.Reveal(), "scope": scope},
			Origin: ident.Origin{IP: netip.MustParseAddr("198.51.100.7"), UserAgent: "test"},
		})
	}
	for scope, want := range map[string][]string{
		"agents:read": {"agents:read"}, "agents:*": {"agents:delete", "agents:read"}, "agents:read no-such:thing": {"agents:read"},
	} {
		out, err := ask(scope)
		if got := claims(t, out.Access).Permissions; err != nil || !slices.Equal(got, want) {
			t.Errorf("scope %q earns %v, %v; want %v", scope, got, err, want)
		}
	}
	for _, scope := range []string{"no-such:thing", "openid email"} {
		if _, err := ask(scope); !errors.Is(err, fault.InvalidScope) {
			t.Errorf("scope %q: %v, want fault.InvalidScope", scope, err)
		}
	}
}

func TestRefreshThatCannotBeSignedLosesNothing(t *testing.T) {
	w := open(t, backends["SQLite"](t), newClock())
	w.person("ada@example.com")
	in, err := w.login(apiClient, attempt{email: "ada@example.com", password: rightPassword})
	must(t, err)
	w.clock.advance(time.Hour)
	ring := w.Minter.Signer
	w.Minter.Signer = brokenSigner{ring, func() error { return errors.New("no key") }}
	if _, err := w.refresh(in.Refresh); fault.Of(err).Code != fault.Internal {
		t.Fatalf("%v", err)
	}
	w.Minter.Signer = ring
	_, err = w.refresh(in.Refresh) // the same token again
	must(t, err)
}

// A browser that showed its device cookie at login shows it at each refresh:
// the session is bound to it, not to a network.
func TestSessionIsBoundToAKnownDevice(t *testing.T) {
	w := open(t, backends["SQLite"](t), newClock())
	w.person("ada@example.com")
	first, err := w.login(apiClient, attempt{email: "ada@example.com", password: rightPassword})
	must(t, err)
	second, err := w.login(apiClient, attempt{email: "ada@example.com", password: rightPassword, device: first.Device})
	must(t, err)
	if w.Logins.DeviceProof(first.Device) == "" || w.Logins.DeviceProof(first.Device) != w.Logins.DeviceProof(second.Device) {
		t.Error("a device does not prove the same after another login")
	}
	for session, bound := range map[ident.SessionID]bool{first.Session: false, second.Session: true} {
		f, err := w.db.Sessions().Family(t.Context(), session)
		must(t, err)
		if (f.Holder.Proof != tokens.Digest{}) != bound {
			t.Errorf("session %s is bound: %v, want %v", session, !bound, bound)
		}
	}
	w.clock.advance(time.Hour)
	elsewhere := ident.Origin{IP: netip.MustParseAddr("203.0.113.77"), UserAgent: "another"}
	var got []string
	for range 3 { // from elsewhere, long after its use, and again: only the device makes it honest
		out, err := w.Exchange(t.Context(), oauth.GrantRefreshToken, apiClient, oauth.Request{
			Params: oauth.Params{"refresh_token": second.Refresh.Reveal()}, Origin: elsewhere, Device: second.Device,
		})
		must(t, err)
		got = append(got, out.Refresh.Reveal())
		w.clock.advance(10 * time.Minute)
	}
	if got[0] == second.Refresh.Reveal() || got[1] != got[0] || got[2] != got[0] {
		t.Errorf("the device is given other tokens each time")
	}
}

// What an exchange costs, so that a change of it is seen. The numbers stand in
// the comment of Exchange.
func TestCostOfAnExchange(t *testing.T) {
	w := open(t, backends["SQLite"](t), newClock())
	w.person("ada@example.com")
	w.person("bob@example.com")
	in, err := w.login(apiClient, attempt{email: "bob@example.com", password: rightPassword})
	must(t, err)
	w.clock.advance(time.Hour)
	v := w.visitor("grace@example.com", nil).login("grace@example.com")
	code := v.allow(nil)
	wrong := func(email string) func() error {
		return func() error { return refusedAs(fault.InvalidCredentials, w.wrongLogins(1, attempt{email: email})) }
	}
	for _, tt := range []struct {
		name, want string
		do         func() error
	}{
		// counters, user, home · lock, reserve · standing · lock, hold, forget, is the user active, session, event
		{"login", "query query row create create commit row create query delete query create create commit", func() error {
			_, err := w.login(apiClient, attempt{email: "ada@example.com", password: rightPassword})
			return err
		}},
		// counters, user, home · lock, reserve · lock, count, event
		{"refused login", "query query row create create commit create create create commit", wrong("ada@example.com")},
		{"refused login of nobody", "query query row create create commit create create create commit", wrong("eve@example.com")},
		{"login while locked", "query create commit", func() error {
			_ = w.wrongLogins(4, attempt{email: "ada@example.com"})
			w.trail = nil
			return refusedAs(fault.AccountLocked, w.wrongLogins(1, attempt{email: "ada@example.com"}))
		}},
		// family · compare-and-swap, event · standing
		{"refresh", "query raw create commit row", func() error { _, err := w.refresh(in.Refresh); return err }},
		// code · standing · the consent, compare-and-swap, is the user active, the client, the browser logged in, session, event
		{"code", "query row query raw query query query create create commit", func() error { _, err := v.redeem(code, nil); return err }},
	} {
		w.trail = nil
		must(t, tt.do())
		if got := strings.Join(w.trail, " "); got != tt.want {
			t.Errorf("%s costs %d: %s\nwant %s", tt.name, len(w.trail), got, tt.want)
		}
	}
}

func refusedAs(want fault.Code, err error) error {
	if errors.Is(err, want) {
		return nil
	}
	return fmt.Errorf("%w, want %w", err, want)
}

package oauth_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/oauth"
)

// published are the request objects that clients publish, by address.
type published map[string]string

func (p *published) Fetch(_ context.Context, url string) ([]byte, error) {
	if body, ok := (*p)[url]; ok {
		return []byte(body), nil
	}
	return nil, errors.New("nothing there")
}

const (
	callback    = "https://app.example/callback"
	verifier    = "a-verifier-that-is-long-enough-for-RFC-7636-and-more"
	clientAgent = "app/1"
)

func challengeOf(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// register stores a client of the organisation: public, for codes and refresh
// tokens, for every scope there is, as change makes it.
func (w *world) register(org ident.OrgID, change func(*oauth.Registered)) oauth.Registered {
	w.t.Helper()
	r := oauth.Registered{
		ID: ident.NewClientID(w.clock.now(), rand.Reader), Org: org, Name: "App", AuthMethod: oauth.AuthNone, Status: oauth.ClientActive,
		Grants:       []string{oauth.GrantAuthorizationCode, oauth.GrantRefreshToken},
		RedirectURIs: []string{callback}, CreatedAt: w.clock.now(), CreatedBy: "operator",
		Scopes: []string{"openid", "profile", "email", "offline_access", "agents:read", "agents:delete"},
	}
	r.Settings.Signing.IDToken = "ES256"
	if change != nil {
		change(&r)
	}
	must(w.t, w.db.Clients().InClientTx(w.t.Context(), func(tx oauth.ClientTx) error { return tx.InsertClient(r) }))
	w.registry.Forget()
	return r
}

// visitor is somebody in a browser, on their way to a client.
type visitor struct {
	w       *world
	t       *testing.T
	client  oauth.Registered
	browser string
	cookie  string
	email   string
}

// visitor is a user with an organisation and a client of it, not logged in.
func (w *world) visitor(email string, change func(*oauth.Registered)) *visitor {
	w.t.Helper()
	u := w.person(email)
	home, err := w.db.Accounts().Home(w.t.Context(), u.ID)
	must(w.t, err)
	return &visitor{w: w, t: w.t, client: w.register(home, change), browser: "browser-of-" + email, email: email}
}

func (v *visitor) user() accounts.User {
	u, err := v.w.db.Accounts().UserByCanonical(v.t.Context(), accounts.Identifier(v.email))
	must(v.t, err)
	return u
}

// login logs in at our own page, and again where somebody is logged in.
func (v *visitor) login(email string) *visitor {
	v.t.Helper()
	got, err := v.w.Exchange(v.t.Context(), oauth.GrantPassword, oauth.BrowserClient(time.Hour), oauth.Request{
		Params: oauth.Params{"username": email, "password": rightPassword}, Origin: v.origin(), Session: v.visit(nil).Session.ID,
	})
	must(v.t, err)
	v.cookie = got.Browser.Reveal()
	return v
}

func (v *visitor) origin() ident.Origin {
	return ident.Origin{IP: netip.MustParseAddr("198.51.100.7"), UserAgent: "browser", Request: "req_1"}
}

// request is a good authorization request, as change makes it; an empty value
// leaves a parameter out.
func (v *visitor) request(change oauth.Params) oauth.Params {
	p := oauth.Params{
		"client_id": string(v.client.ID), "redirect_uri": callback, "response_type": "code", "scope": "openid agents:read", "state": "st",
		"code_challenge": challengeOf(verifier), "code_challenge_method": "S256", "nonce": "n-1",
	}
	maps.Copy(p, change)
	maps.DeleteFunc(p, func(_, value string) bool { return value == "" })
	return p
}

func (v *visitor) visit(p oauth.Params) oauth.Visit {
	v.t.Helper()
	out := oauth.Visit{Params: p, Browser: v.browser, Origin: v.origin()}
	if v.cookie != "" {
		f, err := v.w.Sessions.Browser(v.t.Context(), v.cookie)
		if !errors.Is(err, fault.InvalidToken) {
			must(v.t, err)
		}
		out.Session = f
	}
	return out
}

// ask sends an authorization request.
func (v *visitor) ask(change oauth.Params) (oauth.Outcome, error) {
	v.t.Helper()
	return v.w.authorizer.Authorize(v.t.Context(), v.visit(v.request(change)))
}

// asked is the question that a request must lead to.
func (v *visitor) asked(change oauth.Params) oauth.Question {
	v.t.Helper()
	out, err := v.ask(change)
	must(v.t, err)
	if out.Ask == nil {
		v.t.Fatalf("answered %v; want a question", out.Reply)
	}
	return *out.Ask
}

// goOn goes on with a request put aside.
func (v *visitor) goOn(pending string) oauth.Outcome {
	v.t.Helper()
	out, err := v.w.authorizer.Authorize(v.t.Context(), v.visit(oauth.Params{"pending": pending}))
	must(v.t, err)
	return out
}

// allow is the consent to whatever is asked, and the code.
func (v *visitor) allow(change oauth.Params) string {
	v.t.Helper()
	out, err := v.ask(change)
	must(v.t, err)
	if out.Ask != nil {
		if out.Ask.Asked != oauth.AskConsent {
			v.t.Fatalf("asked for %s; want consent", out.Ask.Asked)
		}
		out, err = v.w.authorizer.Decide(v.t.Context(), v.visit(nil), out.Ask.Pending, true)
		must(v.t, err)
	}
	code := said(out)["code"]
	if code == "" {
		v.t.Fatalf("answered %v; want a code", out.Reply)
	}
	return code
}

// said is what the client is told.
func said(out oauth.Outcome) map[string]string {
	told := map[string]string{}
	if out.Reply != nil {
		for _, p := range out.Reply.Params {
			told[p.Name] = p.Value
		}
	}
	return told
}

// redeem sends a code to the token endpoint, as the client.
func (v *visitor) redeem(code string, change oauth.Params) (oauth.Response, error) {
	p := oauth.Params{"code": code, "redirect_uri": callback, "code_verifier": verifier}
	maps.Copy(p, change)
	maps.DeleteFunc(p, func(_, value string) bool { return value == "" })
	return v.token(oauth.GrantAuthorizationCode, p)
}

func (v *visitor) token(grant string, p oauth.Params) (oauth.Response, error) {
	c, err := v.w.registry.Lookup(v.t.Context(), v.client.ID)
	must(v.t, err)
	return v.w.Exchange(v.t.Context(), grant, c.Client(time.Hour), oauth.Request{
		Params: p, Origin: ident.Origin{IP: netip.MustParseAddr("203.0.113.9"), UserAgent: clientAgent},
	})
}

func (v *visitor) refresh(token string, change oauth.Params) (oauth.Response, error) {
	p := oauth.Params{"refresh_token": token}
	maps.Copy(p, change)
	return v.token(oauth.GrantRefreshToken, p)
}

// idClaims are the claims of an ID token.
func idClaims(t *testing.T, token string) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%d parts in an ID token", len(parts))
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	must(t, err)
	out := map[string]any{}
	must(t, json.Unmarshal(b, &out))
	return out
}

func base64Text(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

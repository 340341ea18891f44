package oauth

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/tokens"
)

const (
	// maxLogoutState is the longest state that is given back, in bytes.
	maxLogoutState = 2 << 10
	// forwardTTL is how long a forwarded request may be on its way: one redirect.
	forwardTTL = 5 * time.Minute
	// sealedForward binds a forwarded request to its purpose.
	sealedForward = "logout-request"
	// ForwardParam carries a forwarded request; see Logouts.Forward.
	ForwardParam = "forwarded"
)

// BrowserEnder ends the session of a browser: tokens.Service.
type BrowserEnder interface {
	// EndBrowser ends a browser session and, in the same commit, what depends on
	// it, which it returns. It is fault.NotFound where no such session lives.
	EndBrowser(ctx context.Context, by ident.Caller, id ident.SessionID, reason string) ([]tokens.Family, error)
}

// Logouts answers requests to log out (OpenID Connect RP-Initiated Logout 1.0).
// Every field is required.
type Logouts struct {
	Clients  ClientSource
	Sessions BrowserEnder
	Keys     VerificationKeys
	Subjects *Subjects
	Sealer   Sealer
	Issuer   string
	Now      func() time.Time
}

// LogoutVisit is a browser at the logout endpoint.
type LogoutVisit struct {
	Params Params
	// Session is the browser's own, alive; the zero Family where nobody is
	// logged in.
	Session tokens.Family
	Origin  ident.Origin
}

// LogoutOutcome is what a request to log out came to.
type LogoutOutcome struct {
	// Confirm: the user is to be asked first. Nothing has ended, and nobody is
	// sent anywhere afterwards.
	Confirm bool
	// Redirect is where the browser goes on to, state included; empty: nowhere.
	Redirect string
	// Frontchannel are the addresses that the page loads in frames before.
	Frontchannel []string
}

// wish is a request to log out, judged as far as the request itself tells. It
// is all that matters of one, and what is forwarded.
type wish struct {
	Client   ident.ClientID `json:"client,omitempty"` // of a good id_token_hint; empty: there was none
	Subject  string         `json:"sub,omitempty"`    // of the same
	Redirect string         `json:"uri,omitempty"`    // registered by that client, with state
	Refused  bool           `json:"refused,omitempty"`
	At       int64          `json:"at"` // seconds since 1970
}

// Request answers one request. Who shows an ID token of the user that is
// logged in, and asks for an address that its client registered or for none, is
// served at once; everybody else has the user asked first (OpenID Connect
// RP-Initiated Logout 1.0 §2, §3). It is fault.Malformed for a state that is
// too long.
func (l *Logouts) Request(ctx context.Context, v LogoutVisit) (LogoutOutcome, error) {
	w, err := l.wish(ctx, v.Params)
	if err != nil {
		return LogoutOutcome{}, err
	}
	if v.Session.ID == "" {
		return LogoutOutcome{Redirect: w.Redirect}, nil
	}
	own, err := l.own(ctx, w, v.Session)
	switch {
	case err != nil:
		return LogoutOutcome{}, err
	case !own || w.Refused:
		return LogoutOutcome{Confirm: true}, nil
	}
	return l.end(ctx, v, w.Redirect)
}

// Confirmed ends the browser's session: its user said so on our own page. Of
// the request, nothing counts any more.
func (l *Logouts) Confirmed(ctx context.Context, v LogoutVisit) (LogoutOutcome, error) {
	if v.Session.ID == "" {
		return LogoutOutcome{}, nil
	}
	return l.end(ctx, v, "")
}

// Forward returns the request as one value, for a redirect: a browser keeps
// our cookies back when another site sends it here with POST, and brings them
// along with the GET that follows. The ID token of the request is no part of it.
func (l *Logouts) Forward(ctx context.Context, p Params) (string, error) {
	w, err := l.wish(ctx, p)
	if err != nil {
		return "", err
	}
	w.At = l.Now().Unix()
	plain, err := json.Marshal(w)
	if err != nil {
		return "", fmt.Errorf("encode a logout request: %w", err)
	}
	sealed, err := l.Sealer.Seal(plain, sealedForward)
	if err != nil {
		return "", fmt.Errorf("seal a logout request: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(sealed), nil
}

func (l *Logouts) wish(ctx context.Context, p Params) (wish, error) {
	if sealed, ok := p[ForwardParam]; ok {
		return l.forwarded(sealed), nil
	}
	uri, state := p["post_logout_redirect_uri"], p["state"]
	if len(state) > maxLogoutState {
		return wish{}, fault.New(fault.Malformed, "The state is too long.")
	}
	w := wish{Refused: uri != ""}
	h, good := readHint(p["id_token_hint"], l.Issuer, l.Keys)
	if id, ok := p["client_id"]; !good || ok && id != string(h.Client) {
		return w, nil
	}
	r, err := l.Clients.Lookup(ctx, h.Client)
	if errors.Is(err, fault.NotFound) || err == nil && !r.Active() {
		return w, nil
	}
	if err != nil {
		return wish{}, err
	}
	w.Client, w.Subject = h.Client, h.Subject
	if r.Logout.MayRedirectAfterLogout(uri) {
		w.Redirect, w.Refused = uri, false
		if state != "" {
			w.Redirect = withQuery(uri, Param{"state", state})
		}
	}
	return w, nil
}

// forwarded opens what Forward sealed. Of one that is damaged or old, nothing
// counts.
func (l *Logouts) forwarded(text string) wish {
	var w wish
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return wish{Refused: true}
	}
	plain, err := l.Sealer.Open(sealed, sealedForward)
	if err != nil || json.Unmarshal(plain, &w) != nil || l.Now().Sub(time.Unix(w.At, 0)) > forwardTTL {
		return wish{Refused: true}
	}
	return w
}

// own reports whether the hint is about the user of the session.
func (l *Logouts) own(ctx context.Context, w wish, session tokens.Family) (bool, error) {
	if w.Client == "" {
		return false, nil
	}
	r, err := l.Clients.Lookup(ctx, w.Client)
	if errors.Is(err, fault.NotFound) {
		return false, nil
	}
	return err == nil && l.Subjects.Sub(r, session.User) == w.Subject, err
}

func (l *Logouts) end(ctx context.Context, v LogoutVisit, redirect string) (LogoutOutcome, error) {
	f := v.Session
	by := ident.Caller{Kind: ident.Person, User: f.User, Org: f.Org, Session: f.ID, Client: f.Client, Origin: v.Origin}
	ended, err := l.Sessions.EndBrowser(ctx, by, f.ID, "logout")
	if err != nil && !errors.Is(err, fault.NotFound) { // somebody else may have ended it meanwhile
		return LogoutOutcome{}, err
	}
	return LogoutOutcome{Redirect: redirect, Frontchannel: l.frames(ctx, ended)}, nil
}

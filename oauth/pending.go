package oauth

import (
	"encoding/base64"
	"encoding/json"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// Of requests put aside while a page asks something. They lie in no table: the
// browser carries them, sealed.
const (
	// PendingTTL is how long a request put aside can go on.
	PendingTTL     = 30 * time.Minute
	maxPending     = 64 << 10 // bytes
	pendingContext = "authorization-request"
)

// aside is a request put aside.
type aside struct {
	Params  Params `json:"params"`
	Created int64  `json:"created"` // when the request came first, microseconds since 1970
	Browser []byte `json:"browser"` // digestOfBrowser
	// Object: the params hold already what a request object said.
	Object  bool         `json:"object,omitempty"`
	Asked   ident.UserID `json:"asked,omitempty"`   // who is asked for consent
	Account ident.UserID `json:"account,omitempty"` // who is asked whether to go on as themselves
	Chosen  ident.UserID `json:"chosen,omitempty"`  // who said so
}

func (p aside) created() time.Time { return time.UnixMicro(p.Created).UTC() }

// seal puts the request aside for its browser.
func (q *authorizing) seal(p aside) (string, error) {
	p.Params, p.Browser = q.params, digestOfBrowser(q.visit.Browser)
	plain, err := json.Marshal(p)
	if err != nil {
		return "", err
	}
	sealed, err := q.Sealer.Seal(plain, pendingContext)
	return base64.RawURLEncoding.EncodeToString(sealed), err
}

// open is the inverse of seal. Whatever else a sealed text of ours may be, its
// context keeps it from opening here (SEC-OAU-67).
func (a *Authorizer) open(pending, browser string, now time.Time) (p aside, err error) {
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(pending)
	if err != nil || len(pending) > maxPending || browser == "" {
		return aside{}, notTheirs()
	}
	plain, err := a.Sealer.Open(sealed, pendingContext)
	if err != nil || json.Unmarshal(plain, &p) != nil || !secret.Equal(p.Browser, digestOfBrowser(browser)) {
		return aside{}, notTheirs()
	}
	if age := now.Sub(p.created()); age < -clockSkew || age > PendingTTL {
		return aside{}, fault.New(fault.Malformed, "This page was open for too long. Go back to the application and start again.").Because("expired")
	}
	return p, nil
}

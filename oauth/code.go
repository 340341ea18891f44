package oauth

import (
	"context"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/tokens"
)

// Of authorization codes.
const (
	// CodePrefix starts every authorization code.
	CodePrefix = "thc_"
	// CodeTTL is how long a code can be redeemed (RFC 6749 §4.1.2).
	CodeTTL = 60 * time.Second
	// usedCodeKept is how long a code that was used is known as such: as long as
	// the longest access token that it may have given.
	usedCodeKept = 24 * time.Hour
)

// Code is an authorization code as it is stored: by its digest only.
type Code struct {
	Digest        []byte
	Client        ident.ClientID
	User          ident.UserID
	Org           ident.OrgID
	Browser       ident.SessionID // in which it was allowed: it counts while that lives
	RedirectURI   string          // empty where the authorization request had none
	Challenge     string          // S256 (RFC 7636 §4.2); empty: none was sent
	Authorization Authorization
	CreatedAt     time.Time
	ExpiresAt     time.Time
	UsedAt        time.Time       // zero: not yet
	Family        ident.SessionID // that it was redeemed for
}

// codeDigest is by what a code is stored. The tag keeps it from ever being
// that of another kind of thing.
func codeDigest(code string) []byte { return secret.Sum("authorization-code|" + code) }

// CodeReader finds codes: AuthorizationStore is one.
type CodeReader interface {
	// Code returns a code of that digest, used or expired too; fault.NotFound
	// where there is none.
	Code(ctx context.Context, digest []byte) (Code, error)
}

// AuthorizationStore keeps what users allowed: codes until they are redeemed,
// and consents.
type AuthorizationStore interface {
	CodeReader
	// Consent returns what the user allows the client; fault.NotFound where that
	// is nothing.
	Consent(ctx context.Context, user ident.UserID, client ident.ClientID) (Consent, error)
	// Consents returns everything the user allows, by client.
	Consents(ctx context.Context, user ident.UserID) ([]Consent, error)
	// DeleteExpiredCodes removes at most limit codes that nobody needs to know
	// of since before the given time, and returns how many.
	DeleteExpiredCodes(ctx context.Context, before time.Time, limit int) (int, error)
	// InAuthorizationTx runs fn in one transaction with the events it records.
	// fn may run twice.
	InAuthorizationTx(ctx context.Context, fn func(AuthorizationTx) error) error
}

// AuthorizationTx is one transaction on codes and consents.
type AuthorizationTx interface {
	tokens.Tx
	// InsertCode stores a new code.
	InsertCode(Code) error
	// PutConsent stores what a user allows a client now, and nothing else.
	PutConsent(Consent) error
	// DeleteConsent forgets a consent, and with it the codes that were not
	// redeemed; fault.NotFound where there is no consent.
	DeleteConsent(user ident.UserID, client ident.ClientID) error
}

// CodeTx redeems codes, in the transaction that opens their family.
type CodeTx interface {
	// HoldConsent reports whether the user allows the client anything, and if so
	// keeps it that way until the commit. It is asked before UseCode.
	HoldConsent(user ident.UserID, client ident.ClientID) (bool, error)
	// UseCode marks a code as used for the family, in one compare-and-swap, and
	// keeps it known until then. It reports false where somebody was first.
	UseCode(digest []byte, family ident.SessionID, at, until time.Time) (bool, error)
}

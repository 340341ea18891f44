// Package ident names things and callers: typed identifiers, who is asking,
// and the proof of which organisation they ask for.
package ident

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// Identifiers are a kind, an underscore and 26 characters: 48 bits of time in
// milliseconds and 80 random bits in lower-case Crockford base 32, so that they
// sort by age under every collation.
type (
	// UserID names a person: "user_…".
	UserID string
	// OrgID names an organisation: "org_…".
	OrgID string
	// SessionID names one login on one device, and its refresh family: "sess_…".
	SessionID string
	// APIKeyID names an API key: "key_…". It survives the key's rotation.
	APIKeyID string
	// ClientID names an OAuth client: "cli_…".
	ClientID string
	// EventID names an audit event: "evt_…".
	EventID string
	// TokenID is the jti of an access token: "tok_…" (RFC 7519 §4.1.7).
	TokenID string
	// RequestID names one HTTP request: "req_…".
	RequestID string
)

// ErrMalformed is a text that is not an identifier of the wanted kind.
var ErrMalformed = errors.New("malformed identifier")

const (
	digits   = "0123456789abcdefghjkmnpqrstvwxyz" // Crockford: no i, l, o, u
	bodySize = 26
)

// NewUserID and its siblings make identifiers that sort by at.
func NewUserID(at time.Time, random io.Reader) UserID { return UserID(mint("user_", at, random)) }

// NewOrgID makes an organisation identifier.
func NewOrgID(at time.Time, random io.Reader) OrgID { return OrgID(mint("org_", at, random)) }

// NewSessionID makes a session identifier.
func NewSessionID(at time.Time, random io.Reader) SessionID {
	return SessionID(mint("sess_", at, random))
}

// NewAPIKeyID makes an API key identifier.
func NewAPIKeyID(at time.Time, random io.Reader) APIKeyID { return APIKeyID(mint("key_", at, random)) }

// NewClientID makes a client identifier.
func NewClientID(at time.Time, random io.Reader) ClientID { return ClientID(mint("cli_", at, random)) }

// NewEventID makes an audit event identifier.
func NewEventID(at time.Time, random io.Reader) EventID { return EventID(mint("evt_", at, random)) }

// NewTokenID makes a token identifier.
func NewTokenID(at time.Time, random io.Reader) TokenID { return TokenID(mint("tok_", at, random)) }

// TokenIDFrom makes a token identifier of 128 bits that are drawn elsewhere: one
// that tells nothing of its age.
func TokenIDFrom(b [16]byte) TokenID { return TokenID("tok_" + encode(b)) }

// NewRequestID makes a request identifier.
func NewRequestID(at time.Time, random io.Reader) RequestID {
	return RequestID(mint("req_", at, random))
}

// mint reads 80 bits from random. A reader that fails would make identifiers
// repeat, so mint falls back to the operating system, which does not fail.
func mint(kind string, at time.Time, random io.Reader) string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], uint64(max(at.UnixMilli(), 0))<<16)
	if _, err := io.ReadFull(random, b[6:]); err != nil {
		_, _ = rand.Read(b[6:])
	}
	return kind + encode(b)
}

// encode writes 128 bits as 26 digits; the first digit carries 3 bits.
func encode(b [16]byte) string {
	hi, lo := binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
	var out [bodySize]byte
	for i := bodySize - 1; i >= 0; i-- {
		out[i] = digits[lo&31]
		lo = lo>>5 | hi<<59
		hi >>= 5
	}
	return string(out[:])
}

// Bytes returns the 128 bits of the identifier.
func (s SessionID) Bytes() ([16]byte, error) { return decode("sess_", string(s)) }

// SessionIDFrom is the inverse of SessionID.Bytes.
func SessionIDFrom(b [16]byte) SessionID { return SessionID("sess_" + encode(b)) }

func decode(kind, s string) ([16]byte, error) {
	var b [16]byte
	body, ok := strings.CutPrefix(s, kind)
	if !ok || len(body) != bodySize || body[0] > '7' {
		return b, fmt.Errorf("%w: want %s and %d characters", ErrMalformed, kind, bodySize)
	}
	var hi, lo uint64
	for i := range bodySize {
		d := strings.IndexByte(digits, body[i])
		if d < 0 {
			return b, fmt.Errorf("%w: want %s and %d characters", ErrMalformed, kind, bodySize)
		}
		hi = hi<<5 | lo>>59
		lo = lo<<5 | uint64(d)
	}
	binary.BigEndian.PutUint64(b[:8], hi)
	binary.BigEndian.PutUint64(b[8:], lo)
	return b, nil
}

// ParseUserID and its siblings accept only well-formed identifiers of their kind.
func ParseUserID(s string) (UserID, error) { _, err := decode("user_", s); return UserID(s), err }

// ParseOrgID accepts "org_…".
func ParseOrgID(s string) (OrgID, error) { _, err := decode("org_", s); return OrgID(s), err }

// ParseSessionID accepts "sess_…".
func ParseSessionID(s string) (SessionID, error) {
	_, err := decode("sess_", s)
	return SessionID(s), err
}

// ParseClientID accepts "cli_…".
func ParseClientID(s string) (ClientID, error) { _, err := decode("cli_", s); return ClientID(s), err }

// ParseAPIKeyID accepts "key_…".
func ParseAPIKeyID(s string) (APIKeyID, error) { _, err := decode("key_", s); return APIKeyID(s), err }

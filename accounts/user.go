// Package accounts knows people, the organisations they belong to, what their
// roles permit, and how they prove who they are by password.
package accounts

import (
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// Status says whether a user or an organisation may be used.
type Status string

// The statuses.
const (
	Active   Status = "active"
	Disabled Status = "disabled"
)

// User is a person. What they may do depends on the organisation: see Standing.
type User struct {
	ID                ident.UserID
	Email             string // as typed
	Canonical         string // unique; see ParseEmail
	Name              string // may be empty
	Status            Status
	PasswordHash      string // PHC string; empty where the person has no password
	CreatedAt         time.Time
	PasswordChangedAt time.Time
}

// maxName is the longest name of a person or an organisation, in characters.
const maxName = 200

// cleanName returns name in NFC without spaces around it. It refuses what
// cannot be shown on one line.
func cleanName(field, name string) (string, error) {
	name = strings.TrimSpace(norm.NFC.String(name))
	switch {
	case !utf8.ValidString(name):
		return "", fault.Refuse(field, "must be valid UTF-8")
	case utf8.RuneCountInString(name) > maxName:
		return "", fault.Refuse(field, "must have at most 200 characters")
	case strings.ContainsFunc(name, unprintable):
		return "", fault.Refuse(field, "must not contain control characters or line breaks")
	}
	return name, nil
}

// unprintable reports control characters and the marks that reverse the
// direction of text, with which a name could pass for another.
func unprintable(r rune) bool {
	return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || unicode.Is(unicode.Bidi_Control, r)
}

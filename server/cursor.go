package server

import (
	"encoding/base64"
	"strings"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

const (
	cursorTag = 16  // bytes of the MAC
	maxCursor = 256 // characters
)

// CursorKeys are the secrets that page cursors are authenticated with.
type CursorKeys interface {
	// Current returns the secret for new cursors and its id.
	Current() (id uint8, key []byte)
	// ByID returns an earlier secret.
	ByID(id uint8) (key []byte, ok bool)
}

// list is what a cursor belongs to. A cursor of another organisation, another
// route or another filter is refused (SEC-INJ-02).
type list struct {
	org    ident.OrgID
	route  string
	filter string
}

// sealCursor makes the cursor that continues l after the item before.
func sealCursor(keys CursorKeys, l list, before string) string {
	id, key := keys.Current()
	raw := append([]byte{id}, l.tag(key, before)...)
	return base64.RawURLEncoding.EncodeToString(append(raw, before...))
}

// openCursor returns the item after which l continues.
func openCursor(keys CursorKeys, l list, cursor string) (string, error) {
	if len(cursor) > maxCursor || strings.ContainsAny(cursor, "\r\n") { // which base64 would skip
		return "", fault.InvalidCursor
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil || len(raw) <= 1+cursorTag {
		return "", fault.InvalidCursor
	}
	key, ok := keys.ByID(raw[0])
	before := string(raw[1+cursorTag:])
	if !ok || !secret.Equal(raw[1:1+cursorTag], l.tag(key, before)) {
		return "", fault.InvalidCursor
	}
	return before, nil
}

func (l list) tag(key []byte, before string) []byte {
	return secret.MAC(key, string(l.org), l.route, l.filter, before)[:cursorTag]
}

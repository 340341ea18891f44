package tokens

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// StatusClaim is the status of a Referenced Token: where in which status list
// it is told whether the token still holds (draft-ietf-oauth-status-list §6.2).
type StatusClaim struct {
	List StatusReference `json:"status_list"`
}

// StatusReference names one bit of a status list.
type StatusReference struct {
	Index uint32 `json:"idx"`
	URI   string `json:"uri"`
}

// Place is where an access token stands before its index is drawn: the n-th
// place given out in a list. Which index that is, a keyed permutation of the
// list decides, so that indexes tell nobody how many tokens were issued or
// which belong together. The zero Place is none.
type Place struct {
	List     string // the id of the list, as in its URI
	Position uint32 // from 0
}

// PlaceRange is a row of places, and the Key of changes.StatusRevoked.
type PlaceRange struct {
	Place        // the first
	Count uint32 // at least one
}

// errPlaceRange is a text that no PlaceRange has.
var errPlaceRange = errors.New("tokens: malformed range of places")

// String writes the range as "list/first/count".
func (r PlaceRange) String() string { return fmt.Sprintf("%s/%d/%d", r.List, r.Position, r.Count) }

// ParsePlaceRange is the inverse of String.
func ParsePlaceRange(text string) (PlaceRange, error) {
	parts := strings.Split(text, "/")
	if len(parts) != 3 || parts[0] == "" {
		return PlaceRange{}, errPlaceRange
	}
	first, err1 := strconv.ParseUint(parts[1], 10, 32)
	count, err2 := strconv.ParseUint(parts[2], 10, 32)
	if err := errors.Join(err1, err2); err != nil || count == 0 || first+count > 1<<32 {
		return PlaceRange{}, errPlaceRange
	}
	return PlaceRange{Place{parts[0], uint32(first)}, uint32(count)}, nil
}

package settings

import (
	"errors"

	"github.com/tokenhouse/tokenhouse/internal/fault"
)

// named puts a wrong password at its field, beside which the person looks for it.
// Other failures stay as they are.
func named(err error, field, detail string) error {
	if !errors.Is(err, fault.InvalidCredentials) {
		return err
	}
	return fault.Refuse(field, detail)
}

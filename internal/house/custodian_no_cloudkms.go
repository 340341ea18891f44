//go:build !cloudkms

package house

import (
	"errors"

	"github.com/tokenhouse/tokenhouse/keys/sealing"
)

// cloudCustodian is for binaries that are built with the tag cloudkms.
func cloudCustodian(string) (sealing.Custodian, error) {
	return nil, errors.New("this binary cannot ask the key management service of a cloud: build it with -tags cloudkms")
}

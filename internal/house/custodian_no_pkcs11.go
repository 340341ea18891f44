//go:build !pkcs11

package house

import (
	"errors"

	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/keys/sealing"
)

// hsmCustodian is for binaries that are built with the tag pkcs11.
func hsmCustodian(string, secret.Plain) (sealing.Custodian, error) {
	return nil, errors.New("this binary cannot ask an HSM: build it with -tags pkcs11")
}

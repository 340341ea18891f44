//go:build pkcs11 && cgo

package house

import (
	"net/url"

	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/keys/masterkey/pkcs11"
	"github.com/tokenhouse/tokenhouse/keys/sealing"
)

func pkcs11Key(u *url.URL, pin secret.Plain) (sealing.Custodian, error) {
	k, err := pkcs11.New(u, pin)
	if err != nil {
		return nil, err
	}
	return k, nil
}

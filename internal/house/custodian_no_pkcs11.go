//go:build !pkcs11 || !cgo

package house

import (
	"errors"
	"net/url"

	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/keys/sealing"
)

func pkcs11Key(*url.URL, secret.Plain) (sealing.Custodian, error) {
	return nil, errors.New("this tokenhouse was built without PKCS#11, which needs a C compiler: build it with CGO_ENABLED=1 go build -tags nomsgpack,pkcs11")
}

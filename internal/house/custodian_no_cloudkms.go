//go:build !cloudkms

package house

import (
	"errors"
	"net/url"

	"github.com/tokenhouse/tokenhouse/keys/sealing"
)

func cloudKey(*url.URL) (sealing.Custodian, error) {
	return nil, errors.New("this tokenhouse was built without the key services of clouds: build it with go build -tags nomsgpack,cloudkms")
}

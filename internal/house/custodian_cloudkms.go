//go:build cloudkms

package house

import (
	"net/url"

	"github.com/tokenhouse/tokenhouse/keys/masterkey/cloudkms"
	"github.com/tokenhouse/tokenhouse/keys/sealing"
)

func cloudKey(u *url.URL) (sealing.Custodian, error) {
	k, err := cloudkms.New(u)
	if err != nil {
		return nil, err
	}
	return k, nil
}

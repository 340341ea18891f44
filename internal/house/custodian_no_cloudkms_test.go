//go:build !cloudkms

package house

import (
	"strings"
	"testing"
)

// A binary without the clouds says how to build one that has them.
func TestCloudsAreRefusedByABinaryWithoutThem(t *testing.T) {
	for _, text := range []string{"awskms:///alias/x?region=r", "gcpkms://projects/p/locations/l/keyRings/r/cryptoKeys/k", "azurekeyvault://name.vault.azure.net/keys/k"} {
		if _, err := (Config{}).custodian(text); err == nil || !strings.Contains(err.Error(), "-tags nomsgpack,cloudkms") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

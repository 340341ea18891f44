//go:build !pkcs11 || !cgo

package house

import (
	"strings"
	"testing"
)

// A binary without PKCS#11 says how to build one that has it.
func TestPKCS11IsRefusedByABinaryWithoutIt(t *testing.T) {
	_, err := Config{}.custodian("pkcs11:token=a;object=b?module-path=/usr/lib/softhsm/libsofthsm2.so")
	if err == nil || !strings.Contains(err.Error(), "-tags nomsgpack,pkcs11") {
		t.Errorf("%v", err)
	}
}

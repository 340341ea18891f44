//go:build pkcs11 && cgo

package pkcs11

import (
	"context"
	"errors"
	"testing"

	"github.com/miekg/pkcs11"

	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/keys/sealing"
)

// The last try before a token locks itself is left to a human; no module in
// software counts, so the flags are given here.
func TestTheLastTryIsNotOurs(t *testing.T) {
	for flags, allowed := range map[uint]bool{
		pkcs11.CKF_LOGIN_REQUIRED:                                 true,
		pkcs11.CKF_LOGIN_REQUIRED | pkcs11.CKF_USER_PIN_COUNT_LOW: true,
		pkcs11.CKF_USER_PIN_FINAL_TRY:                             false,
		pkcs11.CKF_USER_PIN_LOCKED:                                false,
	} {
		if err := mayLogIn(flags); (err == nil) != allowed || errors.Is(err, sealing.ErrAway) {
			t.Errorf("flags %#x: %v", flags, err)
		}
	}
}

// A module that hangs holds no caller back for ever.
func TestAModuleThatHangs(t *testing.T) {
	turn <- struct{}{} // somebody's call does not return
	defer func() { <-turn }()
	ctx, cancel := context.WithTimeout(t.Context(), 1)
	defer cancel()
	k := &Key{at: address{module: "/dev/null"}, pin: secret.Of("1234")}
	if _, err := k.Unwrap(ctx, []byte("x")); !errors.Is(err, sealing.ErrAway) {
		t.Errorf("%v; want ErrAway", err)
	}
}

func TestAnswersThatWaitingMends(t *testing.T) {
	for code, waits := range map[pkcs11.Error]bool{
		pkcs11.CKR_DEVICE_REMOVED: true, pkcs11.CKR_SESSION_CLOSED: true, pkcs11.CKR_MECHANISM_INVALID: false, pkcs11.CKR_GENERAL_ERROR: false, pkcs11.CKR_PIN_LOCKED: false,
	} {
		if err := failed("try", code); errors.Is(err, sealing.ErrAway) != waits || !errors.Is(err, code) {
			t.Errorf("%v: %v", code, err)
		}
	}
}

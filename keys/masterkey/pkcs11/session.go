//go:build pkcs11 && cgo

package pkcs11

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/miekg/pkcs11"

	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/keys/sealing"
)

// Scheme begins the URI of a Key.
const Scheme = "pkcs11"

// timeout bounds one call, login included.
const timeout = 30 * time.Second

// A module is initialized once in a process, and who is logged in is one state
// for all of its sessions (PKCS#11 3.1 §5.4, §5.6): so callers take turns.
// Whoever holds the turn may use modules. A module is never unloaded: many do not survive it.
var (
	turn    = make(chan struct{}, 1)
	modules = map[string]*pkcs11.Ctx{} // by path
)

// session is a login at a token, and the key that was found there.
type session struct {
	module *pkcs11.Ctx
	handle pkcs11.SessionHandle
	key    pkcs11.ObjectHandle
}

// inSession logs in, has work done, and leaves. A module cannot be interrupted:
// where it does not answer in time, inSession returns, and callers are told
// that it is away until it does.
func (k *Key) inSession(ctx context.Context, work func(*session) ([]byte, error)) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	type answer struct {
		value []byte
		err   error
	}
	select {
	case turn <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: another call is under way: %w", sealing.ErrAway, ctx.Err())
	}
	done := make(chan answer, 1)
	go func() {
		defer func() { <-turn }()
		value, err := k.visit(work)
		done <- answer{value, err}
	}()
	select {
	case a := <-done:
		return a.value, a.err
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", sealing.ErrAway, ctx.Err())
	}
}

// visit is called by whoever holds the turn.
func (k *Key) visit(work func(*session) ([]byte, error)) (value []byte, err error) {
	pin, err := k.credential()
	if err != nil {
		return nil, err
	}
	m := modules[k.at.module]
	if m == nil {
		if m = pkcs11.New(k.at.module); m == nil {
			return nil, fmt.Errorf("%s is not a PKCS#11 module that this machine can load", k.at.module)
		}
		modules[k.at.module] = m
	}
	if err := m.Initialize(); err != nil && !errors.Is(err, pkcs11.Error(pkcs11.CKR_CRYPTOKI_ALREADY_INITIALIZED)) {
		return nil, failed("initialize", err)
	}
	defer func() { _ = m.Finalize() }() // closes the session and logs out as well
	slot, info, err := k.at.find(m)
	if err != nil {
		return nil, err
	}
	s := &session{module: m}
	if s.handle, err = m.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION); err != nil {
		return nil, failed("open a session", err)
	}
	defer func() { _ = m.CloseSession(s.handle) }()
	if err := s.login(info.Flags, pin); err != nil {
		return nil, err
	}
	defer func() { _ = m.Logout(s.handle) }()
	if s.key, err = s.find(k.at); err != nil {
		return nil, err
	}
	return work(s)
}

// login shows the PIN to the token, but not where that might be the last time.
func (s *session) login(flags uint, pin secret.Plain) error {
	if err := mayLogIn(flags); err != nil {
		return err
	}
	switch err := s.module.Login(s.handle, pkcs11.CKU_USER, pin.Reveal()); {
	case err == nil, errors.Is(err, pkcs11.Error(pkcs11.CKR_USER_ALREADY_LOGGED_IN)):
		return nil
	case errors.Is(err, pkcs11.Error(pkcs11.CKR_PIN_INCORRECT)), errors.Is(err, pkcs11.Error(pkcs11.CKR_PIN_LEN_RANGE)), errors.Is(err, pkcs11.Error(pkcs11.CKR_PIN_INVALID)):
		return fmt.Errorf("the token refuses the PIN; tokens lock themselves after a few wrong ones: %w", err)
	default:
		return failed("log in", err)
	}
}

// mayLogIn says whether the flags of a token allow to show it a PIN. A server
// that its supervisor starts again and again must not lock the token.
func mayLogIn(flags uint) error {
	switch {
	case flags&pkcs11.CKF_USER_PIN_LOCKED != 0:
		return errors.New("the token is locked, after too many wrong PINs: its security officer unlocks it")
	case flags&pkcs11.CKF_USER_PIN_FINAL_TRY != 0:
		return errors.New("the token would lock itself at the next wrong PIN: log in to it once with another program, which shows that the PIN is right")
	default:
		return nil
	}
}

// find finds the token. One that is not there may be plugged in later.
func (a address) find(m *pkcs11.Ctx) (slot uint, info pkcs11.TokenInfo, err error) {
	slots, err := m.GetSlotList(true)
	if err != nil {
		return 0, info, failed("list the slots", err)
	}
	var others []string
	found := 0
	for _, s := range slots {
		t, err := m.GetTokenInfo(s)
		if err != nil {
			continue // it was pulled out, or is none that the module knows
		}
		if !a.isToken(t) {
			others = append(others, fmt.Sprintf("%q", strings.TrimSpace(t.Label)))
			continue
		}
		found++
		slot, info = s, t
	}
	switch {
	case found == 1:
		return slot, info, nil
	case found > 1:
		return 0, info, fmt.Errorf("%d tokens are called %s: add serial=", found, a.tokenName())
	default:
		slices.Sort(others)
		return 0, info, fmt.Errorf("%w: the token %s is not there, only [%s]", sealing.ErrAway, a.tokenName(), strings.Join(others, " "))
	}
}

func (a address) isToken(t pkcs11.TokenInfo) bool {
	for _, pair := range [][2]string{{a.token, t.Label}, {a.manufacturer, t.ManufacturerID}, {a.model, t.Model}, {a.serial, t.SerialNumber}} {
		if pair[0] != "" && pair[0] != strings.TrimRight(pair[1], " \x00") {
			return false
		}
	}
	return true
}

// find finds the key in the token.
func (s *session) find(a address) (pkcs11.ObjectHandle, error) {
	template := []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY),
		pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_AES),
	}
	if a.object != "" {
		template = append(template, pkcs11.NewAttribute(pkcs11.CKA_LABEL, a.object))
	}
	if a.id != "" {
		template = append(template, pkcs11.NewAttribute(pkcs11.CKA_ID, []byte(a.id)))
	}
	if err := s.module.FindObjectsInit(s.handle, template); err != nil {
		return 0, failed("look for the key", err)
	}
	keys, _, err := s.module.FindObjects(s.handle, 2)
	if err = errors.Join(err, s.module.FindObjectsFinal(s.handle)); err != nil {
		return 0, failed("look for the key", err)
	}
	switch len(keys) {
	case 1:
		return keys[0], nil
	case 0:
		return 0, fmt.Errorf("the token %s holds no AES key %s that its user may see", a.tokenName(), a.key())
	default:
		return 0, fmt.Errorf("the token %s holds more than one AES key %s: add id=", a.tokenName(), a.key())
	}
}

// away are the answers of a token that may be well again in a moment.
var away = []pkcs11.Error{
	pkcs11.CKR_TOKEN_NOT_PRESENT, pkcs11.CKR_TOKEN_NOT_RECOGNIZED, pkcs11.CKR_DEVICE_ERROR, pkcs11.CKR_DEVICE_REMOVED, pkcs11.CKR_DEVICE_MEMORY,
	pkcs11.CKR_SLOT_ID_INVALID, pkcs11.CKR_SESSION_COUNT, pkcs11.CKR_SESSION_CLOSED, pkcs11.CKR_SESSION_HANDLE_INVALID,
}

// failed tells a token that is away from what an operator must mend.
func failed(what string, err error) error {
	for _, code := range away {
		if errors.Is(err, code) {
			return fmt.Errorf("%w: %s: %w", sealing.ErrAway, what, err)
		}
	}
	return fmt.Errorf("its module fails to %s: %w", what, err)
}

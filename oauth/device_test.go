package oauth_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/fault"
)

// The proof of the specification: 10 000 wrong logins at one account from 100
// sources, and its owner's browser still gets in.
func TestOwnerIsNeverLockedOutOfAKnownDevice(t *testing.T) {
	w := open(t, backends["SQLite"](t), newClock())
	w.person("ada@example.com")
	home, err := w.login(apiClient, attempt{email: "ada@example.com", password: rightPassword, ip: "192.0.2.1"})
	must(t, err)
	before := w.hashes.Load()
	var wg sync.WaitGroup
	for source := range 100 {
		wg.Go(func() {
			for range 100 {
				_, err := w.login(apiClient, attempt{email: "ada@example.com", password: "wrong", ip: fmt.Sprintf("203.0.113.%d", source)})
				if err == nil {
					t.Error("a wrong password logged in")
				}
			}
		})
	}
	wg.Wait()
	if n := w.hashes.Load() - before; n != 100 {
		t.Errorf("%d guesses were evaluated, want the 100 an hour allows", n)
	}
	if _, err := w.login(apiClient, attempt{email: "ada@example.com", password: rightPassword, ip: "198.51.100.1"}); !errors.Is(err, fault.AccountLocked) || fault.Of(err).RetryAfter > time.Hour {
		t.Errorf("a device that nobody knows: %v for %v", err, fault.Of(err).RetryAfter)
	}
	for _, ip := range []string{"192.0.2.1", "203.0.113.50"} { // at home, and behind an attacker's address
		again, err := w.login(apiClient, attempt{email: "ada@example.com", password: rightPassword, ip: ip, device: home.Device})
		must(t, err)
		home.Device = again.Device
	}
	w.clock.advance(time.Hour) // never permanent
	_, err = w.login(apiClient, attempt{email: "ada@example.com", password: rightPassword, ip: "198.51.100.1"})
	must(t, err)
}

func TestKnownDeviceHasACounterOfItsOwn(t *testing.T) {
	w := open(t, backends["SQLite"](t), newClock())
	w.person("ada@example.com")
	home, err := w.login(apiClient, attempt{email: "ada@example.com", password: rightPassword})
	must(t, err)
	w.person("bob@example.com")
	bob, err := w.login(apiClient, attempt{email: "bob@example.com", password: rightPassword, device: home.Device}) // the same browser
	must(t, err)
	if err := w.wrongLogins(11, attempt{email: "ada@example.com", device: bob.Device}); !errors.Is(err, fault.AccountLocked) {
		t.Errorf("eleventh wrong login of a known device: %v", err)
	}
	_, err = w.login(apiClient, attempt{email: "ada@example.com", password: rightPassword}) // pair and pool know nothing of it
	must(t, err)
	_, err = w.login(apiClient, attempt{email: "bob@example.com", password: rightPassword, device: bob.Device})
	must(t, err)
	stranger := attempt{email: "carol@example.com", device: bob.Device} // the cookie is no pass to other accounts
	if err := w.wrongLogins(6, stranger); !errors.Is(err, fault.AccountLocked) {
		t.Errorf("sixth wrong login at an account the device does not know: %v", err)
	}
}

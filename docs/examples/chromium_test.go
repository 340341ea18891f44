package examples_test

import (
	"testing"

	"github.com/tokenhouse/tokenhouse/internal/browsertest"
)

// ada is Ada at her browser, a real Chromium.
type ada struct{ *browsertest.Window }

func opens(t *testing.T, url string) ada {
	t.Helper()
	a := ada{browsertest.Open(t, browsertest.Look{})}
	a.Go(url)
	return a
}

// logsIn answers the login page.
func (a ada) logsIn() {
	a.Fill("input#email[name=email]", adaEmail)
	a.Fill("input#password[name=password]", adaPassword)
	a.Click("button[type=submit]")
}

// signsIn answers the login page, and allows what is asked.
func (a ada) signsIn() {
	a.logsIn()
	a.Click("button[name=decision][value=allow]")
}

// stored is a member of what oidc-client-ts keeps about the user; empty where there is none.
func (a ada) stored(member string) string {
	return browsertest.Eval[string](a.Window, `(() => {
		const key = Object.keys(sessionStorage).find((k) => k.startsWith('oidc.user:'))
		return key ? String(JSON.parse(sessionStorage.getItem(key))['`+member+`'] ?? '') : ''
	})()`)
}

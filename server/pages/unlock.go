package pages

import "net/http"

// Unlock asks whoever followed an unlock link to press a button: programs that
// look at the links in mails press none.
type Unlock struct {
	Form
	Link string // the token of the link
}

// View shows the page.
func (u Unlock) View() View { return View{Status: http.StatusOK, name: "unlock.html", data: u} }

// Unlocked says that this browser may sign in again.
type Unlocked struct {
	For string // how long that lasts, in words
}

// View shows the page.
func (u Unlocked) View() View { return View{Status: http.StatusOK, name: "unlocked.html", data: u} }

// NoUnlock says that a link is no good, whatever is wrong with it.
type NoUnlock struct{}

// View shows the page.
func (NoUnlock) View() View {
	return message(http.StatusGone, "This link is not valid any more",
		"It was used already, has expired, or is incomplete. Your account is as it was: wait until the time in the mail, or sign in with a browser that you have signed in with before.")
}

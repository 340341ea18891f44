package pages

import (
	"cmp"
	"net/http"
	"time"
)

// Invitation asks whoever has its link whether they join.
type Invitation struct {
	Form
	Link   string // the token of the link
	Email  string // whom it is for
	Org    string
	Role   string
	By     string // who invites
	Until  time.Time
	SignIn string // address

	User string // who is signed in; empty: nobody
	Mine bool   // and it is who is invited

	Invited
}

// Invited is the form of an invited person who has no account yet.
type Invited struct {
	Name      string
	MinLength int // of a password
	MaxLength int
	Status    int // 200 where zero
	Problem   string
	Problems  map[string]string // by field
}

// View shows the page.
func (i Invitation) View() View {
	return View{Status: cmp.Or(i.Status, http.StatusOK), name: "invitation.html", data: i}
}

// Expires is until when the invitation can be accepted, for people.
func (i Invitation) Expires() string { return i.Until.UTC().Format("2 January 2006, 15:04 UTC") }

// Welcome says that an account was made, unless there is one: it says the same.
type Welcome struct {
	SignIn string // address
}

// View shows the page.
func (w Welcome) View() View { return View{Status: http.StatusOK, name: "welcome.html", data: w} }

// Joined says that somebody is a member.
type Joined struct{ Org, Role string }

// View shows the page.
func (j Joined) View() View { return View{Status: http.StatusOK, name: "joined.html", data: j} }

// NoInvitation says that a link is no good, whatever is wrong with it.
type NoInvitation struct{}

// View shows the page.
func (NoInvitation) View() View {
	return message(http.StatusGone, "This invitation is not valid any more",
		"It was used already, was taken back, has expired, or is incomplete. Ask whoever invited you for another one.")
}

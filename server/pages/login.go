package pages

import (
	"fmt"
	"math"
	"net/http"
	"time"
)

// Form is what every form of ours sends back unseen.
type Form struct {
	Token    string // against forgery
	Pending  string // the authorization request put aside; empty where there is none
	ReturnTo string // a path of ours to go on to; empty: none
}

// Guest is the application that somebody signs in for. The zero Guest is none.
type Guest struct {
	Name      string
	Redirects []string // addresses that the sign-in may lead to
}

// Login asks for e-mail and password.
type Login struct {
	Form
	Status   int // 200 where zero
	Guest    Guest
	Email    string // filled in already
	User     string // who has to sign in again; empty: nobody in particular
	Problem  string // what was wrong with the last try
	Proof    *Proof // what is asked for besides the password; nil: nothing
	MayLeave bool   // whether there is an application to go back to without signing in
}

// View shows the page.
func (l Login) View() View {
	if l.Status == 0 {
		l.Status = http.StatusOK
	}
	return View{Status: l.Status, name: "login.html", data: l, sends: sources(l.Guest.Redirects...), proof: l.Proof}
}

// Accounts asks whether to go on as the user who is signed in.
type Accounts struct {
	Form
	Guest Guest
	User  string
}

// View shows the page.
func (a Accounts) View() View {
	return View{Status: http.StatusOK, name: "accounts.html", data: a, sends: sources(a.Guest.Redirects...)}
}

// SignedIn says who is signed in, and offers to sign out.
type SignedIn struct {
	User, Name, Org string
}

// View shows the page.
func (s SignedIn) View() View { return View{Status: http.StatusOK, name: "signed_in.html", data: s} }

// Wait is a time to wait in words, rounded up: "30 seconds", "15 minutes".
func Wait(d time.Duration) string {
	count, unit := int(math.Ceil(d.Seconds())), "second"
	if d > time.Minute {
		count, unit = int(math.Ceil(d.Minutes())), "minute"
	}
	if count <= 1 {
		return "1 " + unit
	}
	return fmt.Sprintf("%d %ss", count, unit)
}

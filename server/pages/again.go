package pages

import (
	"cmp"
	"net/http"
)

// Again asks who is signed in for their password, before something dangerous.
type Again struct {
	Form
	Status  int    // 200 where zero
	User    string // the e-mail of who is signed in
	Problem string // what was wrong with the last try
	Proof   *Proof // what is asked for besides the password; nil: nothing
}

// View shows the page.
func (a Again) View() View {
	return View{Status: cmp.Or(a.Status, http.StatusOK), name: "again.html", data: a, proof: a.Proof}
}

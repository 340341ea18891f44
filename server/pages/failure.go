package pages

// Failure is a page that says that something cannot go on, and no more than
// helps: it never leads to another site.
type Failure struct {
	Status  int
	Code    string // for programs and for people who ask for help: "invalid_request"
	Text    string // one sentence
	Request string // the request id
	Retry   string // how long to wait in words; empty: waiting does not help
}

// View shows the page.
func (f Failure) View() View { return View{Status: f.Status, name: "error.html", data: f} }

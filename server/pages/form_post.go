package pages

import "net/http"

// FormPost carries an authorization response to a client in a form that sends
// itself (OAuth 2.0 Form Post Response Mode). Without scripts there is a button.
type FormPost struct {
	Action string // the redirect URI, which was proved to be the client's
	Host   string
	Fields []Field
}

// Field is one hidden field.
type Field struct{ Name, Value string }

// View shows the page. Its form can go to the client and nowhere else.
func (f FormPost) View() View {
	return View{Status: http.StatusOK, name: "form_post.html", data: f, sends: sources(f.Action), script: true, only: true}
}

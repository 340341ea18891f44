package pages

import (
	"html/template"
	"net/http"
	"net/url"
)

// LogOut asks whether to log out.
type LogOut struct {
	Form
	User string // who is logged in; may be empty
}

// View shows the page.
func (l LogOut) View() View { return View{Status: http.StatusOK, name: "logout.html", data: l} }

// LoggedOut says that nobody is logged in any more. It tells applications so
// in hidden frames (OpenID Connect Front-Channel Logout 1.0 §3), and then goes
// on where there is an address.
type LoggedOut struct {
	Frames   []string
	Redirect string // a post-logout redirect URI, proved to be registered; empty: none
}

// refreshAfter is how many seconds the frames get to load.
const refreshAfter = "2"

// View shows the page. It frames the origins of the frames and nothing else.
func (l LoggedOut) View() View {
	data := struct {
		Frames  []string
		Refresh string       // the content of a refresh; empty: none
		Link    template.URL // registered, so that an application's own scheme is good too
		Host    string
	}{Frames: l.Frames}
	if l.Redirect != "" {
		data.Refresh, data.Link = refreshAfter+";url="+l.Redirect, template.URL(l.Redirect) //nolint:gosec // the client registered it
		if u, err := url.Parse(l.Redirect); err == nil {
			data.Host = u.Host
		}
	}
	return View{Status: http.StatusOK, name: "logout_done.html", data: data, frames: sources(l.Frames...)}
}

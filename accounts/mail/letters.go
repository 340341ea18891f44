package mail

import (
	"embed"
	"fmt"
	html "html/template"
	"strings"
	text "text/template"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
)

//go:embed templates
var templates embed.FS

var (
	texts = text.Must(text.ParseFS(templates, "templates/*.txt"))
	htmls = html.Must(html.ParseFS(templates, "templates/*.html"))
)

// words are a letter in both forms.
type words struct{ subject, text, html string }

// lockView is what the letter about a lock says.
type lockView struct {
	Service string
	Account string
	Device  bool   // it was a device of the owner's
	Session bool   // it was in a session of the owner's
	Pool    bool   // everything but known devices is locked
	Source  string // empty where unknown
	At      string
	Until   string
	Link    string
	Expires string
}

func (s *Sender) lockWords(l accounts.LockLetter) (words, error) {
	v := lockView{
		Service: s.Service, Account: l.To, Device: l.Scope == accounts.LockedDevice, Session: l.Scope == accounts.LockedSession,
		Pool: l.Scope == accounts.LockedPool, At: moment(l.At), Until: moment(l.Until), Link: l.Link, Expires: moment(l.Expires),
	}
	if l.Source.IsValid() {
		v.Source = l.Source.String()
	}
	w := words{subject: "Too many wrong passwords at " + s.Service}
	var t, h strings.Builder
	if err := texts.ExecuteTemplate(&t, "login_locked.txt", v); err != nil {
		return words{}, fmt.Errorf("login_locked.txt: %w", err)
	}
	if err := htmls.ExecuteTemplate(&h, "login_locked.html", v); err != nil {
		return words{}, fmt.Errorf("login_locked.html: %w", err)
	}
	w.text, w.html = t.String(), h.String()
	return w, nil
}

// moment is a time as people read it, in the one zone that needs no guess.
func moment(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04 UTC") }

package settings

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/server/console/shell"
	"github.com/tokenhouse/tokenhouse/tokens"
)

// listSessions serves GET /settings/sessions.
func (p Pages) listSessions(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	ask, err := v.Ask()
	if err != nil {
		return shell.Reply{}, err
	}
	found, err := p.Sessions.Sessions(ctx, v.Caller, ask)
	if err != nil {
		return shell.Reply{}, err
	}
	below, err := p.Sessions.Delegated(ctx, v.Caller, found)
	if err != nil {
		return shell.Reply{}, err
	}
	names, err := p.Clients.Names(ctx, slices.Concat(append(slices.Collect(maps.Values(below)), found)...))
	if err != nil {
		return shell.Reply{}, err
	}
	found, paging := shell.Paged(v, found, func(f tokens.Family) string { return string(f.ID) })
	t := shell.Table{
		Caption: "Where you are signed in", Columns: []string{"Device", "Address", "Signed in", "Last seen"}, Paging: paging,
		Empty: shell.Empty{Title: "Nowhere else", Text: "You are signed in in this browser only."},
	}
	for _, f := range found {
		t.Rows = append(t.Rows, sessionRow(f, v.Caller.Session, names, below[f.ID]))
	}
	view := shell.View{Title: "Sessions", Lead: "Where you are signed in. End what you do not know, and change your password."}
	view.Actions = []shell.Link{{Text: "End all others", To: othersPath, Danger: true}}
	return shell.ShowTable(view, t), nil
}

func sessionRow(f tokens.Family, present ident.SessionID, names map[ident.ClientID]string, below []tokens.Family) shell.Row {
	device := shell.Cell{Text: deviceOf(f.Seen.UserAgent)}
	switch {
	case f.ID == present:
		device.Soft = "This browser"
	case f.IsDelegated():
		device.Soft = "Allowed to " + cmp.Or(names[f.Client], string(f.Client))
	}
	if apps := appNames(below, names); apps != "" {
		device.Soft = strings.TrimPrefix(device.Soft+" · signed in to "+apps, " · ")
	}
	r := shell.Row{ID: string(f.ID), Cells: []shell.Cell{device, addressCell(f), shell.When(f.CreatedAt, ""), shell.When(f.Seen.At, "not yet")}}
	if f.ID != present {
		r.Actions = []shell.Link{{Text: "End", To: sessionsPath + "/" + string(f.ID) + "/end", Danger: true}}
	}
	return r
}

func addressCell(f tokens.Family) shell.Cell {
	if !f.Seen.IP.IsValid() {
		return shell.Text("unknown")
	}
	return shell.Code(f.Seen.IP.String())
}

// appNames are the applications that a browser's session was signed in to, each once.
func appNames(below []tokens.Family, names map[ident.ClientID]string) string {
	var out []string
	for _, f := range below {
		if name := cmp.Or(names[f.Client], string(f.Client)); !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return strings.Join(out, ", ")
}

// askOthers serves GET /settings/sessions/end-others.
func (p Pages) askOthers(_ context.Context, v shell.Visit) (shell.Reply, error) {
	f := v.Post(othersPath)
	f.Submit, f.Cancel = "End all others", sessionsPath
	return shell.ShowConfirm(shell.Confirm{
		Title: "End all other sessions?", Lead: "You stay signed in here, and are signed out everywhere else, in every organisation.",
		Effects: []string{"Connected apps that you signed in to from there are signed out too.", "Your API keys go on working."},
		Form:    f, Back: shell.Link{Text: "Sessions", To: sessionsPath},
	}), nil
}

// endOthers serves POST /settings/sessions/end-others.
func (p Pages) endOthers(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	n, err := p.Sessions.RevokeOthers(ctx, v.Caller, false)
	if err != nil {
		return shell.Reply{}, err
	}
	notice := shell.Count(int64(n)) + " sessions were ended."
	if n == 1 {
		notice = "One session was ended."
	}
	return shell.To(sessionsPath, notice), nil
}

// askSession serves GET /settings/sessions/:id/end.
func (p Pages) askSession(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	id, err := ident.ParseSessionID(v.Param("id"))
	if err != nil {
		return shell.Reply{}, fault.Wrap(err, fault.NotFound, "")
	}
	s, err := p.Sessions.OwnSession(ctx, v.Caller, id)
	if err != nil {
		return shell.Reply{}, err
	}
	f := v.Post(sessionsPath + "/" + string(id) + "/end")
	f.Submit, f.Cancel = "End session", sessionsPath
	return shell.ShowConfirm(shell.Confirm{
		Title: "End this session?", Lead: "Whoever uses it is signed out at once.",
		Facts: []shell.Fact{
			{Label: "Device", Cell: shell.Text(deviceOf(s.Seen.UserAgent))}, {Label: "Address", Cell: addressCell(s)},
			{Label: "Signed in", Cell: shell.When(s.CreatedAt, "")}, {Label: "Last seen", Cell: shell.When(s.Seen.At, "not yet")},
		},
		Form: f, Back: shell.Link{Text: "Sessions", To: sessionsPath},
	}), nil
}

// endSession serves POST /settings/sessions/:id/end. Other people's sessions are
// not here, whatever one may do to them.
func (p Pages) endSession(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	id, err := ident.ParseSessionID(v.Param("id"))
	if err != nil {
		return shell.Reply{}, fault.Wrap(err, fault.NotFound, "")
	}
	if _, err := p.Sessions.OwnSession(ctx, v.Caller, id); err != nil {
		return shell.Reply{}, err
	}
	if err := p.Sessions.RevokeSession(ctx, v.Caller, id); err != nil {
		return shell.Reply{}, err
	}
	return shell.To(sessionsPath, "The session was ended."), nil
}

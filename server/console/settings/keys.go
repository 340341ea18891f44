package settings

import (
	"cmp"
	"context"
	"strings"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
	"github.com/tokenhouse/tokenhouse/server/console/shell"
)

// listKeys serves GET /settings/api-keys: the keys whose owner one is, with one
// status where it is asked for.
func (p Pages) listKeys(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	ask, err := v.Ask()
	if err != nil {
		return shell.Reply{}, err
	}
	wanted := apikeys.Filter{Owner: v.Caller.User, Status: apikeys.Status(v.Form.Get("status"))}
	found, err := p.Keys.Find(ctx, v.Caller, wanted, ask)
	if err != nil {
		return shell.Reply{}, err
	}
	found, paging := shell.Paged(v, found, func(k apikeys.Key) string { return string(k.ID) })
	t := shell.Table{Caption: "Your API keys", Columns: []string{"Name", "Status", "Last used", "Expires"}, Paging: paging}
	view := shell.View{Title: "API Keys", Lead: "For programs that act for you: each may do what you choose, and no more than you may."}
	if v.Caller.May(accounts.APIKeysCreate) {
		view.Actions = []shell.Link{{Text: "Create Key", To: newKeyPath, Main: true}}
	}
	t.Empty = shell.Empty{Title: "No API keys yet", Text: "Create one for each program, so that you can revoke one without the others."}
	if wanted.Status != "" {
		t.Empty = shell.Empty{Title: "No such keys", Text: "None of your keys has that status.", Action: shell.Link{Text: "Show all", To: keysPath}}
	}
	for _, k := range found {
		row, err := p.keyRow(ctx, v, k)
		if err != nil {
			return shell.Reply{}, err
		}
		t.Rows = append(t.Rows, row)
	}
	view.Data, view.Form = t, statusFilter(wanted.Status)
	return templates.Show("keys.html", view), nil
}

func statusFilter(now apikeys.Status) shell.Form {
	status := shell.Field{Name: "status", Label: "Status", Kind: "select", Choices: []shell.Choice{{Value: "", Label: "Any", Chosen: now == ""}}}
	for _, s := range []apikeys.Status{apikeys.Active, apikeys.RotationDue, apikeys.Quarantined, apikeys.Expired, apikeys.Revoked} {
		status.Choices = append(status.Choices, shell.Choice{Value: string(s), Label: statusWords[s].text, Chosen: s == now})
	}
	return shell.Form{Action: keysPath, Get: true, Submit: "Show", Fields: []shell.Field{status}}
}

var statusWords = map[apikeys.Status]struct{ text, tone string }{
	apikeys.Active: {"Active", "good"}, apikeys.RotationDue: {"Rotation due", "wait"}, apikeys.OwnerInactive: {"Owner inactive", "bad"},
	apikeys.Quarantined: {"Held back: it leaked", "bad"}, apikeys.Expired: {"Expired", "plain"}, apikeys.Revoked: {"Revoked", "bad"},
}

func (p Pages) keyRow(ctx context.Context, v shell.Visit, k apikeys.Key) (shell.Row, error) {
	status, err := p.statusCell(ctx, v, k)
	name := shell.Cell{Text: k.Name, Link: keyPath(k, ""), Soft: k.Hint(), Long: true}
	expires := shell.When(k.ExpiresAt, "never")
	r := shell.Row{ID: string(k.ID), Cells: []shell.Cell{name, status, shell.When(k.LastUsed.At, "never"), expires}, Actions: keyActions(v, k)}
	return r, err
}

// keyActions are what one may do with a key that has not ended.
func keyActions(v shell.Visit, k apikeys.Key) []shell.Link {
	var out []shell.Link
	if k.Status == apikeys.Revoked {
		return nil
	}
	if k.Status != apikeys.Expired && v.Caller.May(accounts.APIKeysRotate) {
		out = append(out, shell.Link{Text: "Rotate", To: keyPath(k, "/rotate")})
	}
	if v.Caller.May(accounts.APIKeysRevoke) {
		out = append(out, shell.Link{Text: "Revoke", To: keyPath(k, "/revoke"), Danger: true})
	}
	return out
}

func keyPath(k apikeys.Key, what string) string { return keysPath + "/" + string(k.ID) + what }

// statusCell says what a key is; of a revoked one also since when and by whom.
func (p Pages) statusCell(ctx context.Context, v shell.Visit, k apikeys.Key) (shell.Cell, error) {
	word := statusWords[k.Status]
	c := shell.Badge(cmp.Or(word.text, string(k.Status)), cmp.Or(word.tone, "plain"))
	if k.Status != apikeys.Revoked {
		return c, nil
	}
	who, err := p.who(ctx, v, k.RevokedBy)
	c.Time, c.Soft = k.RevokedAt, "by "+who
	return c, err
}

// who says in words who an identifier of the log is.
func (p Pages) who(ctx context.Context, v shell.Visit, id string) (string, error) {
	switch {
	case id == string(v.Caller.User):
		return "you", nil
	case id == "leak-report":
		return "a report that it leaked", nil
	case id == string(ident.Operator):
		return "the operator", nil
	case strings.HasPrefix(id, "key_"):
		return "an API key", nil
	}
	user, err := ident.ParseOwnerID(id)
	if err != nil {
		return "somebody", nil
	}
	s, err := p.Directory.Standing(ctx, user, v.Caller.Org)
	return cmp.Or(s.Name, s.Email, "somebody who has left"), err
}

// ownKey finds the key of the path, which is the visitor's own. Other people's are
// not here, whatever one may do to them.
func (p Pages) ownKey(ctx context.Context, v shell.Visit) (apikeys.Key, error) {
	id, err := ident.ParseAPIKeyID(v.Param("id"))
	if err != nil {
		return apikeys.Key{}, fault.Wrap(err, fault.NotFound, "")
	}
	k, err := p.Keys.Get(ctx, v.Caller, id)
	if err != nil {
		return apikeys.Key{}, err
	}
	if k.Owner != v.Caller.User {
		return apikeys.Key{}, fault.NotFound
	}
	return k, nil
}

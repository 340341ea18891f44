package organization

import (
	"cmp"
	"context"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
	"github.com/tokenhouse/tokenhouse/server/console/shell"
)

// APIKeys finds and ends the API keys of everybody: apikeys.Service.
type APIKeys interface {
	Find(ctx context.Context, caller ident.Caller, f apikeys.Filter, p ident.Page) ([]apikeys.Key, error)
	Get(ctx context.Context, caller ident.Caller, id ident.APIKeyID) (apikeys.Key, error)
	Revoke(ctx context.Context, caller ident.Caller, id ident.APIKeyID) error
}

// Directory tells who somebody is: accounts.Directory.
type Directory interface {
	Standing(ctx context.Context, user ident.UserID, org ident.OrgID) (accounts.Standing, error)
}

const (
	keysPath   = "/console/api-keys"
	fieldOwner = "owner"
)

func (p Pages) keyRoutes() []shell.Route {
	return []shell.Route{
		{Method: "GET", Path: keysPath, Need: accounts.APIKeysManage, Serve: p.listKeys},
		{Method: "GET", Path: keysPath + "/:id/revoke", Need: accounts.APIKeysManage, Fresh: true, Serve: p.askRevokeKey},
		{Method: "POST", Path: keysPath + "/:id/revoke", Need: accounts.APIKeysManage, Fresh: true, Serve: p.revokeKey},
	}
}

// keyStates are the states of a key as people read them, in the order of the filter.
var keyStates = []struct {
	status apikeys.Status
	cell   shell.Cell
}{
	{apikeys.Active, shell.Badge("Active", "good")}, {apikeys.RotationDue, shell.Badge("Rotation due", "wait")},
	{apikeys.OwnerInactive, shell.Badge("Owner inactive", "bad")}, {apikeys.Quarantined, shell.Badge("Held back: it leaked", "bad")},
	{apikeys.Expired, shell.Badge("Expired", "plain")}, {apikeys.Revoked, shell.Badge("Revoked", "bad")},
}

func keyState(s apikeys.Status) shell.Cell {
	for _, k := range keyStates {
		if k.status == s {
			return k.cell
		}
	}
	return shell.Text(string(s))
}

// listKeys serves GET /console/api-keys: every key of the organisation, or those of
// one owner or status.
func (p Pages) listKeys(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	ask, err := v.Ask()
	if err != nil {
		return shell.Reply{}, err
	}
	wanted := apikeys.Filter{Status: apikeys.Status(v.Form.Get(fieldStatus))}
	if owner := v.Form.Get(fieldOwner); owner != "" {
		if wanted.Owner, err = ident.ParseOwnerID(owner); err != nil {
			return shell.Reply{}, fault.Wrap(err, fault.NotFound, "The organisation has no such owner of keys.")
		}
	}
	found, err := p.Keys.Find(ctx, v.Caller, wanted, ask)
	if err != nil {
		return shell.Reply{}, err
	}
	found, paging := shell.Paged(v, found, func(k apikeys.Key) string { return string(k.ID) })
	t := shell.Table{
		Caption: "API keys", Columns: []string{"Name", "Owner", "State", "Last used", "Expires"}, Paging: paging,
		Empty: shell.Empty{Title: "No API keys", Text: "Members make keys in their settings; keys of service accounts are made over the API."},
	}
	if wanted != (apikeys.Filter{}) {
		t.Empty = shell.Empty{Title: "No such keys", Text: "No key of the organisation is like that.", Action: shell.Link{Text: "Show all", To: keysPath}}
	}
	for _, k := range found {
		row, err := p.keyRow(ctx, v, k)
		if err != nil {
			return shell.Reply{}, err
		}
		t.Rows = append(t.Rows, row)
	}
	return templates.Show("api_keys.html", shell.View{
		Title: "All API keys", Lead: "Those of all members and service accounts. They stop working at once when revoked.", Form: keyFilter(v, wanted), Data: t,
	}), nil
}

func keyFilter(v shell.Visit, now apikeys.Filter) shell.Form {
	state := shell.Field{Name: fieldStatus, Label: "State", Kind: "select", Choices: []shell.Choice{{Label: "Any", Chosen: now.Status == ""}}}
	for _, k := range keyStates {
		if k.status != apikeys.OwnerInactive { // which no list is asked for
			state.Choices = append(state.Choices, shell.Choice{Value: string(k.status), Label: k.cell.Text, Chosen: k.status == now.Status})
		}
	}
	return shell.Form{Action: keysPath, Get: true, Submit: "Show", Fields: []shell.Field{{Name: fieldOwner, Kind: "hidden", Value: v.Form.Get(fieldOwner)}, state}}
}

func (p Pages) keyRow(ctx context.Context, v shell.Visit, k apikeys.Key) (shell.Row, error) {
	owner, err := p.Directory.Standing(ctx, k.Owner, v.Caller.Org)
	r := shell.Row{ID: string(k.ID), Cells: []shell.Cell{
		{Text: k.Name, Soft: k.Hint(), Long: true}, {Text: cmp.Or(owner.Name, owner.Email, "somebody who has left"), Long: true}, keyState(k.Status),
		shell.When(k.LastUsed.At, "never"), shell.When(k.ExpiresAt, "never"),
	}}
	if k.Status != apikeys.Revoked {
		r.Actions = []shell.Link{{Text: "Revoke", To: keyPath(k, "/revoke"), Danger: true}}
	}
	return r, err
}

func keyPath(k apikeys.Key, what string) string { return keysPath + "/" + string(k.ID) + what }

// key reads the key of the path.
func (p Pages) key(ctx context.Context, v shell.Visit) (apikeys.Key, error) {
	id, err := ident.ParseAPIKeyID(v.Param("id"))
	if err != nil {
		return apikeys.Key{}, fault.Wrap(err, fault.NotFound, "The organisation has no such API key.")
	}
	return p.Keys.Get(ctx, v.Caller, id)
}

func keyRevocation(v shell.Visit, k apikeys.Key) shell.Confirm {
	f := v.Post(keyPath(k, "/revoke"))
	f.Submit, f.Cancel = "Revoke key", keysPath
	return shell.Confirm{
		Title: "Revoke " + k.Name + "?", Lead: "Whoever uses it is refused at once. This cannot be undone.", Effects: []string{"Keys that it made end with it."},
		Facts: []shell.Fact{
			{Label: "Key", Cell: shell.Code(k.Hint())}, {Label: "May", Cell: shell.Cell{Text: scope.Of(k.Permissions...).String(), Long: true}},
			{Label: "Last used", Cell: shell.When(k.LastUsed.At, "never")},
		},
		Form: f, Back: shell.Link{Text: "All API keys", To: keysPath},
	}
}

// askRevokeKey serves GET /console/api-keys/:id/revoke.
func (p Pages) askRevokeKey(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	k, err := p.key(ctx, v)
	if err != nil {
		return shell.Reply{}, err
	}
	if k.Status == apikeys.Revoked {
		return shell.To(keysPath, k.Name+" is revoked already."), nil
	}
	return shell.ShowConfirm(keyRevocation(v, k)), nil
}

// revokeKey serves POST /console/api-keys/:id/revoke.
func (p Pages) revokeKey(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	k, err := p.key(ctx, v)
	if err != nil {
		return shell.Reply{}, err
	}
	if err := p.Keys.Revoke(ctx, v.Caller, k.ID); err != nil {
		c := keyRevocation(v, k)
		c.Problem = err
		return shell.ShowConfirm(c), nil
	}
	return shell.To(keysPath, k.Name+" was revoked."), nil
}

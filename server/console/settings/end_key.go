package settings

import (
	"context"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
	"github.com/tokenhouse/tokenhouse/server/console/shell"
)

// graces are how long the old value may go on working.
var graces = []struct {
	life time.Duration
	text string
}{
	{24 * time.Hour, "For 24 hours more"}, {time.Hour, "For one hour more"}, {7 * 24 * time.Hour, "For 7 days more"},
	{apikeys.MaxGrace, "For 30 days more"}, {0, "Not any more: it is known to somebody"},
}

// askRotation serves GET /settings/api-keys/:id/rotate.
func (p Pages) askRotation(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	k, err := p.ownKey(ctx, v)
	if err != nil {
		return shell.Reply{}, err
	}
	if k.Status == apikeys.Revoked || k.Status == apikeys.Expired {
		return shell.To(keyPath(k, ""), ""), nil
	}
	return shell.ShowConfirm(rotation(v, k)), nil
}

func rotation(v shell.Visit, k apikeys.Key) shell.Confirm {
	f := v.Post(keyPath(k, "/rotate"))
	f.Submit, f.Cancel = "Rotate key", keyPath(k, "")
	grace := shell.Field{Name: "grace", Label: "The old value works", Kind: "select", Required: true}
	for i, g := range graces {
		grace.Choices = append(grace.Choices, shell.Choice{Value: g.life.String(), Label: g.text, Chosen: i == 0})
	}
	f.Fields = []shell.Field{grace}
	return shell.Confirm{
		Title: "Rotate " + k.Name + "?", Lead: "It gets another value, which is shown once. Its permissions, networks and expiry stay.",
		Facts: []shell.Fact{{Label: "Now", Cell: shell.Code(k.Hint())}, {Label: "Last used", Cell: lastUse(k.LastUsed)}},
		Form:  f, Back: shell.Link{Text: k.Name, To: keyPath(k, "")}, Harmless: true,
	}
}

// rotateKey serves POST /settings/api-keys/:id/rotate, and shows the new value for
// the only time.
func (p Pages) rotateKey(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	k, err := p.ownKey(ctx, v)
	if err != nil {
		return shell.Reply{}, err
	}
	grace, err := time.ParseDuration(v.Form.Get("grace"))
	if err != nil {
		err = fault.Refuse("grace", "must be one of the choices")
	}
	if err == nil {
		rotated, value, failed := p.Keys.Rotate(ctx, v.Caller, k.ID, grace)
		if failed == nil {
			lead := "The old value does not work any more."
			if grace > 0 {
				lead = "The old value works until " + v.Now.Add(grace).UTC().Format("2 Jan 2006, 15:04") + " UTC."
			}
			return p.showValue("Key rotated", lead, rotated, value), nil
		}
		err = failed
	}
	c := rotation(v, k)
	c.Problem = err
	return shell.ShowConfirm(c), nil
}

// askRevocation serves GET /settings/api-keys/:id/revoke.
func (p Pages) askRevocation(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	k, err := p.ownKey(ctx, v)
	if err != nil {
		return shell.Reply{}, err
	}
	if k.Status == apikeys.Revoked {
		return shell.To(keyPath(k, ""), ""), nil
	}
	f := v.Post(keyPath(k, "/revoke"))
	f.Submit, f.Cancel = "Revoke key", keysPath
	return shell.ShowConfirm(shell.Confirm{
		Title: "Revoke " + k.Name + "?", Lead: "Whoever uses it is refused at once. This cannot be undone.",
		Effects: []string{"Keys that it made end with it."},
		Facts: []shell.Fact{
			{Label: "Key", Cell: shell.Code(k.Hint())}, {Label: "May", Cell: shell.Text(words(k.Permissions))}, {Label: "Last used", Cell: lastUse(k.LastUsed)},
		},
		Form: f, Back: shell.Link{Text: "API Keys", To: keysPath},
	}), nil
}

// revokeKey serves POST /settings/api-keys/:id/revoke.
func (p Pages) revokeKey(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	k, err := p.ownKey(ctx, v)
	if err != nil {
		return shell.Reply{}, err
	}
	if err := p.Keys.Revoke(ctx, v.Caller, k.ID); err != nil {
		return shell.Reply{}, err
	}
	return shell.To(keysPath, k.Name+" was revoked."), nil
}

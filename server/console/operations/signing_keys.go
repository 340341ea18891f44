package operations

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/keys/signing"
	"github.com/tokenhouse/tokenhouse/server/console/shell"
)

// SigningKeys are the keys that sign every organisation's tokens: signing.Ring.
type SigningKeys interface {
	Keys(ctx context.Context) ([]signing.Key, error)
	SignsWith() []string
	Rotate(ctx context.Context, by ident.Caller, named ...string) ([]signing.Key, error)
	RotateNow(ctx context.Context, by ident.Caller, named ...string) ([]signing.Key, error)
	Revoke(ctx context.Context, by ident.Caller, id string) error
}

const signingPath = "/console/signing-keys"

// everyAlgorithm is chosen where the keys of every one are meant.
const everyAlgorithm = "every"

// states say what a key's state means.
var states = map[signing.State]struct{ text, tone, soft string }{
	signing.Published: {"published", "wait", "Next: verifiers learn it before it signs"},
	signing.Active:    {"active", "good", "Signs"},
	signing.Retiring:  {"retiring", "plain", "Signs no more; what it signed is still good"},
	signing.Revoked:   {"revoked", "bad", "What it signed is refused"},
}

// mayManage reports whether the visitor may change the keys, which are the whole
// deployment's.
func (p Pages) mayManage(ctx context.Context, caller ident.Caller) (bool, error) {
	if !caller.May(accounts.SigningKeysManage) {
		return false, nil
	}
	err := p.Deployment.JudgeDeployment(ctx, caller)
	if errors.Is(err, fault.InsufficientPermissions) {
		return false, nil
	}
	return err == nil, err
}

func (p Pages) signingKeys(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	keys, err := p.Keys.Keys(ctx)
	if err != nil {
		return shell.Reply{}, err
	}
	may, err := p.mayManage(ctx, v.Caller)
	if err != nil {
		return shell.Reply{}, err
	}
	view := shell.View{Title: "Signing keys", Lead: "They sign the tokens of every organisation of this deployment, and are replaced by themselves."}
	if may {
		view.Actions = []shell.Link{{Text: "Rotate keys", To: signingPath + "/rotate"}}
	} else {
		view.Lead += " Only the organisation that runs the deployment can change them."
	}
	t := shell.Table{Caption: "Signing keys", Columns: []string{"Key ID", "Algorithm", "State", "Made", "Signs since", "Retired"}}
	for _, k := range slices.Backward(keys) {
		s := states[k.State]
		state := shell.Badge(s.text, s.tone)
		state.Soft = s.soft
		row := shell.Row{Cells: []shell.Cell{
			{Text: k.ID, Code: true, Long: true}, shell.Text(k.Algorithm), state, shell.When(k.CreatedAt, ""), shell.When(k.ActivatedAt, "Not yet"), shell.When(k.RetiredAt, "Not yet"),
		}}
		if may && k.State != signing.Revoked {
			row.Actions = []shell.Link{{Text: "Revoke", To: signingPath + "/" + k.ID + "/revoke", Danger: true}}
		}
		t.Rows = append(t.Rows, row)
	}
	return shell.ShowTable(view, t), nil
}

func (p Pages) rotateKeysForm(v shell.Visit) shell.Confirm {
	f := v.Post(signingPath + "/rotate")
	f.Submit, f.Cancel = "Rotate keys", signingPath
	algorithm := shell.Field{Name: "algorithm", Label: "Which keys", Kind: "select", Required: true, Choices: []shell.Choice{{Value: everyAlgorithm, Label: "Those of every algorithm", Chosen: true}}}
	for _, alg := range p.Keys.SignsWith() {
		algorithm.Choices = append(algorithm.Choices, shell.Choice{Value: alg, Label: alg})
	}
	f.Fields = []shell.Field{algorithm, {
		Name: "immediately", Label: "Sign with the new keys at once", Kind: "checkbox",
		Hint: "Verifiers that keep our keys for some minutes refuse new tokens until they ask again. Without it the new keys are published first and sign a few minutes later.",
	}}
	return shell.Confirm{
		Title: "Rotate the signing keys?", Lead: "New keys take the place of those that sign. Nobody is signed out: what the old keys signed stays good until it expires.",
		Form: f, Back: shell.Link{Text: "Signing keys", To: signingPath}, Harmless: true,
	}
}

func (p Pages) askRotateKeys(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	if err := p.Deployment.JudgeDeployment(ctx, v.Caller); err != nil {
		return shell.Reply{}, err
	}
	return shell.ShowConfirm(p.rotateKeysForm(v)), nil
}

func (p Pages) rotateKeys(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	if err := p.Deployment.JudgeDeployment(ctx, v.Caller); err != nil {
		return shell.Reply{}, err
	}
	var named []string
	if alg := v.Form.Get("algorithm"); alg != "" && alg != everyAlgorithm {
		named = []string{alg}
	}
	rotate, notice := p.Keys.Rotate, "The next keys are published, and will sign in a few minutes."
	if v.Form.Has("immediately") {
		rotate, notice = p.Keys.RotateNow, "The new keys sign from now on."
	}
	if _, err := rotate(ctx, v.Caller, named...); err != nil {
		c := p.rotateKeysForm(v)
		c.Problem = err
		return shell.ShowConfirm(c), nil
	}
	return shell.To(signingPath, notice), nil
}

func (p Pages) askRevokeKey(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	if err := p.Deployment.JudgeDeployment(ctx, v.Caller); err != nil {
		return shell.Reply{}, err
	}
	keys, err := p.Keys.Keys(ctx)
	if err != nil {
		return shell.Reply{}, err
	}
	i := slices.IndexFunc(keys, func(k signing.Key) bool { return k.ID == v.Param("id") })
	if i < 0 {
		return shell.Reply{}, fault.New(fault.NotFound, "There is no such key.")
	}
	k := keys[i]
	f := v.Post(signingPath + "/" + k.ID + "/revoke")
	f.Submit, f.Cancel = "Revoke key", signingPath
	c := shell.Confirm{
		Title: "Revoke this signing key?", Lead: "Do this where somebody else may have the key. To replace a key that nobody has, rotate it.",
		Effects: []string{"Every token that it signed is refused, in every organisation, by us at once and by others as soon as they fetch our keys again.", "People go on with their sessions and get new tokens; programs that keep tokens ask for new ones."},
		Facts:   []shell.Fact{{Label: "Key ID", Cell: shell.Cell{Text: k.ID, Code: true, Long: true}}, {Label: "Algorithm", Cell: shell.Text(k.Algorithm)}, {Label: "State", Cell: shell.Badge(states[k.State].text, states[k.State].tone)}},
		Form:    f, Back: shell.Link{Text: "Signing keys", To: signingPath},
	}
	if k.State == signing.Active {
		c.Effects = append(c.Effects, "Another key signs in its place at once, which verifiers may not know for some minutes.")
	}
	return shell.ShowConfirm(c), nil
}

func (p Pages) revokeKey(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	if err := p.Deployment.JudgeDeployment(ctx, v.Caller); err != nil {
		return shell.Reply{}, err
	}
	id := v.Param("id")
	if err := p.Keys.Revoke(ctx, v.Caller, id); err != nil {
		return shell.Reply{}, err
	}
	return shell.To(signingPath, "The key "+strings.TrimSpace(id[:min(8, len(id))])+"… was revoked."), nil
}

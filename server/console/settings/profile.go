package settings

import (
	"context"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/server/console/shell"
)

// showProfile serves GET /settings.
func (p Pages) showProfile(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	view, err := p.profile(ctx, v)
	return templates.Show("profile.html", view), err
}

func (p Pages) profile(ctx context.Context, v shell.Visit) (shell.View, error) {
	self, err := p.People.Self(ctx, v.Caller)
	if err != nil {
		return shell.View{}, err
	}
	here, err := p.Directory.Standing(ctx, v.Caller.User, v.Caller.Org)
	if err != nil {
		return shell.View{}, err
	}
	f := v.Post(profilePath)
	f.Submit = "Save name"
	f.Fields = []shell.Field{{
		Name: "name", Label: "Name", Value: self.Name, Max: 200, Autocomplete: "name",
		Hint: "What other people and connected apps see. Every organisation that you belong to sees the same.",
	}}
	facts := []shell.Fact{
		{Label: "E-mail", Cell: shell.Text(self.Email)},
		{Label: "Organisation", Cell: shell.Text(here.OrgName)},
		{Label: "Role", Cell: shell.Text(here.Role)},
		{Label: "Account made", Cell: shell.When(self.CreatedAt, "")},
		{Label: "Password changed", Cell: shell.When(self.PasswordChangedAt, "never")},
		{Label: "User ID", Cell: shell.Code(string(self.ID))},
	}
	return shell.View{Title: "Profile", Lead: "Who you are here.", Form: f, Data: facts, Narrow: true}, nil
}

// changeName serves POST /settings.
func (p Pages) changeName(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	if _, err := p.People.ChangeName(ctx, v.Caller, v.Form.Get("name")); err != nil {
		view, failed := p.profile(ctx, v)
		view.Problem = err
		return templates.Show("profile.html", view), failed
	}
	return shell.To(profilePath, "Your name was saved."), nil
}

// showPassword serves GET /settings/password.
func (p Pages) showPassword(_ context.Context, v shell.Visit) (shell.Reply, error) {
	return shell.ShowForm(p.password(v)), nil
}

func (p Pages) password(v shell.Visit) shell.View {
	f := v.Post(passwordPath)
	f.Submit = "Change password"
	f.Fields = []shell.Field{
		{Name: "current_password", Label: "Current password", Kind: "password", Autocomplete: "current-password", Required: true, Max: accounts.MaxLength},
		{
			Name: "new_password", Label: "New password", Kind: "password", Autocomplete: "new-password", Required: true, Max: accounts.MaxLength, Extra: "strength",
			Hint: "At least " + shell.Count(int64(p.minLength())) + " characters. Several words that do not belong together are easy to keep in mind and hard to guess; spaces and every language are fine. Better still, let a password manager make one up.",
		},
	}
	return shell.View{
		Title: "Password", Lead: "Changing it signs you out everywhere else. Your API keys go on working.",
		Form: f, Scripts: []string{"password.js"}, Narrow: true,
	}
}

func (p Pages) minLength() int {
	if p.MinLength == 0 {
		return accounts.DefaultMinLength
	}
	return p.MinLength
}

// changePassword serves POST /settings/password.
func (p Pages) changePassword(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	err := p.People.ChangePassword(ctx, v.Caller, secret.Of(v.Form.Get("current_password")), secret.Of(v.Form.Get("new_password")))
	if err != nil {
		view := p.password(v)
		view.Problem = named(err, "current_password", "is wrong")
		return shell.ShowForm(view), nil
	}
	return shell.To(passwordPath, "Your password was changed, and you were signed out everywhere else."), nil
}

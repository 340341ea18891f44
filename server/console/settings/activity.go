package settings

import (
	"cmp"
	"context"
	"strconv"
	"strings"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/server/console/shell"
)

// listActivity serves GET /settings/activity: what the log of the organisation says
// of oneself.
func (p Pages) listActivity(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	ask, err := v.Ask()
	if err != nil {
		return shell.Reply{}, err
	}
	var before int64
	if ask.Before != "" {
		if before, err = strconv.ParseInt(ask.Before, 10, 64); err != nil {
			return shell.Reply{}, fault.InvalidCursor
		}
	}
	found, err := p.Trail.Own(ctx, v.Caller, before, ask.Limit)
	if err != nil {
		return shell.Reply{}, err
	}
	found, paging := shell.Paged(v, found, func(e audit.Event) string { return strconv.FormatInt(e.Seq, 10) })
	t := shell.Table{
		Caption: "Your activity", Columns: []string{"What", "When", "Who", "From"}, Paging: paging,
		Empty: shell.Empty{Title: "Nothing yet", Text: "What happens to your account is listed here."},
	}
	for _, e := range found {
		t.Rows = append(t.Rows, activityRow(e, v.Caller.User))
	}
	return shell.ShowTable(shell.View{
		Title: "Activity", Lead: "What the audit log of this organisation says of your account. If something was not you, change your password and end the other sessions.",
	}, t), nil
}

func activityRow(e audit.Event, self ident.UserID) shell.Row {
	what := shell.Cell{Text: cmp.Or(happened[e.Name], string(e.Name)), Soft: aboutWhat(e, self), Long: true}
	if e.Outcome != audit.Success {
		what.Soft = strings.TrimPrefix(what.Soft+" · not let through", " · ")
	}
	from := shell.Text("")
	if e.Origin.IP.IsValid() {
		from = shell.Cell{Text: e.Origin.IP.String(), Code: true, Soft: deviceOf(e.Origin.UserAgent)}
	}
	return shell.Row{Cells: []shell.Cell{what, shell.When(e.Time, ""), shell.Text(actorText(e.Actor, self)), from}}
}

// aboutWhat names the thing that something happened to, where it is not oneself.
func aboutWhat(e audit.Event, self ident.UserID) string {
	for _, t := range e.Targets {
		if t.ID != string(self) && t.Type != "session" {
			return cmp.Or(t.Name, t.ID)
		}
	}
	return ""
}

func actorText(a audit.Actor, self ident.UserID) string {
	switch {
	case a.ID == string(self):
		return "You"
	case a.Type == string(ident.Anonymous):
		return "Not signed in"
	case a.Type == "system":
		return "tokenhouse"
	case a.Type == string(ident.Operator):
		return "The operator"
	case a.Type == string(ident.APIKey):
		return "An API key"
	default:
		return cmp.Or(a.Name, a.ID)
	}
}

// happened says in words what happened to an account.
var happened = map[audit.Name]string{
	audit.LoginSucceeded: "Signed in", audit.LoginFailed: "Sign-in with a wrong password", audit.LoginLocked: "Sign-in locked: too many wrong passwords",
	audit.LoginRefused: "Sign-in refused while locked", audit.LoginUnlocked: "Sign-in unlocked", audit.UnlockLinkUsed: "Unlock link used",
	audit.UserRegistered: "Account made", audit.UserCreated: "Account made", audit.UserUpdated: "Name changed",
	audit.UserDisabled: "Account disabled", audit.UserEnabled: "Account enabled", audit.PasswordChanged: "Password changed",
	audit.PasswordRehashed: "Password stored in a stronger form", audit.OrgCreated: "Organisation made", audit.OrgUpdated: "Organisation changed",
	audit.MemberAdded: "Joined the organisation", audit.MemberRemoved: "Removed from the organisation", audit.MemberRoleSet: "Role changed",
	audit.RoleSet: "A role was set", audit.RoleDeleted: "A role was deleted",
	audit.SessionRefreshed: "Session went on", audit.SessionRevoked: "Session ended", audit.RefreshRefused: "Session refused",
	audit.RefreshReused: "Session ended: its token was stolen", audit.TokenRevoked: "Token revoked", audit.TokenExchanged: "Token exchanged",
	audit.APIKeyCreated: "API key created", audit.APIKeyUpdated: "API key changed", audit.APIKeyRotated: "API key rotated",
	audit.APIKeyRevoked: "API key revoked", audit.APIKeyLeaked: "API key leaked", audit.APIKeyQuarantined: "API key held back",
	audit.APIKeyReleased: "API key released", audit.APIKeyTransferred: "API key got another owner",
	audit.ServiceCreated: "Service account made", audit.ServiceUpdated: "Service account changed", audit.ServiceDeleted: "Service account deleted",
	audit.PermissionDenied: "Permission was lacking", audit.CrossOrgDenied: "Asked for something of another organisation",
	audit.ClientCreated: "Client made", audit.ClientUpdated: "Client changed", audit.ClientDeleted: "Client deleted", audit.ClientSecretRotated: "Secret of a client rotated",
	audit.AuthorizationGranted: "Signed in to an app", audit.AuthorizationDenied: "Sign-in to an app refused", audit.CodeRedeemed: "An app signed you in",
	audit.ConsentGranted: "App allowed", audit.ConsentWithdrawn: "App not allowed any more", audit.SetupCompleted: "Set-up completed",
	audit.WebhookCreated: "Webhook made", audit.WebhookUpdated: "Webhook changed", audit.WebhookDeleted: "Webhook deleted",
	audit.MailSent: "Mail sent to you", audit.MailFailed: "Mail to you failed",
}

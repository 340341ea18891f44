// Package settings is the pages of one's own account: who one is, the password,
// sessions, API keys, connected applications, and what the log says of oneself.
package settings

import (
	"context"
	"embed"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
	"github.com/tokenhouse/tokenhouse/oauth"
	"github.com/tokenhouse/tokenhouse/server/console/shell"
	"github.com/tokenhouse/tokenhouse/tokens"

	"time"
)

//go:embed templates
var files embed.FS

var templates = shell.MustParse(files)

// People is who somebody is: accounts.People.
type People interface {
	Self(ctx context.Context, c ident.Caller) (accounts.User, error)
	ChangeName(ctx context.Context, c ident.Caller, name string) (accounts.User, error)
	ChangePassword(ctx context.Context, c ident.Caller, current, next secret.Plain) error
}

// Directory tells what somebody is in an organisation: accounts.Directory.
type Directory interface {
	Standing(ctx context.Context, user ident.UserID, org ident.OrgID) (accounts.Standing, error)
}

// Sessions are logins: tokens.Service.
type Sessions interface {
	Sessions(ctx context.Context, c ident.Caller, p ident.Page) ([]tokens.Family, error)
	OwnSession(ctx context.Context, c ident.Caller, id ident.SessionID) (tokens.Family, error)
	Delegated(ctx context.Context, c ident.Caller, fs []tokens.Family) (map[ident.SessionID][]tokens.Family, error)
	RevokeSession(ctx context.Context, c ident.Caller, id ident.SessionID) error
	RevokeOthers(ctx context.Context, c ident.Caller, includeCurrent bool) (int, error)
}

// Clients tells what applications are called: oauth.Clients.
type Clients interface {
	Names(ctx context.Context, sessions []tokens.Family) (map[ident.ClientID]string, error)
}

// Consents is what somebody allowed applications: oauth.Consents.
type Consents interface {
	List(ctx context.Context, c ident.Caller) ([]oauth.GivenConsent, error)
	Withdraw(ctx context.Context, c ident.Caller, client ident.ClientID) error
}

// Keys are API keys: apikeys.Service.
type Keys interface {
	Find(ctx context.Context, c ident.Caller, f apikeys.Filter, p ident.Page) ([]apikeys.Key, error)
	Get(ctx context.Context, c ident.Caller, id ident.APIKeyID) (apikeys.Key, error)
	Create(ctx context.Context, c ident.Caller, n apikeys.New) (apikeys.Key, secret.Plain, error)
	Rotate(ctx context.Context, c ident.Caller, id ident.APIKeyID, grace time.Duration) (apikeys.Key, secret.Plain, error)
	Revoke(ctx context.Context, c ident.Caller, id ident.APIKeyID) error
	Usage(ctx context.Context, c ident.Caller, id ident.APIKeyID, sp apikeys.Span) (apikeys.Series, error)
	Policy(ctx context.Context, c ident.Caller) (apikeys.Policy, error)
}

// Trail is what the log says of oneself: audit.Trail.
type Trail interface {
	Own(ctx context.Context, c ident.Caller, before int64, limit int) ([]audit.Event, error)
}

// Pages are the pages of one's own account.
type Pages struct {
	People    People
	Directory Directory
	Sessions  Sessions
	Clients   Clients
	Consents  Consents
	Keys      Keys
	Trail     Trail
	MinLength int    // of a password, in characters
	Issuer    string // "https://tokens.example.com", for commands to copy
}

// Routes lists the pages.
func (p Pages) Routes() []shell.Route {
	return []shell.Route{
		{Method: "GET", Path: profilePath, Serve: p.showProfile},
		{Method: "POST", Path: profilePath, Serve: p.changeName},
		{Method: "GET", Path: passwordPath, Serve: p.showPassword},
		{Method: "POST", Path: passwordPath, Serve: p.changePassword},

		{Method: "GET", Path: sessionsPath, Serve: p.listSessions},
		{Method: "GET", Path: othersPath, Serve: p.askOthers},
		{Method: "POST", Path: othersPath, Serve: p.endOthers},
		{Method: "GET", Path: sessionsPath + "/:id/end", Serve: p.askSession},
		{Method: "POST", Path: sessionsPath + "/:id/end", Serve: p.endSession},

		{Method: "GET", Path: keysPath, Need: accounts.APIKeysRead, Serve: p.listKeys},
		{Method: "GET", Path: newKeyPath, Need: accounts.APIKeysCreate, Fresh: true, Serve: p.showNewKey},
		{Method: "POST", Path: newKeyPath, Need: accounts.APIKeysCreate, Fresh: true, Many: []string{"permissions"}, Serve: p.createKey},
		{Method: "GET", Path: keysPath + "/:id", Need: accounts.APIKeysRead, Serve: p.showKey},
		{Method: "GET", Path: keysPath + "/:id/rotate", Need: accounts.APIKeysRotate, Fresh: true, Serve: p.askRotation},
		{Method: "POST", Path: keysPath + "/:id/rotate", Need: accounts.APIKeysRotate, Fresh: true, Serve: p.rotateKey},
		{Method: "GET", Path: keysPath + "/:id/revoke", Need: accounts.APIKeysRevoke, Fresh: true, Serve: p.askRevocation},
		{Method: "POST", Path: keysPath + "/:id/revoke", Need: accounts.APIKeysRevoke, Fresh: true, Serve: p.revokeKey},

		{Method: "GET", Path: appsPath, Serve: p.listApps},
		{Method: "GET", Path: appsPath + "/:client_id/withdraw", Serve: p.askWithdrawal},
		{Method: "POST", Path: appsPath + "/:client_id/withdraw", Serve: p.withdraw},

		{Method: "GET", Path: activityPath, Serve: p.listActivity},
	}
}

const (
	profilePath  = "/settings"
	passwordPath = "/settings/password"
	sessionsPath = "/settings/sessions"
	othersPath   = "/settings/sessions/end-others"
	keysPath     = "/settings/api-keys"
	newKeyPath   = "/settings/api-keys/new"
	appsPath     = "/settings/applications"
	activityPath = "/settings/activity"
)

// Package operations are the pages of those who look after an organisation:
// overview, audit log, webhooks, lockouts, and the signing keys of the deployment.
package operations

import (
	"context"
	"embed"
	"strings"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/audit/activity"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/server/console/shell"
)

//go:embed templates
var files embed.FS

var templates = shell.MustParse(files)

// Pages are these pages. Every field is required.
type Pages struct {
	Activity   Activity
	Log        audit.Searcher
	Explainer  Explainer
	Webhooks   Webhooks
	Keys       SigningKeys
	Deployment Deployment
	Lockouts   Lockouts
	Logins     Unlocker
}

// Activity tells what happened by the hour: activity.Service.
type Activity interface {
	Of(ctx context.Context, caller ident.Caller, r activity.Range) (activity.Series, error)
}

// Explainer tells why a request ended as it did: server.Server.
type Explainer interface {
	Explain(ctx context.Context, caller ident.Caller, request ident.RequestID) (audit.Explanation, error)
}

// Deployment judges who answers for all organisations: accounts.People.
type Deployment interface {
	JudgeDeployment(ctx context.Context, caller ident.Caller) error
}

// Lockouts tells who is locked out: accounts.Lockouts.
type Lockouts interface {
	List(ctx context.Context, caller ident.Caller, before int64, limit int) ([]accounts.Lock, int64, error)
}

// Unlocker opens what failed logins closed: accounts.Authenticator.
type Unlocker interface {
	Unlock(ctx context.Context, caller ident.Caller, user ident.UserID) error
}

// Routes lists the pages.
func (p Pages) Routes() []shell.Route {
	const read, readHooks, writeHooks = accounts.AuditRead, accounts.WebhooksRead, accounts.WebhooksWrite
	const readKeys, manageKeys = accounts.SigningKeysRead, accounts.SigningKeysManage
	return []shell.Route{
		{Method: "GET", Path: "/console", Serve: p.overview},
		{Method: "GET", Path: "/console/audit", Need: read, Serve: p.auditLog},
		{Method: "GET", Path: "/console/audit/tail", Need: read, Serve: p.auditTail},
		{Method: "GET", Path: "/console/audit/explain", Need: read, Serve: p.explain},
		{Method: "GET", Path: "/console/audit/events/:id", Need: read, Serve: p.event},
		{Method: "GET", Path: "/console/webhooks", Need: readHooks, Serve: p.webhooks},
		{Method: "GET", Path: "/console/webhooks/new", Need: writeHooks, Fresh: true, Serve: p.newWebhook},
		{Method: "POST", Path: "/console/webhooks/new", Need: writeHooks, Fresh: true, Many: []string{fieldEvents}, Serve: p.createWebhook},
		{Method: "GET", Path: "/console/webhooks/:id", Need: readHooks, Serve: p.webhook},
		{Method: "GET", Path: "/console/webhooks/:id/edit", Need: writeHooks, Fresh: true, Serve: p.editWebhook},
		{Method: "POST", Path: "/console/webhooks/:id/edit", Need: writeHooks, Fresh: true, Many: []string{fieldEvents}, Serve: p.changeWebhook},
		{Method: "POST", Path: "/console/webhooks/:id/test", Need: writeHooks, Serve: p.testWebhook},
		{Method: "GET", Path: "/console/webhooks/:id/rotate-secret", Need: writeHooks, Fresh: true, Serve: p.askRotateSecret},
		{Method: "POST", Path: "/console/webhooks/:id/rotate-secret", Need: writeHooks, Fresh: true, Serve: p.rotateSecret},
		{Method: "GET", Path: "/console/webhooks/:id/replay", Need: writeHooks, Serve: p.askReplay},
		{Method: "POST", Path: "/console/webhooks/:id/replay", Need: writeHooks, Serve: p.replay},
		{Method: "GET", Path: "/console/webhooks/:id/delete", Need: writeHooks, Fresh: true, Serve: p.askDeleteWebhook},
		{Method: "POST", Path: "/console/webhooks/:id/delete", Need: writeHooks, Fresh: true, Serve: p.deleteWebhook},
		{Method: "GET", Path: "/console/lockouts", Need: accounts.UsersRead, Serve: p.lockouts},
		{Method: "GET", Path: "/console/lockouts/:id/unlock", Need: accounts.UsersUpdate, Serve: p.askUnlock},
		{Method: "POST", Path: "/console/lockouts/:id/unlock", Need: accounts.UsersUpdate, Serve: p.unlock},
		{Method: "GET", Path: "/console/signing-keys", Need: readKeys, Serve: p.signingKeys},
		{Method: "GET", Path: "/console/signing-keys/rotate", Need: manageKeys, Fresh: true, Serve: p.askRotateKeys},
		{Method: "POST", Path: "/console/signing-keys/rotate", Need: manageKeys, Fresh: true, Serve: p.rotateKeys},
		{Method: "GET", Path: "/console/signing-keys/:id/revoke", Need: manageKeys, Fresh: true, Serve: p.askRevokeKey},
		{Method: "POST", Path: "/console/signing-keys/:id/revoke", Need: manageKeys, Fresh: true, Serve: p.revokeKey},
	}
}

// spoken is a word of ours for machines as people read it: "wrong_password"
// becomes "Wrong password".
func spoken(s string) string {
	if s == "" {
		return s
	}
	s = strings.NewReplacer("_", " ", "-", " ", ".", " ").Replace(s)
	return strings.ToUpper(s[:1]) + s[1:]
}

// among is the text for the value, or the value as people read it.
func among(texts map[string]string, value string) string {
	if text, ok := texts[value]; ok {
		return text
	}
	return spoken(value)
}

package server

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/server/console/shell"
)

// route is one URL: what it answers, and to whom.
type route struct {
	method, path string
	guard        guard
	serve        gin.HandlerFunc
}

// engine builds the router. Read the tables below to know every URL.
func (s *Server) engine() *gin.Engine {
	gin.SetMode(gin.ReleaseMode) // else it prints to standard output
	e := gin.New()
	// One spelling of each path, see canonical; and the client's address is ours to find.
	e.RedirectTrailingSlash, e.RedirectFixedPath, e.RemoveExtraSlash = false, false, false
	e.ForwardedByClientIP = false
	e.HandleMethodNotAllowed = true
	e.NoRoute(func(c *gin.Context) { s.failPlainly(c, fault.NotFound) })
	e.NoMethod(func(c *gin.Context) { s.failPlainly(c, fault.MethodNotAllowed) })
	for _, r := range s.routes() {
		e.Handle(r.method, r.path, s.enforce(r.guard), r.serve)
	}
	return e
}

func (s *Server) routes() []route {
	var all []route
	for _, table := range [][]route{s.loginRoutes(), s.pageRoutes(), s.consoleRoutes(), s.oauthRoutes(), s.apiKeyRoutes(), s.clientRoutes(), s.serviceAccountRoutes(), s.administrationRoutes(), s.webhookRoutes(), s.publishedRoutes(), s.mountedRoutes()} {
		all = append(all, table...)
	}
	return all
}

func (s *Server) loginRoutes() []route {
	return []route{
		{http.MethodPost, "/auth/login", public, handle(s, http.StatusOK, s.sessionLogin)},
		{http.MethodPost, "/api/v1/auth/login", public, handle(s, http.StatusOK, s.login)},
		{http.MethodPost, "/api/v1/auth/register", public, handle(s, http.StatusCreated, s.register)},
		{http.MethodPost, "/api/v1/auth/refresh", public, handle(s, http.StatusOK, s.refresh)},
		{http.MethodPost, "/api/v1/auth/logout", ownJudge, handle(s, http.StatusNoContent, s.logout)},
		{http.MethodGet, verifyPath, self, handle(s, http.StatusOK, s.verify)},
		{http.MethodGet, verifyPath + "/:permissions", self, handle(s, http.StatusOK, s.verifyAbout)},
		{http.MethodGet, "/api/v1/me", self, handle(s, http.StatusOK, s.me)},
		{http.MethodPatch, "/api/v1/me", person, handle(s, http.StatusOK, s.changeMe)},
		{http.MethodPost, "/api/v1/me/password", person, handle(s, http.StatusNoContent, s.changePassword)},
		{http.MethodGet, "/api/v1/me/consents", person, handle(s, http.StatusOK, s.listConsents)},
		{http.MethodDelete, "/api/v1/me/consents/:client_id", person, handle(s, http.StatusNoContent, s.withdrawConsent)},
		{http.MethodGet, "/api/v1/sessions", self, handle(s, http.StatusOK, s.listSessions)},
		{http.MethodDelete, "/api/v1/sessions", person, handle(s, http.StatusOK, s.endOtherSessions)},
		{http.MethodDelete, "/api/v1/sessions/:id", self, handle(s, http.StatusNoContent, s.endASession)},
	}
}

// pageRoutes are what people look at. They judge the browser's own session.
func (s *Server) pageRoutes() []route {
	return []route{
		{http.MethodGet, "/", ownJudge, s.showHome},
		{http.MethodGet, authorizePath, ownJudge, handlePage(s, s.startAuthorization)},
		{http.MethodPost, authorizePath, ownJudge, handlePage(s, s.startPosted)},
		{http.MethodGet, loginPage, ownJudge, handlePage(s, s.showLogin)},
		{http.MethodPost, loginPage, ownJudge, handlePage(s, s.signIn)},
		{http.MethodGet, unlockPage, ownJudge, handlePage(s, s.showUnlock)},
		{http.MethodPost, unlockPage, ownJudge, handlePage(s, s.unlock)},
		{http.MethodGet, againPage, ownJudge, handlePage(s, s.showAgain)},
		{http.MethodPost, againPage, ownJudge, handlePage(s, s.proveAgain)},
		{http.MethodGet, invitationPage, ownJudge, handlePage(s, s.showInvitation)},
		{http.MethodPost, invitationPage, ownJudge, handlePage(s, s.acceptInvitation)},
		{http.MethodGet, consentPage, ownJudge, handlePage(s, s.showConsent)},
		{http.MethodPost, consentPage, ownJudge, handlePage(s, s.decide)},
		{http.MethodGet, logoutPath, ownJudge, handlePage(s, s.startLogout)},
		{http.MethodPost, logoutPath, ownJudge, handlePage(s, s.startLogoutPosted)},
		{http.MethodPost, confirmPath, ownJudge, handlePage(s, s.confirmLogout)},
	}
}

// oauthRoutes judge the client themselves: its credentials are part of the form.
func (s *Server) oauthRoutes() []route {
	return []route{
		{http.MethodPost, "/oauth2/token", ownJudge, handleForm(s, s.grantToken)},
		{http.MethodPost, "/oauth2/introspect", ownJudge, handleForm(s, s.introspect)},
		{http.MethodGet, userInfoPath, ownJudge, s.serveUserInfo},
		{http.MethodPost, userInfoPath, ownJudge, s.serveUserInfo},
		{http.MethodPost, "/oauth2/revoke", ownJudge, handleForm(s, s.revoke)},
		{http.MethodPost, registerPath, ownJudge, handleRegistration(s, http.StatusCreated, s.registerClient)},
		{http.MethodGet, registerPath + "/:client_id", ownJudge, handleRegistration(s, http.StatusOK, s.readRegistered)},
		{http.MethodPut, registerPath + "/:client_id", ownJudge, handleRegistration(s, http.StatusOK, s.replaceRegistered)},
		{http.MethodDelete, registerPath + "/:client_id", ownJudge, handleRegistration(s, http.StatusNoContent, s.removeRegistered)},
	}
}

func (s *Server) apiKeyRoutes() []route {
	return []route{
		{http.MethodGet, "/api/v1/api-keys", require(accounts.APIKeysRead), handle(s, http.StatusOK, s.listAPIKeys)},
		{http.MethodPost, "/api/v1/api-keys", require(accounts.APIKeysCreate), handle(s, http.StatusCreated, s.createAPIKey)},
		{http.MethodPost, "/api/v1/api-keys/verify", require(accounts.APIKeysRead), handle(s, http.StatusOK, s.verifyAPIKey)},
		{http.MethodGet, "/api/v1/api-keys/:id", require(accounts.APIKeysRead), handle(s, http.StatusOK, s.getAPIKey)},
		{http.MethodPatch, "/api/v1/api-keys/:id", require(accounts.APIKeysCreate), handle(s, http.StatusOK, s.changeAPIKey)},
		{http.MethodGet, "/api/v1/api-keys/:id/usage", require(accounts.APIKeysRead), handle(s, http.StatusOK, s.apiKeyUsage)},
		{http.MethodDelete, "/api/v1/api-keys/:id", require(accounts.APIKeysRevoke), handle(s, http.StatusNoContent, s.revokeAPIKey)},
		{http.MethodPost, "/api/v1/leaked-keys", public, handle(s, http.StatusAccepted, s.reportLeak)},
		{http.MethodPost, "/api/v1/api-keys/:id/release", require(accounts.APIKeysRotate), handle(s, http.StatusOK, s.releaseAPIKey)},
		{http.MethodPost, "/api/v1/api-keys/:id/rotate", require(accounts.APIKeysRotate), handle(s, http.StatusOK, s.rotateAPIKey)},
	}
}

func (s *Server) clientRoutes() []route {
	return []route{
		{http.MethodGet, "/api/v1/clients", require(accounts.ClientsRead), handle(s, http.StatusOK, s.listClients)},
		{http.MethodPost, "/api/v1/clients", require(accounts.ClientsManage), handle(s, http.StatusCreated, s.createClient)},
		{http.MethodGet, "/api/v1/clients/:id", require(accounts.ClientsRead), handle(s, http.StatusOK, s.getClient)},
		{http.MethodPatch, "/api/v1/clients/:id", require(accounts.ClientsManage), handle(s, http.StatusOK, s.updateClient)},
		{http.MethodDelete, "/api/v1/clients/:id", require(accounts.ClientsManage), handle(s, http.StatusNoContent, s.deleteClient)},
		{http.MethodPost, "/api/v1/clients/:id/rotate-secret", require(accounts.ClientsManage), handle(s, http.StatusOK, s.rotateClientSecret)},
	}
}

func (s *Server) serviceAccountRoutes() []route {
	return []route{
		{http.MethodGet, "/api/v1/service-accounts", require(accounts.ServiceAccountsRead), handle(s, http.StatusOK, s.listServiceAccounts)},
		{http.MethodPost, "/api/v1/service-accounts", require(accounts.ServiceAccountsManage), handle(s, http.StatusCreated, s.createServiceAccount)},
		{http.MethodGet, "/api/v1/service-accounts/:id", require(accounts.ServiceAccountsRead), handle(s, http.StatusOK, s.getServiceAccount)},
		{http.MethodPatch, "/api/v1/service-accounts/:id", require(accounts.ServiceAccountsManage), handle(s, http.StatusOK, s.updateServiceAccount)},
		{http.MethodDelete, "/api/v1/service-accounts/:id", require(accounts.ServiceAccountsManage), handle(s, http.StatusNoContent, s.deleteServiceAccount)},
	}
}

func (s *Server) administrationRoutes() []route {
	return []route{
		{http.MethodGet, "/api/v1/users", require(accounts.UsersRead), handle(s, http.StatusOK, s.listUsers)},
		{http.MethodPost, "/api/v1/users", require(accounts.UsersCreate), handle(s, http.StatusCreated, s.createUser)},
		{http.MethodGet, "/api/v1/users/:id", require(accounts.UsersRead), handle(s, http.StatusOK, s.getUser)},
		{http.MethodPatch, "/api/v1/users/:id", require(accounts.UsersUpdate), handle(s, http.StatusOK, s.updateUser)},
		{http.MethodPost, "/api/v1/users/:id/unlock", require(accounts.UsersUpdate), handle(s, http.StatusNoContent, s.unlockUser)},
		{http.MethodGet, "/api/v1/memberships", require(accounts.UsersRead), handle(s, http.StatusOK, s.listMemberships)},
		{http.MethodPatch, "/api/v1/memberships/:user_id", require(accounts.UsersUpdate), handle(s, http.StatusOK, s.setMemberRole)},
		{http.MethodDelete, "/api/v1/memberships/:user_id", require(accounts.UsersDisable), handle(s, http.StatusNoContent, s.removeMember)},
		{http.MethodGet, "/api/v1/invitations", require(accounts.UsersRead), handle(s, http.StatusOK, s.listInvitations)},
		{http.MethodPost, "/api/v1/invitations", require(accounts.UsersCreate), handle(s, http.StatusCreated, s.createInvitation)},
		{http.MethodPost, "/api/v1/invitations/:id/resend", require(accounts.UsersCreate), handle(s, http.StatusOK, s.resendInvitation)},
		{http.MethodDelete, "/api/v1/invitations/:id", require(accounts.UsersCreate), handle(s, http.StatusNoContent, s.revokeInvitation)},
		{http.MethodGet, "/api/v1/organizations", require(accounts.OrganizationsRead), handle(s, http.StatusOK, s.listOrganizations)},
		{http.MethodGet, "/api/v1/organizations/:id", require(accounts.OrganizationsRead), handle(s, http.StatusOK, s.getOrganization)},
		{http.MethodPatch, "/api/v1/organizations/:id", require(accounts.OrganizationsUpdate), handle(s, http.StatusOK, s.renameOrganization)},
		{http.MethodGet, "/api/v1/organizations/:id/key-policy", require(accounts.APIKeysRead), handle(s, http.StatusOK, s.getKeyPolicy)},
		{http.MethodPatch, "/api/v1/organizations/:id/key-policy", require(accounts.APIKeysPolicy), handle(s, http.StatusOK, s.setKeyPolicy)},
		{http.MethodGet, "/api/v1/roles", require(accounts.RolesRead), handle(s, http.StatusOK, s.listRoles)},
		{http.MethodPut, "/api/v1/roles/:name", require(accounts.RolesManage), handle(s, http.StatusOK, s.setRole)},
		{http.MethodDelete, "/api/v1/roles/:name", require(accounts.RolesManage), handle(s, http.StatusNoContent, s.deleteRole)},
		{http.MethodGet, "/api/v1/audit-events", require(accounts.AuditRead), handle(s, http.StatusOK, s.listAuditEvents)},
		{http.MethodGet, "/api/v1/audit-events/export", require(accounts.AuditRead), s.exportAudit},
		{http.MethodGet, "/api/v1/audit-events/tail", require(accounts.AuditRead), handle(s, http.StatusOK, s.tailAuditEvents)},
		{http.MethodGet, "/api/v1/audit-events/explain/:request_id", require(accounts.AuditRead), handle(s, http.StatusOK, s.explain)},
		{http.MethodGet, "/api/v1/audit", require(accounts.AuditRead), handle(s, http.StatusOK, s.listAuditEvents)},
		{http.MethodGet, "/api/v1/signing-keys", require(accounts.SigningKeysRead), handle(s, http.StatusOK, s.listSigningKeys)},
		{http.MethodPost, "/api/v1/signing-keys/rotate", require(accounts.SigningKeysManage), handle(s, http.StatusOK, s.rotateSigningKeys)},
		{http.MethodPost, "/api/v1/signing-keys/:id/revoke", require(accounts.SigningKeysManage), handle(s, http.StatusNoContent, s.revokeSigningKey)},
	}
}

func (s *Server) webhookRoutes() []route {
	return []route{
		{http.MethodGet, "/api/v1/webhooks", require(accounts.WebhooksRead), handle(s, http.StatusOK, s.listWebhooks)},
		{http.MethodPost, "/api/v1/webhooks", require(accounts.WebhooksWrite), handle(s, http.StatusCreated, s.createWebhook)},
		{http.MethodGet, "/api/v1/webhooks/:id", require(accounts.WebhooksRead), handle(s, http.StatusOK, s.getWebhook)},
		{http.MethodPatch, "/api/v1/webhooks/:id", require(accounts.WebhooksWrite), handle(s, http.StatusOK, s.updateWebhook)},
		{http.MethodDelete, "/api/v1/webhooks/:id", require(accounts.WebhooksWrite), handle(s, http.StatusNoContent, s.deleteWebhook)},
		{http.MethodPost, "/api/v1/webhooks/:id/rotate-secret", require(accounts.WebhooksWrite), handle(s, http.StatusOK, s.rotateWebhookSecret)},
		{http.MethodPost, "/api/v1/webhooks/:id/test", require(accounts.WebhooksWrite), handle(s, http.StatusAccepted, s.testWebhook)},
		{http.MethodGet, "/api/v1/webhooks/:id/dead-letters", require(accounts.WebhooksRead), handle(s, http.StatusOK, s.listDeadLetters)},
		{http.MethodPost, "/api/v1/webhooks/:id/replay", require(accounts.WebhooksWrite), handle(s, http.StatusAccepted, s.replayWebhook)},
	}
}

// publishedRoutes are the documents that anybody may read. Each answers HEAD too.
func (s *Server) publishedRoutes() []route {
	var out []route
	for _, d := range []struct {
		path  string
		serve gin.HandlerFunc
	}{
		{"/assets/style.css", publish(s, fixed(s.documents.asset("/assets/style.css")))},
		{"/assets/proof.js", publish(s, fixed(s.documents.asset("/assets/proof.js")))},
		{"/assets/work.js", publish(s, fixed(s.documents.asset("/assets/work.js")))},
		{"/assets/submit.js", publish(s, fixed(s.documents.asset("/assets/submit.js")))},
		{shell.AssetsPath + ":name", s.consoleAsset},
		{"/.well-known/jwks.json", publish(s, s.jwks)},
		{"/.well-known/revocations", publishLive(s, s.revocations)},
		{statusListsPath, publish(s, s.listStatusLists)},
		{statusListPath, s.statusList},
		{"/.well-known/openid-configuration", publish(s, fixed(s.documents.metadata))},
		{"/.well-known/oauth-authorization-server", publish(s, fixed(s.documents.metadata))},
		{"/openapi.json", publish(s, fixed(s.documents.openapi))},
		{"/docs", publish(s, fixed(s.documents.docs))},
	} {
		out = append(out, route{http.MethodGet, d.path, public, d.serve}, route{http.MethodHead, d.path, public, d.serve})
	}
	return out
}

// mountedRoutes judge the credential themselves.
func (s *Server) mountedRoutes() []route {
	out := make([]route, len(s.Mounts))
	for i, m := range s.Mounts {
		out[i] = route{m.Method, m.Path, ownJudge, gin.WrapH(m.Handler)}
	}
	return out
}

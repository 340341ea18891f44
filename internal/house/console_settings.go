package house

import (
	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/oauth"
	"github.com/tokenhouse/tokenhouse/server/console/settings"
)

// settings are the pages of one's own account.
func (h *House) settings() settings.Pages {
	return settings.Pages{
		People: h.People, Directory: h.Directory, Sessions: h.Sessions, Clients: h.Clients, Consents: h.consents(), Keys: h.APIKeys,
		Trail: audit.Trail{Reader: h.DB.Audit()}, MinLength: h.conf.Accounts.PasswordMinLength, Issuer: h.conf.Issuer,
	}
}

// consents are what people allowed applications.
func (h *House) consents() *oauth.Consents {
	return &oauth.Consents{Store: h.DB.Authorizations(), Clients: h.Clients, Sessions: h.Sessions, Now: h.env.Now}
}

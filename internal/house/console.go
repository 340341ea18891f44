package house

import (
	"context"
	"slices"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/server/console/operations"
	"github.com/tokenhouse/tokenhouse/server/console/organization"
	"github.com/tokenhouse/tokenhouse/server/console/settings"
	"github.com/tokenhouse/tokenhouse/server/console/shell"
)

// Console is every page of the console, each package with the services it shows.
func (h *House) Console() shell.Console {
	return shell.Console{Routes: slices.Concat(h.settings().Routes(), h.organization().Routes(), h.operations().Routes())}
}

func (h *House) organization() organization.Pages {
	return organization.Pages{
		Members: h.People, Invitations: h.People, Roles: h.People, Services: h.People, Orgs: h.People,
		Clients: h.Clients, Policies: h.APIKeys, Keys: h.APIKeys, Directory: h.Directory, InvitationURL: h.conf.InvitationURL,
	}
}

func (h *House) operations() operations.Pages {
	return operations.Pages{
		Activity: h.Activity(), Log: h.DB.AuditSearch(), Explainer: explainer{h}, Webhooks: h.Webhooks(), Keys: h.Ring, Deployment: h.People,
		Lockouts: &accounts.Lockouts{Locks: h.DB.Locks(), Secrets: h.parts.secrets, Throttle: h.Logins.Throttle, Now: h.env.Now}, Logins: h.Logins,
	}
}

// explainer asks the server, which comes after its pages: only it remembers what
// it answered.
type explainer struct{ h *House }

func (e explainer) Explain(ctx context.Context, caller ident.Caller, request ident.RequestID) (audit.Explanation, error) {
	return e.h.state.public.Explain(ctx, caller, request)
}

// consolePaths are the addresses of the console's pages, for the metrics.
func consolePaths() []string {
	var out []string
	for _, r := range slices.Concat(settings.Pages{}.Routes(), organization.Pages{}.Routes(), operations.Pages{}.Routes()) {
		out = append(out, r.Path)
	}
	return out
}

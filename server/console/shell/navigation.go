package shell

import (
	"strings"

	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// Section is a group of the navigation.
type Section struct {
	Title string
	Items []Item
}

// Item is one page of the navigation.
type Item struct {
	Text, To, Icon string
	Current        bool
}

// navigation is every page that has a place in the menu. One is shown to those
// who may see its route; see Console.menu.
var navigation = []Section{
	{"Organisation", []Item{
		{Text: "Overview", To: "/console", Icon: "overview"},
		{Text: "Members", To: "/console/members", Icon: "people"},
		{Text: "Invitations", To: "/console/invitations", Icon: "mail"},
		{Text: "Roles", To: "/console/roles", Icon: "shield"},
		{Text: "Service accounts", To: "/console/service-accounts", Icon: "robot"},
		{Text: "All API keys", To: "/console/api-keys", Icon: "keys"},
		{Text: "Clients", To: "/console/clients", Icon: "apps"},
		{Text: "Audit log", To: "/console/audit", Icon: "list"},
		{Text: "Webhooks", To: "/console/webhooks", Icon: "hook"},
		{Text: "Lockouts", To: "/console/lockouts", Icon: "lock"},
		{Text: "Signing keys", To: "/console/signing-keys", Icon: "sign"},
		{Text: "Organisation", To: "/console/organization", Icon: "building"},
	}},
	{"Settings", []Item{
		{Text: "Profile", To: "/settings", Icon: "person"},
		{Text: "Password", To: "/settings/password", Icon: "password"},
		{Text: "Sessions", To: "/settings/sessions", Icon: "devices"},
		{Text: "API Keys", To: "/settings/api-keys", Icon: "key"},
		{Text: "Connected apps", To: "/settings/applications", Icon: "plug"},
		{Text: "Activity", To: "/settings/activity", Icon: "clock"},
	}},
}

// menu is the navigation for somebody at a path.
func (c *Console) menu(caller ident.Caller, path string) []Section {
	var out []Section
	best := ""
	for _, s := range navigation {
		shown := Section{Title: s.Title}
		for _, it := range s.Items {
			r, ok := c.find("GET", it.To)
			if !ok || r.Need != "" && !caller.May(r.Need) {
				continue
			}
			shown.Items = append(shown.Items, it)
			if (path == it.To || strings.HasPrefix(path, it.To+"/")) && len(it.To) > len(best) {
				best = it.To
			}
		}
		if len(shown.Items) > 0 {
			out = append(out, shown)
		}
	}
	for i := range out {
		for j := range out[i].Items {
			out[i].Items[j].Current = out[i].Items[j].To == best
		}
	}
	return out
}

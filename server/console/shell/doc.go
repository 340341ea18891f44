// Package shell is the frame of the console: layout and navigation, forms with
// problems beside their fields, lists, confirmations, secrets that are shown
// once, plots. It knows who visits and nothing of HTTP.
//
// A package of pages has templates/*.html and returns its routes:
//
//	//go:embed templates
//	var files embed.FS
//
//	var templates = shell.MustParse(files)
//
//	// Renamer is what these pages need of the domain.
//	type Renamer interface {
//		RenameSelf(ctx context.Context, caller ident.Caller, name string) error
//	}
//
//	type Pages struct{ People Renamer }
//
//	func (p Pages) Routes() []shell.Route {
//		return []shell.Route{
//			{Method: "GET", Path: "/settings", Serve: p.show},
//			{Method: "POST", Path: "/settings", Serve: p.save}, // a form is sent to the path it stands at
//		}
//	}
//
//	func (p Pages) view(v shell.Visit) shell.View {
//		f := v.Post("/settings") // carries the token; the shell checks it before save runs
//		f.Submit = "Save name"
//		f.Fields = []shell.Field{{Name: "name", Label: "Name", Value: v.User, Required: true, Max: 200}}
//		return shell.View{Title: "Profile", Form: f}
//	}
//
//	func (p Pages) show(_ context.Context, v shell.Visit) (shell.Reply, error) {
//		return shell.ShowForm(p.view(v)), nil // or templates.Show("profile.html", …) with {{template "form" .Form}} in it
//	}
//
//	func (p Pages) save(ctx context.Context, v shell.Visit) (shell.Reply, error) {
//		if err := p.People.RenameSelf(ctx, v.Caller, v.Form.Get("name")); err != nil {
//			view := p.view(v)
//			view.Problem = err // 422: filled in as it was, each problem at the field of its name
//			return shell.ShowForm(view), nil
//		}
//		return shell.To("/settings", "Your name was changed."), nil
//	}
//
// A list asks for v.Ask() and is cut by Paged:
//
//	page, err := v.Ask()
//	keys, err := p.Keys.List(ctx, v.Caller, page)
//	keys, paging := shell.Paged(v, keys, func(k apikeys.Key) string { return string(k.ID) })
//	t := shell.Table{Caption: "API keys", Columns: []string{"Name", "Last used"}, Paging: paging, Empty: …}
//	t.Rows = append(t.Rows, shell.Row{Cells: []shell.Cell{shell.Named(k.Name, "/settings/api-keys/"+id), shell.When(k.LastUsed, "never")},
//		Actions: []shell.Link{{Text: "Revoke", To: …, Danger: true}}})
//	return shell.ShowTable(shell.View{Title: "API Keys", Actions: []shell.Link{{Text: "Create key", To: …, Main: true}}}, t), nil
//
// What cannot be undone has a GET that is Fresh and shows ShowConfirm, and a
// POST of the same path that is Fresh and acts. A secret is the answer to the
// POST that made it: ShowSecret.
//
// In a template the dot is a Frame: .Data is the page's own. Pieces: "form",
// "post" (opens a form: {{template "post" ($.Post "/console/webhooks/" .ID "/test")}} … </form>),
// "field", "table", "empty", "facts", "cell", "time", "plot" (several inside <div class="plots">),
// "copy", "action", "icon". Classes: fields, filters, send, list, facts, badge
// (good, bad, wait), soft, hint, caution, num, long, mono, plots. A filter is a Form with
// Get: true. With View.Live the page has htmx: hx-get the page's own address
// with hx-select, or a route that replies with Fragment.
package shell

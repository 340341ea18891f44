package metrics_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// What packages call their results is what the labels may be: a value that is
// missing here would be counted under "other", one too many never.
func TestLabelsHaveTheValuesOfTheCode(t *testing.T) {
	page := scrape(t, newSet())
	for _, of := range []struct{ metric, label, dir, constants string }{
		{"tokenhouse_refreshes_total", "result", "../tokens", "Result"},
		{"tokenhouse_lockouts_total", "scope", "../accounts", "CounterKind"},
		{"tokenhouse_lockouts_active", "scope", "../accounts", "CounterKind"},
		{"tokenhouse_mails_total", "result", "../accounts", "MailResult"},
		{"tokenhouse_backchannel_logouts_total", "result", "../oauth", "LogoutResult"},
		{"tokenhouse_tokens_issued_total", "grant", "../oauth", "Grant*"},
		{"tokenhouse_api_key_verifications_total", "result", "../keys/apikeys", "result*"},
		{"tokenhouse_webhook_deliveries_total", "result", "../audit/webhooks", "Result"},
	} {
		want := constants(t, of.dir, of.constants)
		got := map[string]bool{}
		for _, m := range regexp.MustCompile(`(?m)^`+of.metric+`\{(?:[^}]*,)?`+of.label+`="([^"]*)"`).FindAllStringSubmatch(page, -1) {
			got[m[1]] = true
		}
		for _, v := range want {
			if !got[v] {
				t.Errorf("%s has no %s %q, which %s has", of.metric, of.label, v, of.dir)
			}
			delete(got, v)
		}
		if len(want) < 3 || len(got) > 0 {
			t.Errorf("%s has the values %v of %s, which %s has not: it has %v", of.metric, got, of.label, of.dir, want)
		}
	}
}

// constants gives the values of the text constants of a package that have that
// type, or a name that begins so where a star follows.
func constants(t *testing.T, dir, which string) (out []string) {
	t.Helper()
	files, err := filepath.Glob(dir + "/*.go")
	if err != nil {
		t.Fatal(err)
	}
	prefix, byName := strings.CutSuffix(which, "*")
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 {
				return true
			}
			kind, _ := spec.Type.(*ast.Ident)
			if value, ok := spec.Values[0].(*ast.BasicLit); ok && value.Kind == token.STRING &&
				(byName && strings.HasPrefix(spec.Names[0].Name, prefix) || !byName && kind != nil && kind.Name == which) {
				text, err := strconv.Unquote(value.Value)
				if err != nil {
					t.Fatal(err)
				}
				out = append(out, text)
			}
			return true
		})
	}
	slices.Sort(out)
	return slices.Compact(out)
}

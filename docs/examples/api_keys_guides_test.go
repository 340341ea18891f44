package examples_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// keyGuide are the blocks of a guide to API keys in one language.
func keyGuide(t *testing.T, name, language string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "api-keys", name))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		out = append(out, m[1])
	}
	return out
}

// The guides to API keys work as they are printed, in a plain shell.
func TestTheGuidesToAPIKeys(t *testing.T) {
	const asked = `"code":"VALID".*"code":"INSUFFICIENT_PERMISSIONS"`
	for guide, said := range map[string][]string{
		"ci.md":             {asked, `"data":\[.*INSUFFICIENT_PERMISSIONS`, `"data":\[.*INSUFFICIENT_PERMISSIONS`, "deploy pipeline"},
		"rotating.md":       {asked, "old and new work", `"previous_secret":\{`, "INVALID_API_KEY"},
		"leaks.md":          {asked, `"received":1.*INVALID_API_KEY`, "^204$", "api_key.", "keys were found", "clean", "th_live"},
		"policy.md":         {asked, `permissions +\*:\*`, "^200$", "^403$", "^refused$", "unbounded"},
		"behind-a-proxy.md": {asked, "(?i)^x-auth", "INSUFFICIENT_PERMISSIONS.*INVALID_TOKEN", "^200$"},
	} {
		t.Run(guide, func(t *testing.T) {
			t.Parallel()
			var text strings.Builder
			for _, name := range []string{"README.md", guide} {
				for _, block := range keyGuide(t, name, "sh") {
					text.WriteString(block + "echo\n") // curl ends no line
				}
			}
			s := newClone(t).shell(text.String())
			for _, want := range said {
				s.until(want)
			}
			s.finish()
		})
	}
}

// What the guide shows of nginx's configuration is in it.
func TestTheGuideToProxiesShowsWhatIsShipped(t *testing.T) {
	shipped, err := os.ReadFile(filepath.Join("..", "..", "deployments", "nginx", "forward-auth.conf"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := keyGuide(t, "behind-a-proxy.md", "nginx")
	if len(blocks) == 0 {
		t.Fatal("the guide shows nothing")
	}
	for _, block := range blocks {
		for line := range strings.Lines(block) {
			if !strings.Contains(string(shipped), strings.TrimSpace(line)) {
				t.Errorf("not in the shipped file: %s", line)
			}
		}
	}
	guide, err := os.ReadFile(filepath.Join("..", "api-keys", "behind-a-proxy.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`\]\(([^)#]+)[^)]*\)`).FindAllStringSubmatch(string(guide), -1) {
		if _, err := os.Stat(filepath.Join("..", "api-keys", m[1])); err != nil {
			t.Errorf("a link leads nowhere: %v", err)
		}
	}
}

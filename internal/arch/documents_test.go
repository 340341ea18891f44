package arch

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every path that a document of the root names exists.
func TestDocumentsNameWhatIsThere(t *testing.T) {
	quoted := regexp.MustCompile("`([A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.{},-]+)+/?)`|\\]\\(([A-Za-z0-9_./-]+)\\)")
	for _, doc := range []string{"README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md"} {
		text, err := os.ReadFile(filepath.Join(root, doc))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range quoted.FindAllStringSubmatch(string(text), -1) {
			path := m[1] + m[2]
			if strings.Contains(path, "{") || strings.HasPrefix(path, "data/") || path == "./data" {
				continue // several at once, or made at run time
			}
			if _, err := os.Stat(filepath.Join(root, path)); err != nil {
				t.Errorf("%s names %s: %v", doc, path, err)
			}
		}
	}
}

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

func TestATestNamesAnIDInItsNameACommentOrAString(t *testing.T) {
	known := map[string]bool{"K1": true, "K12": true, "O2": true, "SEC-KEY-15": true, "INV-02": true, "FLT-DB-15": true, "AK-07": true}
	for text, want := range map[string][]string{
		"TestK12TheKeyIsShownOnce":          {"K12"},
		"TestLogin_K1_O2":                   {"K1", "O2"},
		"TestSEC_KEY_15_Short":              {"SEC-KEY-15"},
		"// K1, K12 and O2: see there. K1.": {"K1", "K12", "O2"},
		`{name: "SEC-KEY-15/FLT-DB-15"}`:    {"SEC-KEY-15", "FLT-DB-15"},
		"# INV-02: nothing is lost":         {"INV-02"},
		"// AK-07: not AK-070":              {"AK-07"},
		"SOAK-07":                           nil,
		"OK12 K123 K1x xK1 SEC-KEY-150 K9":  nil,
		"TestKeysAreShownOnce":              nil,
	} {
		if got := idsIn(text, known); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}

func TestSearchAttributesWhatItFinds(t *testing.T) {
	module := fstest.MapFS{
		"keys/key_test.go": {Data: []byte(`package keys
import "testing"
var table = []string{"O1"}
// TestShown covers K1.
func TestShown(t *testing.T) { t.Log("K2") }
func helper() { _ = "O2" }
`)},
		"keys/key.go":                    {Data: []byte("package keys // K3\n")},
		"cmd/testdata/script/tour.txtar": {Data: []byte("# K1, K4\n")},
		"node_modules/x/a.test.js":       {Data: []byte("// K3\n")},
		"docs/examples/verify.test.mjs":  {Data: []byte("// O3\n")},
		"storage/storagetest/keys.go":    {Data: []byte("package storagetest\n\n// O4\nfunc keys() {}\n")},
	}
	got, err := search(module, []string{"K1", "K2", "K3", "K4", "O1", "O2", "O3", "O4"})
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string][]string{
		"K1": {"cmd/testdata/script/tour.txtar", "keys TestShown"}, "K2": {"keys TestShown"}, "K3": nil,
		"K4": {"cmd/testdata/script/tour.txtar"}, "O1": {"keys/key_test.go"}, "O2": {"keys/key_test.go"},
		"O3": {"docs/examples/verify.test.mjs"}, "O4": {"storage/storagetest/keys.go"},
	} {
		if !slices.Equal(got[id], want) {
			t.Errorf("%s is named by %q, want %q", id, got[id], want)
		}
	}
}

func TestTheReportCountsAndListsWhatIsOpen(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"docs/spec-ids.txt":       "K1\nK2\nSEC-KEY-01\n",
		"docs/spec-open.txt":      "# why\nK1  later\nK2  later\n",
		"docs/api-keys-facts.txt": "# what keys are\nAK-01  shown once\nAK-02  revoked at once\n",
		"docs/certification.md":   "",
		"a_test.go":               "package a\nimport \"testing\"\n// AK-02\nfunc TestK2Works(*testing.T) {}\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var out strings.Builder
	if err := run(dir, &out); err != nil {
		t.Fatal(err)
	}
	want := `K2           . TestK2Works
AK-02        . TestK2Works

named by no test
K1           later
SEC-KEY-01   NO REASON
AK-01        NO REASON

K2 is called open by docs/spec-open.txt, and is not
K          1 of   2
SEC-KEY    0 of   1
AK         1 of   2
all        2 of   5

certification modules
modules without a test and without a reason: 
`
	if out.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", out.String(), want)
	}
}

func TestTheListHoldsEachPromiseAndCaseOnce(t *testing.T) {
	list, err := os.ReadFile("../../docs/spec-ids.txt")
	if err != nil {
		t.Fatal(err)
	}
	ids := strings.Fields(string(list))
	count := map[string]int{}
	for _, id := range ids {
		count[classOf(id)[:1]]++
	}
	if count["K"] != 25 || count["O"] != 44 || len(ids) != 25+44+242 {
		t.Errorf("%d ids, by first letter %v", len(ids), count)
	}
	if slices.Sort(ids); len(slices.Compact(ids)) != 25+44+242 {
		t.Error("an id is listed twice")
	}
}

// The facts about API keys are numbered from one, without a gap, and each says something of its own.
func TestTheFactsAboutAPIKeysAreNumbered(t *testing.T) {
	facts, err := begun(os.DirFS("../.."), "docs/api-keys-facts.txt")
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]string{}
	for i := range len(facts) {
		id := fmt.Sprintf("AK-%02d", i+1)
		if facts[id] == "" || said[facts[id]] != "" {
			t.Errorf("%s says %q, and so does %q", id, facts[id], said[facts[id]])
		}
		said[facts[id]] = id
	}
	ids, err := listed(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	if want := len(ids) - len(facts); len(facts) < 40 || slices.Index(ids, "AK-01") != want {
		t.Errorf("%d facts among %d ids", len(facts), len(ids))
	}
}

// What no test names says why, and is something that is asked for.
func TestWhatIsOpenHasAReason(t *testing.T) {
	var out strings.Builder
	if err := run("../..", &out); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), noReason) {
		t.Error(out.String())
	}
	reasons, err := openReasons(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	ids, err := listed(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	for id, reason := range reasons {
		if !slices.Contains(ids, id) || reason == "" {
			t.Errorf("%s: %q", id, reason)
		}
	}
}

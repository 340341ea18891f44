package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func readme(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The configuration table lists every setting, with its default, and no other.
func TestTheReadmeListsEverySetting(t *testing.T) {
	var rows []string
	def := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(TOKENHOUSE_[A-Z_]+)` \\| (.*?) \\| .+ \\|$").FindAllStringSubmatch(readme(t), -1) {
		rows = append(rows, m[1])
		def[m[1]] = strings.Trim(m[2], "`")
	}
	var names []string
	for _, s := range settings() {
		names = append(names, s.env())
		d := defaults()
		if want := s.get(&d); s.shown == "" && !s.list && strings.TrimPrefix(def[s.env()], "none") != want {
			t.Errorf("the README says that %s is %q by default; it is %q", s.env(), def[s.env()], want)
		}
	}
	slices.Sort(rows)
	slices.Sort(names)
	if !slices.Equal(rows, names) {
		t.Errorf("the README lists\n%v\nthe settings are\n%v", rows, names)
	}
}

// O44: the first tour works as it is printed, in a plain shell.
func TestTheReadmesFirstTourWorks(t *testing.T) {
	v := &victim{t: t, binary: shipped(t), dir: t.TempDir(), listen: vacant(t), ops: vacant(t), demo: true}
	v.database = "sqlite://" + filepath.Join(v.dir, "tour.db")
	v.start()
	defer v.kill()
	var script strings.Builder
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(readme(t), -1) {
		script.WriteString(block[1] + "echo\n")
	}
	text := strings.NewReplacer(
		"localhost:8080", v.listen, "the one that was printed", crashSecret, "admin@localhost", "admin@crash.localhost",
	).Replace(script.String())
	sh := exec.Command("sh", "-eu")
	sh.Dir, sh.Stdin = t.TempDir(), strings.NewReader(text)
	out, err := sh.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	rest := string(out)
	for _, want := range []string{
		`"organization_id":"org_`, `"data":[{`, `"keys":[{`, `"access_token":"ey`, `"data":[{`, `INSUFFICIENT_PERMISSIONS`, `Token has been revoked`,
	} {
		_, after, found := strings.Cut(rest, want)
		if !found {
			t.Fatalf("the tour does not show %s\n%s", want, out)
		}
		rest = after
	}
}

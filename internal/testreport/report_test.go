package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// reportOf runs go test on a module of the given test files and gives what was reported, and whether as good.
func reportOf(t *testing.T, files map[string]string) (string, bool) {
	t.Helper()
	dir := t.TempDir()
	files["go.mod"] = "module example.org/m\n\ngo 1.26\n"
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("go", "test", "-json", "./...")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=-vet=off")
	run, _ := cmd.Output() // that tests fail is what is asked for
	var out bytes.Buffer
	r := newReport(&out)
	if err := r.read(bytes.NewReader(run)); err != nil {
		t.Fatal(err)
	}
	good := r.close("lib v1", "15.18")
	return out.String(), good
}

const bothBackends = `package a
import "testing"
func TestStore(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) { t.Log("quiet") })
	t.Run("postgres", func(t *testing.T) {})
}
`

func TestReport(t *testing.T) {
	body := func(pkg, body string) string {
		return "package " + pkg + "\nimport \"testing\"\nfunc TestIt(t *testing.T) { " + body + " }\n"
	}
	tests := map[string]struct {
		files map[string]string
		good  bool
		want  []string
		never string
	}{
		"all is well": {
			files: map[string]string{"a/a_test.go": bothBackends, "b/b.go": "package b\n"}, good: true,
			want: []string{"ok  \texample.org/m/a\t", "?   \texample.org/m/b\t[no test files]",
				"backends: SQLite (lib v1) in 1 tests, PostgreSQL 15.18 in 1 tests\n3 passed, 0 failed, 0 skipped\n"},
			never: "quiet",
		},
		"a test fails": {
			files: map[string]string{"a/a_test.go": bothBackends, "b/b_test.go": body("b", `t.Error("it broke")`)},
			want:  []string{"--- FAIL: TestIt", "it broke", "FAIL\texample.org/m/b\t", "3 passed, 1 failed, 0 skipped\n"},
			never: "quiet",
		},
		"a test panics": {
			files: map[string]string{"a/a_test.go": bothBackends, "b/b_test.go": body("b", `panic("it broke")`)},
			want:  []string{"panic: it broke", "3 passed, 1 failed, 0 skipped\n"},
		},
		"a process ends in the middle": {
			files: map[string]string{"a/a_test.go": bothBackends,
				"b/b_test.go": "package b\nimport (\"testing\"; \"os\")\nfunc TestIt(t *testing.T) { t.Log(\"last words\"); os.Exit(3) }\n"},
			want: []string{"last words", "FAIL\texample.org/m/b\t", "3 passed, 1 failed, 0 skipped\n"},
		},
		"a package does not compile beside a failed test": {
			files: map[string]string{"a/a_test.go": bothBackends, "b/b_test.go": body("b", `t.Fail()`), "c/c_test.go": body("c", `nowhere()`)},
			want:  []string{"undefined: nowhere", "[build failed]", "3 passed, 2 failed, 0 skipped\n"},
		},
		"a test is skipped": {
			files: map[string]string{"a/a_test.go": bothBackends, "b/b_test.go": body("b", `t.Skip("no database here")`)},
			want:  []string{"no database here", "skipped, which no test may be: example.org/m/b TestIt", "3 passed, 0 failed, 1 skipped\n"},
		},
		"a backend is not tested": {
			files: map[string]string{"a/a_test.go": strings.ReplaceAll(bothBackends, `"postgres"`, `"sqlite again"`)},
			want:  []string{"PostgreSQL 15.18 in 0 tests", `no test with "postgres" in its name passed`},
		},
		"there is no test": {
			files: map[string]string{"b/b.go": "package b\n"},
			want:  []string{"0 passed, 0 failed, 0 skipped\n"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, good := reportOf(t, tt.files)
			if good != tt.good {
				t.Errorf("reported as good: %v, want %v", good, tt.good)
			}
			for _, want := range tt.want {
				if !strings.Contains(got, want) {
					t.Errorf("%q is missing", want)
				}
			}
			if tt.never != "" && strings.Contains(got, tt.never) {
				t.Errorf("%q should not be there", tt.never)
			}
			if t.Failed() {
				t.Log(got)
			}
		})
	}
}

func TestWhatIsNoTestRunIsRefused(t *testing.T) {
	err := newReport(&bytes.Buffer{}).read(strings.NewReader("ok  \tm/a\t0.1s\n"))
	if err == nil || !strings.Contains(err.Error(), "go test -json") {
		t.Errorf("got %v", err)
	}
}

func TestTheDatabaseDriverIsReadFromTheModule(t *testing.T) {
	got := driverIn(strings.NewReader("require (\n\tmodernc.org/libc v1.2.3\n\tmodernc.org/sqlite v1.60.1 // indirect\n)\n"))
	if got != "modernc.org/sqlite v1.60.1" {
		t.Errorf("got %q", got)
	}
}

package main

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"
)

func TestAModuleIsHeldByATestOrHasAReason(t *testing.T) {
	module := fstest.MapFS{
		"docs/certification.md": {Data: []byte("# Certification\n\n## Basic (4 modules), twice\n\n| module | what | held by |\n|---|---|---|\n" +
			"| `oidcc-server` | all | `TestServer` |\n| `oidcc-prompt-login` | asks | `TestPrompt` |\n| `oidcc-scope-phone` | a phone | no phone is kept |\n" +
			"\n## What else\n\n| `oidcc-other` | not counted | `TestServer` |\n")},
		"a/a_test.go": {Data: []byte("package a\n// TestServer is oidcc-server.\nfunc TestServer() { _ = \"oidcc-prompt-log\" }\n")},
	}
	var out strings.Builder
	if err := reportModules(module, &out); err != nil {
		t.Fatal(err)
	}
	want := `
certification modules
  oidcc-scope-phone: no phone is kept
Basic                                      1 of   4
  3 are listed
modules without a test and without a reason: oidcc-prompt-login
`
	if out.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", out.String(), want)
	}
}

// The plans of the first wave are whole, and nothing in them is left open.
func TestEveryModuleOfTheFirstWaveIsHeldOrHasAReason(t *testing.T) {
	text, err := os.ReadFile("../../docs/certification.md")
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for _, p := range plans(string(text)) {
		counts[p.name] = len(p.rows)
	}
	for name, want := range map[string]int{
		"Configuration": 1, "Basic": 38, "Dynamic": 23, "RP-initiated logout": 11, "Front-channel logout": 2, "Back-channel logout": 2,
	} {
		if counts[name] != want {
			t.Errorf("%s has %d modules, want %d", name, counts[name], want)
		}
	}
	var out strings.Builder
	if err := reportModules(os.DirFS("../.."), &out); err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(out.String(), "without a reason: \n") || strings.Contains(out.String(), "are listed") {
		t.Error(out.String())
	}
}

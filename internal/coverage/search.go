package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"regexp"
	"strings"
	"unicode"
)

// search gives, for each id, the places that name it: "package TestName", or the path of a file.
func search(module fs.FS, ids []string) (map[string][]string, error) {
	known, named := map[string]bool{}, map[string][]string{}
	for _, id := range ids {
		known[id] = true
	}
	note := func(place, text string) {
		for _, id := range idsIn(text, known) {
			named[id] = append(named[id], place)
		}
	}
	err := fs.WalkDir(module, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return notOurs(name)
		}
		if !isTest(name) {
			return nil
		}
		text, err := fs.ReadFile(module, name)
		if err != nil {
			return err
		}
		if strings.HasSuffix(name, ".go") {
			return eachTest(name, text, note)
		}
		note(name, string(text))
		return nil
	})
	return named, err
}

// notOurs leaves out what others wrote, and this package, whose tests name ids that they do not check.
func notOurs(dir string) error {
	base := path.Base(dir)
	if dir != "." && (strings.HasPrefix(base, ".") || base == "node_modules") || dir == "internal/coverage" {
		return fs.SkipDir
	}
	return nil
}

func isTest(name string) bool {
	if path.Dir(name) == "storage/storagetest" { // what the tests of each backend run
		return true
	}
	for _, suffix := range []string{"_test.go", ".txtar", ".test.js", ".test.mjs", ".test.ts"} {
		if strings.HasSuffix(name, suffix) {
			return true
		}
	}
	return false
}

// eachTest notes the text of each test function, its comment included, and under the file's name what stands between them: tables
// and helpers that tests share.
func eachTest(name string, text []byte, note func(place, text string)) error {
	files := token.NewFileSet()
	f, err := parser.ParseFile(files, name, text, parser.ParseComments)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	offset := func(p token.Pos) int { return files.Position(p).Offset }
	rest := 0
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Recv != nil || !testName.MatchString(fn.Name.Name) {
			continue
		}
		start := offset(fn.Pos())
		if fn.Doc != nil {
			start = offset(fn.Doc.Pos())
		}
		note(name, string(text[rest:start]))
		rest = offset(fn.End())
		note(path.Dir(name)+" "+fn.Name.Name, string(text[start:rest]))
	}
	note(name, string(text[rest:]))
	return nil
}

var (
	testName = regexp.MustCompile(`^(Test|Fuzz|Benchmark|Example)`)
	// inName finds the K12 of TestK12TheKeyIsShownOnce; words that are ids as they stand need no pattern.
	inName = regexp.MustCompile(`^(?:Test|Fuzz)([KO]\d+)[A-Z]`)
	dashed = regexp.MustCompile(`(?:SEC|FLT)-[A-Z]+-\d+|INV-\d+`)
)

// idsIn gives the known ids that text names, each once.
func idsIn(text string, known map[string]bool) []string {
	found, ids := map[string]bool{}, []string(nil)
	add := func(id string) {
		if known[id] && !found[id] {
			found[id] = true
			ids = append(ids, id)
		}
	}
	words := strings.FieldsFunc(text, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '_' && r != '-'
	})
	for _, word := range words {
		for _, part := range strings.Split(word, "_") {
			add(part)
			if m := inName.FindStringSubmatch(part); m != nil {
				add(m[1])
			}
		}
		for _, id := range dashed.FindAllString(strings.ReplaceAll(word, "_", "-"), -1) {
			add(id)
		}
	}
	return ids
}

package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

// Limits keep every file readable in one sitting. Raise one for a single case,
// with its reason, in exceptions.
const (
	maxFile   = 400 // lines
	maxFunc   = 60  // lines
	maxParams = 5
	maxMethod = 10 // per interface
	maxFields = 15 // per struct
)

// exceptions are the cases in which a limit would fight clarity: "file.go:Name"
// to the reason.
var exceptions = map[string]string{
	"storage/storage.go:Stores": "it is the sum of the small stores, one line for each; nothing but the wiring uses it whole",
}

// clocks are the places that may read the clock: what a process starts with.
var clocks = []string{"cmd/", "internal/bench/", "internal/pgtest/", "internal/housetest/", "docs/examples/"}

func TestShape(t *testing.T) {
	documented := map[string]bool{}
	for _, file := range sources(t) {
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, filepath.Join(root, file), nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		dir := path.Dir(file)
		documented[dir] = documented[dir] || f.Doc != nil
		c := checker{t: t, fset: fset, file: file}
		c.limit(f, path.Base(file), fset.File(f.Pos()).LineCount(), maxFile, "lines")
		ast.Inspect(f, func(n ast.Node) bool { c.check(n); return true })
	}
	for dir, ok := range documented {
		if !ok {
			t.Errorf("%s: no package comment", dir)
		}
	}
}

type checker struct {
	t    *testing.T
	fset *token.FileSet
	file string
}

func (c checker) limit(n ast.Node, name string, got, most int, unit string) {
	if got > most && exceptions[c.file+":"+name] == "" {
		c.t.Errorf("%s: %s has %d %s, at most %d", c.fset.Position(n.Pos()), name, got, unit, most)
	}
}

func (c checker) check(n ast.Node) {
	switch n := n.(type) {
	case *ast.FuncDecl:
		c.limit(n, n.Name.Name, c.fset.Position(n.End()).Line-c.fset.Position(n.Pos()).Line+1, maxFunc, "lines")
		c.limit(n, n.Name.Name, n.Type.Params.NumFields(), maxParams, "parameters")
		if n.Name.Name == "init" && n.Recv == nil {
			c.t.Errorf("%s: init function", c.fset.Position(n.Pos()))
		}
	case *ast.TypeSpec:
		switch ty := n.Type.(type) {
		case *ast.InterfaceType:
			c.limit(n, n.Name.Name, ty.Methods.NumFields(), maxMethod, "methods")
		case *ast.StructType:
			c.limit(n, n.Name.Name, ty.Fields.NumFields(), maxFields, "fields")
		}
	case *ast.SelectorExpr:
		x, ok := n.X.(*ast.Ident)
		if !ok {
			return
		}
		if x.Name == "time" && (n.Sel.Name == "Now" || n.Sel.Name == "Since" || n.Sel.Name == "Until") && !c.mayReadClock() {
			c.t.Errorf("%s: time.%s outside cmd; take Now as a field", c.fset.Position(n.Pos()), n.Sel.Name)
		}
	}
}

func (c checker) mayReadClock() bool {
	for _, dir := range clocks {
		if strings.HasPrefix(c.file, dir) {
			return true
		}
	}
	return false
}

package shell

import (
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"
)

//go:embed templates
var files embed.FS

// own are the shell's own pages: forms, confirmations, secrets, failures.
var own = MustParse(files)

// Templates are the pages of one package. Each file in templates/ is a page:
// what stands below the heading, with a Frame as its data. A file whose name
// ends in .part.html defines pieces for all of them.
type Templates struct{ pages map[string]*template.Template }

// MustParse reads templates/*.html of an embedded folder. It panics where one
// does not parse, at the start of the program.
func MustParse(fsys fs.FS) *Templates {
	names, err := fs.Glob(fsys, "templates/*.html")
	if err != nil || len(names) == 0 {
		panic(fmt.Sprint("console: no templates: ", err))
	}
	base := template.Must(template.New("").Funcs(funcs).ParseFS(files, "templates/*.part.html"))
	var pages []string
	for _, name := range names {
		if !strings.HasSuffix(name, ".part.html") {
			pages = append(pages, name)
		} else if fsys != fs.FS(files) {
			template.Must(base.Parse(read(fsys, name)))
		}
	}
	t := &Templates{pages: map[string]*template.Template{}}
	for _, name := range pages {
		page := template.Must(base.Clone())
		template.Must(page.New("content").Parse(read(fsys, name)))
		t.pages[path.Base(name)] = page
	}
	return t
}

func read(fsys fs.FS, name string) string {
	b, err := fs.ReadFile(fsys, name)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// Show shows a page of these templates: the name of its file.
func (t *Templates) Show(name string, v View) Reply {
	return Reply{view: v, templates: t, name: name}
}

// Fragment is a part of a page, for htmx: the file alone, without heading and
// navigation.
func (t *Templates) Fragment(name string, data any) Reply {
	return Reply{view: View{Data: data}, templates: t, name: name, fragment: true}
}

var funcs = template.FuncMap{
	"iso": func(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") },
	"utc": func(t time.Time) string { return t.UTC().Format("2\u00a0Jan\u00a02006, 15:04\u00a0UTC") },
	"asset": func(name string) (string, error) {
		a, ok := assets[name]
		if !ok {
			return "", fmt.Errorf("console: no asset %q", name)
		}
		return AssetsPath + name + "?v=" + a.Version, nil
	},
	"column": func(columns []string, i int) string {
		if i < len(columns) {
			return columns[i]
		}
		return ""
	},
	"list":  func(items ...any) []any { return items },
	"count": Count,
}

// Count writes a number for people: 12 345.
func Count(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "\u202f" + s[i:]
	}
	return s
}

package main

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// readFile takes the YAML file, where one is named: a mapping of settings to
// text, numbers, booleans or lists of them.
func (s source) readFile() (layer, []mistake) {
	if s.file == "" {
		return layer{}, nil
	}
	raw, err := os.ReadFile(s.file)
	if err != nil {
		return layer{}, []mistake{fileMistake(s.file, err)}
	}
	f := file{path: s.file, layer: layer{}}
	tree, err := parser.ParseBytes(raw, 0)
	if err != nil {
		f.notYAML(err)
		return f.layer, f.found
	}
	for _, doc := range tree.Docs {
		f.document(doc.Body)
	}
	f.checkMode()
	return f.layer, f.found
}

// file is a configuration file being read.
type file struct {
	path  string
	layer layer
	found []mistake
}

func (f *file) at(t *token.Token) string {
	return fmt.Sprintf("%s:%d:%d", f.path, t.Position.Line, t.Position.Column)
}

func (f *file) mistake(t *token.Token, problem, fix string) {
	f.found = append(f.found, mistake{Where: f.at(t), Problem: problem, Fix: fix})
}

// notYAML tells where the parser stopped, without quoting the line: it may hold a secret.
func (f *file) notYAML(err error) {
	var se yaml.Error
	if errors.As(err, &se) && se.GetToken() != nil {
		f.mistake(se.GetToken(), "it is not YAML: "+se.GetMessage(), "lines of the form setting: value")
		return
	}
	f.found = append(f.found, mistake{Where: f.path, Problem: "it is not YAML", Fix: "lines of the form setting: value"})
}

func (f *file) document(n ast.Node) {
	switch n := n.(type) {
	case nil:
	case *ast.NullNode, *ast.CommentGroupNode:
	case *ast.MappingNode:
		for _, v := range n.Values {
			f.entry(v)
		}
	case *ast.MappingValueNode:
		f.entry(n)
	default:
		f.mistake(n.GetToken(), "settings are expected here", "lines of the form setting: value")
	}
}

func (f *file) entry(n *ast.MappingValueNode) {
	at := n.Key.GetToken()
	key := at.Value
	i := slices.IndexFunc(settings(), func(st setting) bool { return st.key == key })
	if i < 0 {
		f.mistake(at, fmt.Sprintf("there is no setting %q", key), suggestion(key, func(st setting) string { return st.key }))
		return
	}
	if _, twice := f.layer[key]; twice {
		f.mistake(at, key+" is set twice", "one of them")
		return
	}
	text, ok := f.value(settings()[i], n.Value)
	if ok {
		f.layer[key] = given{text, f.at(n.Value.GetToken())}
	}
}

// value is the text of a node; null counts as not set.
func (f *file) value(st setting, n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.NullNode:
		return "", false
	case *ast.SequenceNode:
		if !st.list {
			f.mistake(n.GetToken(), st.key+" takes one value, not a list", "")
			return "", false
		}
		var parts []string
		for _, v := range n.Values {
			if t, ok := scalar(v); ok {
				parts = append(parts, t)
			} else {
				f.mistake(v.GetToken(), "an entry of "+st.key+" is not a text", "")
			}
		}
		return strings.Join(parts, ","), true
	default:
		t, ok := scalar(n)
		if !ok {
			f.mistake(n.GetToken(), st.key+" takes a plain value; settings are not nested", st.key+": value")
		}
		return t, ok
	}
}

func scalar(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value, true
	}
	return "", false
}

// checkMode refuses a file with secrets that every user of the machine may read.
func (f *file) checkMode() {
	st, err := os.Stat(f.path)
	if err != nil || st.Mode().Perm()&0o007 == 0 {
		return
	}
	for _, s := range settings() {
		g, ok := f.layer[s.key].(given)
		if !ok {
			continue
		}
		password := false
		if u, err := url.Parse(g.Text); err == nil && u.User != nil {
			_, password = u.User.Password()
		}
		if s.secret || password {
			f.found = append(f.found, mistake{
				Where: g.Origin, Problem: fmt.Sprintf("%s is a secret, and every user of this machine may read this file (mode %04o)", s.key, st.Mode().Perm()),
				Fix: "chmod 600 " + f.path,
			})
		}
	}
}

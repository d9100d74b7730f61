package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// facts are what is known of a file, a package or a checkout.
type facts struct {
	files, lines, exported, todos int
	undocumented                  []string // exported symbols without a doc comment
	longest                       function
	outside                       map[string]bool // imports that are neither the module's nor the standard library's
	broken                        []string        // files that do not parse
}

type function struct {
	name  string
	lines int
}

var todo = regexp.MustCompile(`\b(TODO|FIXME)\b`)

// inspect parses one file of the module.
func inspect(path, module string) (facts, error) {
	src, err := os.ReadFile(path)
	if err != nil {
		return facts{}, err
	}
	f := facts{files: 1, lines: bytes.Count(src, []byte("\n")), outside: map[string]bool{}}
	if len(src) > 0 && src[len(src)-1] != '\n' {
		f.lines++
	}
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		f.broken = []string{path[strings.LastIndexByte(path, '/')+1:]}
		return f, nil // a finding, not a failure of the audit
	}
	for _, group := range file.Comments {
		for _, c := range group.List {
			f.todos += len(todo.FindAllString(c.Text, -1))
		}
	}
	for _, spec := range file.Imports {
		if p, err := strconv.Unquote(spec.Path.Value); err == nil && isOutside(p, module) {
			f.outside[p] = true
		}
	}
	test := strings.HasSuffix(path, "_test.go")
	for _, decl := range file.Decls {
		if fn, ok := decl.(*ast.FuncDecl); ok {
			n := set.Position(fn.End()).Line - set.Position(fn.Pos()).Line + 1
			if n > f.longest.lines {
				f.longest = function{funcName(fn), n}
			}
		}
		if !test {
			f.symbols(decl)
		}
	}
	return f, nil
}

// isOutside: the standard library's paths have no dot in their first element.
func isOutside(path, module string) bool {
	first, _, _ := strings.Cut(path, "/")
	ours := module != "" && (path == module || strings.HasPrefix(path, module+"/"))
	return strings.Contains(first, ".") && !ours
}

// symbols counts the exported symbols of a declaration.
func (f *facts) symbols(decl ast.Decl) {
	note := func(name string, documented bool) {
		f.exported++
		if !documented {
			f.undocumented = append(f.undocumented, name)
		}
	}
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if d.Name.IsExported() && (d.Recv == nil || ast.IsExported(receiver(d))) {
			note(funcName(d), d.Doc != nil)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				if s.Name.IsExported() {
					note(s.Name.Name, d.Doc != nil || s.Doc != nil)
				}
			case *ast.ValueSpec:
				for _, name := range s.Names {
					if name.IsExported() {
						note(name.Name, d.Doc != nil || s.Doc != nil || s.Comment != nil)
					}
				}
			}
		}
	}
}

func funcName(fn *ast.FuncDecl) string {
	if r := receiver(fn); r != "" {
		return r + "." + fn.Name.Name
	}
	return fn.Name.Name
}

// receiver is the name of a method's type, "" for a function.
func receiver(fn *ast.FuncDecl) string {
	if fn.Recv == nil || len(fn.Recv.List) == 0 {
		return ""
	}
	for x := fn.Recv.List[0].Type; ; {
		switch t := x.(type) {
		case *ast.StarExpr:
			x = t.X
		case *ast.IndexExpr:
			x = t.X
		case *ast.IndexListExpr:
			x = t.X
		case *ast.ParenExpr:
			x = t.X
		case *ast.Ident:
			return t.Name
		default:
			return ""
		}
	}
}

// add sums up; the longest function is the first of those that are equally long.
func (f *facts) add(o facts) {
	f.files += o.files
	f.lines += o.lines
	f.exported += o.exported
	f.todos += o.todos
	f.undocumented = append(f.undocumented, o.undocumented...)
	f.broken = append(f.broken, o.broken...)
	if o.longest.lines > f.longest.lines {
		f.longest = o.longest
	}
	if f.outside == nil {
		f.outside = map[string]bool{}
	}
	for m := range o.outside {
		f.outside[m] = true
	}
}

func (f *facts) packageLine() string {
	parts := []string{
		count(f.files, "file"), count(f.lines, "line"),
		fmt.Sprintf("%d exported, %d of them undocumented", f.exported, len(f.undocumented)),
		count(f.todos, "TODO"), count(len(f.outside), "import") + " from outside",
	}
	if f.longest.lines > 0 {
		parts = append(parts, fmt.Sprintf("longest function %s with %s", f.longest.name, count(f.longest.lines, "line")))
	}
	if len(f.broken) > 0 {
		parts = append(parts, "does not parse: "+strings.Join(f.broken, " "))
	}
	return strings.Join(parts, ", ")
}

// fileLine names the one finding that matters most.
func (f *facts) fileLine() string {
	finding := "nothing to say"
	switch {
	case len(f.broken) > 0:
		finding = "does not parse"
	case len(f.undocumented) > 0:
		names := slices.Clone(f.undocumented)
		if len(names) > 5 {
			names = append(names[:5], fmt.Sprintf("and %d more", len(f.undocumented)-5))
		}
		finding = "undocumented: " + strings.Join(names, ", ")
	case f.longest.lines > 80:
		finding = fmt.Sprintf("%s has %d lines", f.longest.name, f.longest.lines)
	case f.todos > 0:
		finding = count(f.todos, "TODO")
	}
	return fmt.Sprintf("%s, %d exported; %s", count(f.lines, "line"), f.exported, finding)
}

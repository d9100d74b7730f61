package arch

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Bounds of a file, in lines. From look on the second idea is looked for; beyond the others the rule fails.
const (
	lookLines = 400
	maxLines  = 600
	maxTest   = 800
)

// Sizes: no file is too long to be read at one go. Generated files have no bound.
func Sizes(t Tree) []Violation {
	var vs []Violation
	for _, f := range t.Files {
		limit := maxLines
		if f.Test {
			limit = maxTest
		}
		if !f.Generated && f.Lines > limit {
			vs = append(vs, Violation{f.Path, 0, fmt.Sprintf("%d lines, at most %d; split it by its ideas", f.Lines, limit)})
		}
	}
	return sorted(vs)
}

// Large lists the files that are near the bound. It is told, and fails nothing.
func Large(t Tree) []Violation {
	var vs []Violation
	for _, f := range t.Files {
		if !f.Generated && f.Lines > lookLines {
			vs = append(vs, Violation{f.Path, 0, fmt.Sprintf("%d lines; look for the second idea", f.Lines)})
		}
	}
	return sorted(vs)
}

// Docs: every package says what it is, in doc.go; a program says it above its package clause. Generated packages and
// folders that hold tests alone are left out.
func Docs(t Tree) []Violation {
	written := make(map[string][]*File) // folder -> files that people wrote, tests left out
	for _, f := range t.Files {
		if !f.Test && !f.Generated {
			written[f.Dir] = append(written[f.Dir], f)
		}
	}
	var vs []Violation
	for dir, files := range written {
		name := files[0].Package
		i := slices.IndexFunc(files, func(f *File) bool {
			return f.AST.Doc != nil && (name == "main" || path.Base(f.Path) == "doc.go")
		})
		switch {
		case i < 0 && name == "main":
			vs = append(vs, Violation{dir, 0, "no comment above the package clause says what the program does"})
		case i < 0:
			vs = append(vs, Violation{dir, 0, "no doc.go with a package comment"})
		case name != "main" && !strings.HasPrefix(files[i].AST.Doc.Text(), "Package "+name+" "):
			vs = append(vs, Violation{files[i].Path, 0, "the comment does not begin with \"Package " + name + " \""})
		}
	}
	return sorted(vs)
}

// empties are names that say nothing of what is inside.
var empties = []string{"util", "utils", "common", "helper", "helpers", "types", "manager", "managers", "misc", "shared", "base", "lib"}

// Names: a package is one lower-case noun that says what is inside. Generated packages are named by their generators.
func Names(t Tree) []Violation {
	var vs []Violation
	for _, f := range t.Files {
		name := strings.TrimSuffix(f.Package, "_test")
		switch {
		case f.Generated || name == "main":
		case slices.Contains(empties, name) || slices.Contains(empties, path.Base(f.Dir)):
			vs = append(vs, Violation{f.Dir, 0, "package " + name + " is named for nothing that is inside"})
		case strings.ContainsFunc(name, func(r rune) bool { return r == '_' || r >= 'A' && r <= 'Z' }):
			vs = append(vs, Violation{f.Dir, 0, "package " + name + " is not one lower-case word"})
		}
	}
	return sorted(vs)
}

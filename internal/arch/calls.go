package arch

import (
	"fmt"
	"go/ast"
	"slices"
)

// exemption frees a folder and what lies below it from one rule.
type exemption struct {
	folder string
	why    string
}

// ownGoroutines may start goroutines by other means than internal/run.
var ownGoroutines = []exemption{
	{"internal/run", "this is where goroutines are started"},
	{"transport/ziti/overlay", "a module of its own, which cannot import internal/run; its main owns them by an errgroup"},
}

// Goroutines are started by internal/run alone: no go statement, no errgroup, no WaitGroup.Go.
func Goroutines(t Tree) []Violation {
	var vs []Violation
	const remedy = "; start it by a run.Group, whose owner waits for it"
	needed := make(map[string]bool)
	for _, f := range t.Files {
		var found []Violation
		for _, i := range f.Imports {
			if i.Path == "golang.org/x/sync/errgroup" {
				found = append(found, Violation{f.Path, i.Line, "imports errgroup" + remedy})
			}
		}
		ast.Inspect(f.AST, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				found = append(found, Violation{f.Path, f.line(n), "go statement" + remedy})
			case *ast.CallExpr:
				// run.Group.Go takes a name too; what takes a function alone is another kind of group.
				if s, ok := n.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "Go" && len(n.Args) == 1 {
					found = append(found, Violation{f.Path, f.line(n), "Go of another kind of group" + remedy})
				}
			}
			return true
		})
		i := slices.IndexFunc(ownGoroutines, func(e exemption) bool { return under(f.Dir, e.folder) })
		if i < 0 {
			vs = append(vs, found...)
		} else if len(found) > 0 {
			needed[ownGoroutines[i].folder] = true
		}
	}
	for _, e := range ownGoroutines {
		if t.has(e.folder) && !needed[e.folder] {
			vs = append(vs, Violation{e.folder, 0, "starts no goroutine; take its exemption out of internal/arch/calls.go"})
		}
	}
	return sorted(vs)
}

// has tells whether there is a Go file in or below the folder.
func (t Tree) has(folder string) bool {
	return slices.ContainsFunc(t.Files, func(f *File) bool { return under(f.Dir, folder) })
}

// Skips: a test is skipped by realpart.Need alone, which says what did not run. A rapid test may skip a case that it
// drew; that is another case, not a test that did not run.
func Skips(t Tree) []Violation {
	var vs []Violation
	for _, f := range t.Files {
		if f.Dir == "internal/realpart" || !f.imports("testing") {
			continue
		}
		ast.Inspect(f.AST, func(n ast.Node) bool {
			c, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			s, ok := c.Fun.(*ast.SelectorExpr)
			if ok && slices.Contains([]string{"Skip", "Skipf", "SkipNow"}, s.Sel.Name) && !drawn(s.X) {
				vs = append(vs, Violation{f.Path, f.line(c), s.Sel.Name + "; a test is skipped by realpart.Need alone"})
			}
			return true
		})
	}
	return sorted(vs)
}

// drawn tells whether the expression is a parameter of type *rapid.T.
func drawn(x ast.Expr) bool {
	id, ok := x.(*ast.Ident)
	if !ok || id.Obj == nil {
		return false
	}
	field, ok := id.Obj.Decl.(*ast.Field)
	if !ok {
		return false
	}
	star, ok := field.Type.(*ast.StarExpr)
	if !ok {
		return false
	}
	s, ok := star.X.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	pkg, ok := s.X.(*ast.Ident)
	return ok && pkg.Name == "rapid" && s.Sel.Name == "T"
}

// Sleeps: a test waits for a condition with a deadline; it sleeps only where time is synctest's.
func Sleeps(t Tree) []Violation {
	var vs []Violation
	for _, f := range t.Files {
		if !f.Test || f.imports("testing/synctest") {
			continue
		}
		f.uses("time", func(name string, line int) {
			if name == "Sleep" {
				vs = append(vs, Violation{f.Path, line, fmt.Sprintf("time.%s outside testing/synctest; wait for a condition, with a deadline", name)})
			}
		})
	}
	return sorted(vs)
}

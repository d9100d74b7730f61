package arch

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Module is the path of Nave's main module. Paths of nested modules begin with it, followed by their folder.
const Module = "github.com/nave-dev/nave"

// Tree is what the rules look at: the Go files of a repository.
type Tree struct {
	Files []*File // in the order of their paths

	// Links holds, for the folder of each small program that exists, the import paths of all packages that it links.
	Links map[string][]string

	// FuzzPage is the text of docs/fuzzing.md; empty when there is none.
	FuzzPage string
}

// File is one Go file.
type File struct {
	Path      string // from the repository's folder, with slashes
	Dir       string // folder of the package; "." is the repository's
	Package   string // name in the package clause
	Lines     int
	Test      bool // _test.go
	Generated bool // by its name, or by the header "Code generated ... DO NOT EDIT."
	AST       *ast.File
	Imports   []Import

	fset *token.FileSet
}

// Import is one import of a file.
type Import struct {
	Path string
	Name string // as the file calls the package; "." and "_" included
	Line int
}

// Ours returns the folder of the imported package when it belongs to Nave.
func (i Import) Ours() (dir string, ok bool) {
	if i.Path == Module {
		return ".", true
	}
	return strings.CutPrefix(i.Path, Module+"/")
}

// Violation is one broken rule at one place.
type Violation struct {
	Path string
	Line int // 0: the whole file or folder
	Text string
}

func (v Violation) String() string {
	if v.Line == 0 {
		return v.Path + ": " + v.Text
	}
	return fmt.Sprintf("%s:%d: %s", v.Path, v.Line, v.Text)
}

// Load reads the Go files below the root of fsys. Like the go command it leaves out testdata and names that begin with
// a dot or an underscore; it leaves out the built programs and what npm fetches.
func Load(fsys fs.FS) (Tree, error) {
	var t Tree
	err := fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			skip := name == "testdata" || name == "node_modules" || p == "bin" || p != "." && strings.ContainsAny(name[:1], "._")
			if skip {
				return fs.SkipDir
			}
			return nil
		}
		if p == fuzzPage {
			text, err := fs.ReadFile(fsys, p)
			t.FuzzPage = string(text)
			return err
		}
		if path.Ext(name) != ".go" || strings.ContainsAny(name[:1], "._") {
			return nil
		}
		text, err := fs.ReadFile(fsys, p)
		if err != nil {
			return err
		}
		f, err := parse(p, text)
		if err != nil {
			return fmt.Errorf("parse %s: %w", p, err)
		}
		t.Files = append(t.Files, f)
		return nil
	})
	slices.SortFunc(t.Files, func(a, b *File) int { return cmp.Compare(a.Path, b.Path) })
	return t, err
}

func parse(p string, text []byte) (*File, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, p, text, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	f := &File{
		Path:      p,
		Dir:       path.Dir(p),
		Package:   file.Name.Name,
		Lines:     strings.Count(string(text), "\n"),
		Test:      strings.HasSuffix(p, "_test.go"),
		Generated: strings.HasSuffix(p, ".pb.go") || strings.HasSuffix(p, ".connect.go") || ast.IsGenerated(file),
		AST:       file,
		fset:      fset,
	}
	for _, spec := range file.Imports {
		ip, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, err
		}
		i := Import{Path: ip, Name: defaultName(ip), Line: f.line(spec)}
		if spec.Name != nil {
			i.Name = spec.Name.Name
		}
		f.Imports = append(f.Imports, i)
	}
	return f, nil
}

// defaultName is what a package is called that is imported without a name: enough for the standard library.
func defaultName(importPath string) string {
	base := path.Base(importPath)
	if len(base) > 1 && base[0] == 'v' && strings.Trim(base[1:], "0123456789") == "" {
		base = path.Base(path.Dir(importPath)) // math/rand/v2 is rand
	}
	return base
}

func (f *File) line(n ast.Node) int { return f.fset.Position(n.Pos()).Line }

// imports tells whether the file imports the package.
func (f *File) imports(importPath string) bool {
	return slices.ContainsFunc(f.Imports, func(i Import) bool { return i.Path == importPath })
}

// uses calls found for each mention of a name of the imported package, called or not.
func (f *File) uses(importPath string, found func(name string, line int)) {
	for _, i := range f.Imports {
		if i.Path != importPath {
			continue
		}
		ast.Inspect(f.AST, func(n ast.Node) bool {
			s, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			// A name that the parser resolved is a variable of this file, not the package.
			if x, ok := s.X.(*ast.Ident); ok && x.Name == i.Name && x.Obj == nil {
				found(s.Sel.Name, f.line(s))
			}
			return true
		})
	}
}

// standard tells whether a package belongs to the standard library: its first element has no dot.
func standard(importPath string) bool {
	first, _, _ := strings.Cut(importPath, "/")
	return !strings.Contains(first, ".")
}

// under tells whether dir is the folder or lies below it.
func under(dir, folder string) bool { return dir == folder || strings.HasPrefix(dir, folder+"/") }

// sorted brings violations into the order that every rule promises.
func sorted(vs []Violation) []Violation {
	slices.SortStableFunc(vs, func(a, b Violation) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Text, b.Text))
	})
	return slices.Compact(vs)
}

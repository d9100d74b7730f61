// Package docs_test holds the documents to the code: links lead somewhere, and what the API can say is explained.
package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

const root = ".."

// documents lists the Markdown files of the repository, from its folder.
func documents(t *testing.T) []string {
	var out []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "bin" || name == "testdata" || name == "node_modules") {
			return filepath.SkipDir
		}
		if !d.IsDir() && filepath.Ext(name) == ".md" {
			out = append(out, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"README.md", "docs/flow.md", "docs/protocol.md"} {
		if !slices.Contains(out, filepath.Join(root, want)) {
			t.Fatalf("%s is not there", want)
		}
	}
	return out
}

func text(t *testing.T, path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var (
	fence   = regexp.MustCompile("(?ms)^```.*?^```")
	link    = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.+)$`)
	quoted  = regexp.MustCompile("`([^`\n]+)`")
	file    = regexp.MustCompile(`^[a-z][a-z-]*/[A-Za-z0-9_./-]+\.(go|proto|md|sql|yaml)$`)
	test    = regexp.MustCompile(`^Test[A-Z][A-Za-z0-9]*$`)
)

// anchor is the id that a heading gets: lower case, words joined by hyphens, punctuation left out.
func anchor(h string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
			return unicode.ToLower(r)
		}
		return -1
	}, h)
}

func anchors(md string) map[string]bool {
	out := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(fence.ReplaceAllString(md, ""), -1) {
		out[anchor(m[1])] = true
	}
	return out
}

func TestLinksLeadSomewhere(t *testing.T) {
	links := 0
	for _, doc := range documents(t) {
		for _, m := range link.FindAllStringSubmatch(fence.ReplaceAllString(text(t, doc), ""), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			links++
			to, id, _ := strings.Cut(m[1], "#")
			target := doc
			if to != "" {
				target = filepath.Join(filepath.Dir(doc), to)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: the link %s leads nowhere", doc, m[1])
			} else if id != "" && !anchors(text(t, target))[id] {
				t.Errorf("%s: %s has no heading #%s", doc, target, id)
			}
		}
	}
	if links < 50 {
		t.Errorf("only %d links were found", links)
	}
}

// TestNamedFilesAndTestsExist checks what documents name without a link: files in code quotes, and tests.
func TestNamedFilesAndTestsExist(t *testing.T) {
	tests := functions(t)
	for _, doc := range documents(t) {
		for _, m := range quoted.FindAllStringSubmatch(fence.ReplaceAllString(text(t, doc), ""), -1) {
			switch name := m[1]; {
			case file.MatchString(name):
				if _, err := os.Stat(filepath.Join(root, name)); err != nil {
					t.Errorf("%s names %s, which is not there", doc, name)
				}
			case test.MatchString(name) && !tests[name]:
				t.Errorf("%s names the test %s, which is not there", doc, name)
			}
		}
	}
}

// functions lists the test functions of the repository by name.
func functions(t *testing.T) map[string]bool {
	out := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, "_test.go") {
			for _, m := range declared.FindAllStringSubmatch(text(t, path), -1) {
				out[m[1]] = true
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestProtocolNamesEverything fails when package api can say something on the wire that protocol.md does not explain.
func TestProtocolNamesEverything(t *testing.T) {
	protocol := text(t, "protocol.md")
	for typ, atLeast := range map[string]int{"EventType": 11, "Code": 12, "HeldState": 5, "Reason": 8, "Outcome": 3, "Health": 4} {
		values := constants(t, typ)
		if len(values) < atLeast {
			t.Errorf("%d constants of type api.%s were found, want at least %d", len(values), typ, atLeast)
		}
		for _, v := range values {
			if !strings.Contains(protocol, "| `"+v+"`") {
				t.Errorf("protocol.md has no row for %q of type api.%s", v, typ)
			}
		}
	}
}

// constants returns the string values of the constants of a type of package api.
func constants(t *testing.T, typ string) []string {
	files, err := filepath.Glob(filepath.Join(root, "api", "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, path := range files {
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 {
				return true
			}
			id, _ := spec.Type.(*ast.Ident)
			lit, ok := spec.Values[0].(*ast.BasicLit)
			if id == nil || id.Name != typ || !ok {
				return true
			}
			if v, err := strconv.Unquote(lit.Value); err == nil {
				out = append(out, v)
			}
			return true
		})
	}
	return out
}

package docs_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// sources parses every Go file of the repository's programs: no tests, no generated code.
func sources(t *testing.T) map[string]*ast.File {
	t.Helper()
	out := map[string]*ast.File{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && path != root && (strings.HasPrefix(name, ".") || slices.Contains([]string{"bin", "testdata", "sim"}, name)) {
			return filepath.SkipDir
		}
		if d.IsDir() || filepath.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") || strings.Contains(name, ".pb.") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err == nil {
			out[strings.TrimPrefix(filepath.ToSlash(path), root+"/")] = f
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// constant is the text of a string literal, or of several that are added.
func constant(e ast.Expr) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind != token.STRING {
			return "", false
		}
		s, err := strconv.Unquote(e.Value)
		return s, err == nil
	case *ast.BinaryExpr:
		a, okA := constant(e.X)
		b, okB := constant(e.Y)
		return a + b, e.Op == token.ADD && (okA || okB)
	}
	return "", false
}

// declared is one metric as the code declares it: its kind and its labels.
type declared struct{ kind, labels string }

// metrics finds the declarations of metrics: calls of the library's constructors, and descriptions of gauges.
func metrics(t *testing.T) map[string]declared {
	out := map[string]declared{}
	for _, f := range sources(t) {
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			fun, ok := call.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			kind := map[string]string{"NewCounter": "counter", "NewCounterVec": "counter", "NewGauge": "gauge", "NewGaugeVec": "gauge", "NewGaugeFunc": "gauge",
				"NewHistogram": "histogram", "NewHistogramVec": "histogram", "NewDesc": "gauge"}[fun.Sel.Name]
			if kind == "" || len(call.Args) == 0 {
				return true
			}
			name, labels := "", ""
			ast.Inspect(call, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.CompositeLit:
					if array, ok := n.Type.(*ast.ArrayType); ok && fmt.Sprint(array.Elt) == "string" {
						for _, e := range n.Elts {
							s, _ := constant(e)
							labels = strings.TrimPrefix(labels+", `"+s+"`", ", ")
						}
					}
				case *ast.BasicLit:
					if s, _ := constant(n); name == "" && strings.HasPrefix(s, "nave_") {
						name = s
					}
				}
				return true
			})
			if name != "" {
				out[name] = declared{kind, labels}
			}
			return true
		})
	}
	return out
}

var row = regexp.MustCompile(`(?m)^\|(.+)\|$`)

// cells splits the rows of the tables of a page.
func cells(md string) (out [][]string) {
	for _, m := range row.FindAllStringSubmatch(fence.ReplaceAllString(md, ""), -1) {
		r := strings.Split(m[1], "|")
		for i := range r {
			r[i] = strings.TrimSpace(r[i])
		}
		out = append(out, r)
	}
	return out
}

// TestMetricsAreExplained compares the page of metrics with the declarations, both ways.
func TestMetricsAreExplained(t *testing.T) {
	code, page := metrics(t), map[string]declared{}
	for _, r := range cells(text(t, "operations/metrics.md")) {
		if name := strings.Trim(r[0], "`"); strings.HasPrefix(name, "nave_") {
			if len(r) != 4 || r[3] == "" {
				t.Errorf("the row of %s has %d columns, or no meaning", name, len(r))
				continue
			}
			page[name] = declared{r[1], r[2]}
		}
	}
	if len(code) < 30 {
		t.Fatalf("only %d declarations of metrics were found", len(code))
	}
	for name, d := range code {
		if p, ok := page[name]; !ok {
			t.Errorf("operations/metrics.md does not have %s", name)
		} else if p != d {
			t.Errorf("operations/metrics.md says of %s: %v, the code %v", name, p, d)
		}
	}
	for name := range page {
		if _, ok := code[name]; !ok {
			t.Errorf("operations/metrics.md has %s, which the code does not declare", name)
		}
	}
	// What other pages say of metrics must be there too.
	for _, doc := range documents(t) {
		for _, name := range regexp.MustCompile("`(nave_(?:hub|spoke|api)_[a-z_]+)").FindAllStringSubmatch(text(t, doc), -1) {
			base := regexp.MustCompile(`_(count|sum|bucket)$`).ReplaceAllString(name[1], "")
			if _, ok := code[base]; !ok {
				t.Errorf("%s names the metric %s, which is not declared", doc, name[1])
			}
		}
	}
}

// TestMessagesStillStand checks that each message of the page stands in the code: the parts between "…", in their order, in
// one text.
func TestMessagesStillStand(t *testing.T) {
	var texts []string
	for _, f := range sources(t) {
		ast.Inspect(f, func(n ast.Node) bool {
			if e, ok := n.(ast.Expr); ok {
				if s, ok := constant(e); ok {
					texts = append(texts, s)
				}
			}
			return true
		})
	}
	messages := 0
	for _, r := range cells(text(t, "troubleshooting.md")) {
		if len(r) != 3 || !strings.HasPrefix(r[0], "`") {
			continue
		}
		messages++
		message := strings.Trim(r[0], "`")
		if r[1] == "" || r[2] == "" {
			t.Errorf("%q: what it means and what to do is missing", message)
		}
		if !slices.ContainsFunc(texts, func(s string) bool { return stands(message, s) }) {
			t.Errorf("no program says %q any more", message)
		}
	}
	if messages < 100 {
		t.Errorf("only %d messages were found", messages)
	}
}

// stands reports whether the constant parts of a message are in a text of the code, in their order.
func stands(message, code string) bool {
	size := 0
	for _, part := range strings.Split(message, "…") {
		part = strings.Trim(part, ` "`)
		size += len(part)
		_, rest, found := strings.Cut(code, part)
		if !found {
			return false
		}
		code = rest
	}
	return size >= 8
}

func TestStands(t *testing.T) {
	for _, c := range []struct {
		message, code string
		want          bool
	}{
		{"session … has … signals", "session %s has %d signals: wait", true},
		{"signals … session", "session %s has %d signals", false},
		{"…", "anything", false},
		{"has no signals", "has %d signals", false},
	} {
		if got := stands(c.message, c.code); got != c.want {
			t.Errorf("stands(%q, %q) = %v", c.message, c.code, got)
		}
	}
}

// explained are files all of whose errors people meet: the page must have each of them.
var explained = []string{"cmd/nave-spoke/enroll.go", "cmd/nave-spoke/options.go", "spoke/process/refuse.go", "hub/enroll.go", "hub/rejoin.go", "hub/rpc/quota.go", "hub/step_signal.go"}

// apart are errors that people do not meet: only a program that is not Nave's can cause them, or nothing but a defect.
var apart = []string{"public_key", "proof", "read randomness: %w", "%v: want %v to %v, or leave it out for %v", "this hub cannot tell which sessions a cluster has",
	"its secret has %d characters, want %d: it was cut off on the way", "its cluster %.40q is not an id of 26 characters: it was cut off on the way"}

// TestMessagesAreExplained goes the other way for the errors that people meet first.
func TestMessagesAreExplained(t *testing.T) {
	var page []string
	for _, r := range cells(text(t, "troubleshooting.md")) {
		page = append(page, strings.Trim(r[0], "`"))
	}
	all := sources(t)
	for _, file := range explained {
		f := all[file]
		if f == nil {
			t.Errorf("%s is not there", file)
			continue
		}
		found := 0
		ast.Inspect(f, func(n ast.Node) bool {
			message, what := told(n)
			if message == "" || slices.Contains(apart, what) || slices.Contains(apart, message) {
				return true
			}
			found++
			if !slices.ContainsFunc(page, func(p string) bool { return stands(p, message) }) {
				t.Errorf("troubleshooting.md does not have %q of %s", message, file)
			}
			return true
		})
		if found == 0 {
			t.Errorf("no error was found in %s", file)
		}
	}
}

// told returns the text of an error that a call makes, and the field that it is about. A remedy of a table is one too.
func told(n ast.Node) (message, field string) {
	if lit, ok := n.(*ast.BasicLit); ok {
		if s, _ := constant(lit); strings.Contains(s, "leave ") || strings.Contains(s, "here: ") {
			return s, ""
		}
	}
	call, ok := n.(*ast.CallExpr)
	if !ok {
		return "", ""
	}
	fun, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || !slices.Contains([]string{"Invalid", "Errorf"}, fun.Sel.Name) || fmt.Sprint(fun.X) != "api" || len(call.Args) < 2 {
		return "", ""
	}
	if fun.Sel.Name == "Invalid" {
		field, _ = constant(call.Args[0])
		field = strings.Trim(field, "-")
	}
	message, _ = constant(call.Args[1])
	if strings.Trim(message, "%svdqw: .40") == "" {
		return "", "" // another one's words
	}
	return message, field
}

// TestFailuresNameTheirTests: each row of the page of failures has a test, or says that there is none.
func TestFailuresNameTheirTests(t *testing.T) {
	tests, rows := functions(t), 0
	for _, r := range cells(text(t, "operations/failures.md")) {
		if len(r) != 5 || r[0] == "what is lost" || strings.HasPrefix(r[0], "---") {
			continue
		}
		rows++
		named := regexp.MustCompile("`(Test[A-Za-z0-9]+)`").FindAllStringSubmatch(r[4], -1)
		if len(named) == 0 && !strings.Contains(r[4], "no test") && !strings.Contains(r[4], "not yet") {
			t.Errorf("the row %q names no test and does not say so", r[0])
		}
		for _, n := range named {
			if !tests[n[1]] {
				t.Errorf("the row %q names %s, which is not there", r[0], n[1])
			}
		}
		if !regexp.MustCompile(`\d|not measured|not yet`).MatchString(r[3]) {
			t.Errorf("the row %q says neither how long it takes nor that nobody measured it", r[0])
		}
	}
	if rows < 16 {
		t.Errorf("only %d rows", rows)
	}
}

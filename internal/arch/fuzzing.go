package arch

import (
	"fmt"
	"go/ast"
	"regexp"
	"slices"
	"strings"
)

// fuzzPage is where the fuzz tests are described, one row of a table for each.
const fuzzPage = "docs/fuzzing.md"

// decoders are what turns bytes into values: by import path, the names that do.
var decoders = map[string][]string{
	"encoding/json":                    {"Unmarshal", "NewDecoder"},
	"encoding/xml":                     {"Unmarshal", "NewDecoder"},
	"encoding/gob":                     {"NewDecoder"},
	"google.golang.org/protobuf/proto": {"Unmarshal", "UnmarshalOptions"},
	"google.golang.org/protobuf/encoding/protojson": {"Unmarshal", "UnmarshalOptions"},
	"google.golang.org/protobuf/encoding/prototext": {"Unmarshal", "UnmarshalOptions"},
	"go.yaml.in/yaml/v3":                            {"Unmarshal", "NewDecoder"},
	"sigs.k8s.io/yaml":                              {"Unmarshal", "UnmarshalStrict", "YAMLToJSON", "YAMLToJSONStrict"},
}

// notFuzzed may decode without a fuzz test.
var notFuzzed = []exemption{
	{"internal/leaks", "reads answers of a controller that it started itself, to count objects"},
	{"examples", "programs to learn from: what they read comes from a harness, and a person who copies them sees it all"},
	{"hub/store/storetest", "a conformance suite: it reads what it wrote"},
	{"internal/charts", "a test: it reads what the helm program prints"},
	{"internal/bench", "measures on one machine: it reads its own files and what its own processes print"},
	{"internal/chaos", "a test: it reads what its own agents print"},
	{"internal/demo", "a demonstration: it reads what the programs that it started print"},
	{"internal/etcdtest", "a test: it reads what its own process prints"},
	{"internal/modelserver", "a test's model: it is asked by agents of tests alone"},
	{"internal/testcluster", "a test: it reads what its own processes write to each other"},
	{"tools/testall", "reads what the go command prints"},
}

// fuzzRow finds the targets that a row of the table names.
var fuzzRow = regexp.MustCompile("`([a-z0-9_./-]+)\\.(Fuzz[A-Za-z0-9_]*)`")

// target is one fuzz test.
type target struct{ dir, name string }

// Fuzzing: every fuzz test has its row in docs/fuzzing.md, every row has its test, and a package that decodes bytes has a
// row or a reason.
func Fuzzing(t Tree) []Violation {
	rows := make(map[target]int) // the line that names it
	for i, line := range strings.Split(t.FuzzPage, "\n") {
		if !strings.HasPrefix(line, "|") {
			continue
		}
		for _, m := range fuzzRow.FindAllStringSubmatch(line, -1) {
			rows[target{m[1], m[2]}] = i + 1
		}
	}
	var vs []Violation
	tests, covered := make(map[target]bool), make(map[string]bool)
	for r := range rows {
		covered[r.dir] = true
	}
	needed := make(map[string]bool)
	for _, f := range t.Files {
		for _, d := range f.AST.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || !f.Test || fn.Recv != nil || !strings.HasPrefix(fn.Name.Name, "Fuzz") {
				continue
			}
			is := target{f.Dir, fn.Name.Name}
			if tests[is] = true; rows[is] == 0 {
				vs = append(vs, Violation{f.Path, f.line(fn), fmt.Sprintf("%s has no row in %s; say there what is fuzzed, as `%s.%s`", is.name, fuzzPage, is.dir, is.name)})
			}
		}
		if f.Test || f.Generated {
			continue
		}
		for path, names := range decoders {
			f.uses(path, func(name string, line int) {
				if !slices.Contains(names, name) {
					return
				}
				if i := slices.IndexFunc(notFuzzed, func(e exemption) bool { return under(f.Dir, e.folder) }); i >= 0 {
					needed[notFuzzed[i].folder] = true
				} else if !covered[f.Dir] {
					vs = append(vs, Violation{f.Path, line, fmt.Sprintf("decodes by %s of %s, and no fuzz test of this package is in %s; write one, or a reason into internal/arch/fuzzing.go", name, path, fuzzPage)})
				}
			})
		}
	}
	for r, line := range rows {
		if !tests[r] {
			vs = append(vs, Violation{fuzzPage, line, fmt.Sprintf("%s has no test %s; take the row out or write the test", r.dir, r.name)})
		}
	}
	for _, e := range notFuzzed {
		if t.has(e.folder) && !needed[e.folder] {
			vs = append(vs, Violation{e.folder, 0, "decodes nothing; take its exemption out of internal/arch/fuzzing.go"})
		}
	}
	return sorted(vs)
}

package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// checkout is a small project with one of everything that the audit counts.
func checkout(t *testing.T) string {
	t.Helper()
	top := filepath.Join(t.TempDir(), "shop")
	for name, text := range map[string]string{
		"go.mod":              "module example.com/shop // a comment\n\ngo 1.26\n",
		"main.go":             "package main\n\nimport (\n\t\"fmt\"\n\n\t\"example.com/shop/cart\"\n\t\"golang.org/x/text/language\"\n)\n\n// TODO: more. FIXME too.\nfunc main() {\n\tfmt.Println(cart.New(), language.German)\n}\n",
		"cart/cart.go":        "// Package cart has carts.\npackage cart\n\n// Cart is documented.\ntype Cart[T any] struct{}\n\nfunc (c *Cart[T]) Add(T) {\n}\n\nfunc New() int { return 1 }\n\nconst (\n\tA = 1 // documented by its line\n\tB = 2\n)\n",
		"cart/cart_test.go":   "package cart\n\nfunc TestHelper() {}\n",
		"cart/broken.go":      "package cart\n\nfunc {\n",
		"vendor/x/x.go":       "package x\n",
		".hidden/y.go":        "package y\n",
		"testdata/z.go":       "package z\n",
		"tools/go.mod":        "module example.com/tools\n",
		"tools/gen.go":        "package tools\n\nimport _ \"example.com/shop/cart\"\n",
		"docs/readme/note.md": "no Go here\n",
	} {
		path := filepath.Join(top, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return top
}

func ask(t *testing.T, payloads ...string) string {
	t.Helper()
	type signal struct {
		Sequence int    `json:"sequence"`
		Payload  string `json:"payload"`
	}
	doc := struct {
		Signals []signal `json:"signals"`
	}{}
	for i, p := range payloads {
		doc.Signals = append(doc.Signals, signal{i + 1, p})
	}
	b, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestAuditWithoutHistory(t *testing.T) {
	top := checkout(t)
	var out bytes.Buffer
	if err := work(strings.NewReader(ask(t, top)), &out); err != nil {
		t.Fatal(err)
	}
	want := `package .: 1 file, 13 lines, 0 exported, 0 of them undocumented, 2 TODOs, 1 import from outside, longest function main with 3 lines
package cart: 3 files, 21 lines, 5 exported, 3 of them undocumented, 0 TODOs, 0 imports from outside, longest function Cart.Add with 2 lines, does not parse: broken.go
package tools: 1 file, 3 lines, 0 exported, 0 of them undocumented, 0 TODOs, 1 import from outside
summary shop (example.com/shop): 3 packages, 5 files, 37 lines, 5 exported, 3 of them undocumented, 2 TODOs, 2 imports from outside, longest function main with 3 lines, does not parse: broken.go; no history: there is no .git, as in an archive
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

func TestAuditOfFiles(t *testing.T) {
	top := checkout(t)
	payload, err := json.Marshal(task{Path: top, Detail: "files"})
	if err != nil {
		t.Fatal(err)
	}
	doc := `{"signals":[{"sequence":1,"encoding":"base64","payload":"` + base64.StdEncoding.EncodeToString(payload) + `"}]}`
	var out bytes.Buffer
	if err := work(strings.NewReader(doc), &out); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 5+3+1 {
		t.Fatalf("%d lines, want one per file, package and checkout:\n%s", len(lines), out.String())
	}
	for _, want := range []string{
		"file cart/broken.go: 3 lines, 0 exported; does not parse",
		"file cart/cart.go: 15 lines, 5 exported; undocumented: Cart.Add, New, B",
		"file main.go: 13 lines, 0 exported; 2 TODOs",
		"file tools/gen.go: 3 lines, 0 exported; nothing to say",
	} {
		if !strings.Contains(out.String(), want+"\n") {
			t.Errorf("no line %q in\n%s", want, out.String())
		}
	}
}

func TestAuditWithHistory(t *testing.T) {
	top := checkout(t)
	for _, args := range [][]string{
		{"init", "-q"},
		{"add", "go.mod", "main.go"},
		{"commit", "-q", "-m", "one", "--date=2024-02-03T04:05:06Z"},
		{"add", "cart"},
		{"commit", "-q", "-m", "two", "--date=2025-03-04T05:06:07Z"},
	} {
		cmd := exec.Command("git", append([]string{"-C", top, "-c", "user.name=T", "-c", "user.email=t@example.com"}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null")
		if b, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v: %s", args, err, b)
		}
	}
	var out bytes.Buffer
	if err := work(strings.NewReader(ask(t, top)), &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"longest function main with 3 lines; 1 commit, last 2024-02-03\n",
		"does not parse: broken.go; 1 commit, last 2025-03-04\npackage tools",
		"from outside; 0 commits, last never\nsummary",
		"; 2 commits, last 2025-03-04\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

func TestBadTasks(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ doc, want string }{
		{"", "read the request"},
		{ask(t, "  "), "signal 1: payload: names no directory"},
		{ask(t, `{"path": 7}`), "signal 1: payload"},
		{ask(t, `{"path": "/", "detail": "lines"}`), `detail "lines"`},
		{ask(t, filepath.Join(file, "no")), "signal 1"},
		{ask(t, file), "is no directory"},
		{`{"signals":[{"sequence":4,"encoding":"base64","payload":"%"}]}`, "signal 4: decode"},
	} {
		var out bytes.Buffer
		err := work(strings.NewReader(tt.doc), &out)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("work(%.60q) = %v, want %q", tt.doc, err, tt.want)
		}
		if out.Len() > 0 {
			t.Errorf("work(%.60q) printed %q", tt.doc, out.String())
		}
	}
}

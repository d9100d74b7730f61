package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestModule runs real modules that pass, fail, end early and do not compile, and looks at what is counted and printed.
func TestModule(t *testing.T) {
	const head = "package p\n\nimport (\n\t\"os\"\n\t\"testing\"\n)\n\nvar _ = os.Exit\n\n"
	for _, c := range []struct {
		name, body, closing string
		prints              []string
	}{
		{
			name:    "passes",
			body:    "func TestA(t *testing.T) { t.Run(\"sub\", func(*testing.T) {}) }\n",
			closing: "2 passed, 0 failed",
			prints:  []string{"ok    example.test/p "},
		},
		{
			name:    "fails",
			body:    "func TestA(t *testing.T) { t.Error(\"wrong-value\") }\nfunc TestB(*testing.T) {}\n",
			closing: "1 passed, 1 failed",
			prints:  []string{"wrong-value", "FAIL  example.test/p "},
		},
		{
			name:    "panics",
			body:    "func TestA(*testing.T) { panic(\"wrong-state\") }\n",
			closing: "0 passed, 1 failed",
			prints:  []string{"wrong-state"},
		},
		{
			name:    "ends early",
			body:    "func TestMain(*testing.M) { println(\"left\"); os.Exit(3) }\n",
			closing: "0 passed, 1 failed",
			prints:  []string{"left", "FAIL  example.test/p "},
		},
		{
			name:    "does not compile",
			body:    "func TestA(t *testing.T) { undefined() }\n",
			closing: "0 passed, 1 failed",
			prints:  []string{"undefined: undefined"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "go.mod"), "module example.test/p\n\ngo 1.26\n")
			write(t, filepath.Join(dir, "p_test.go"), head+c.body)
			out := new(strings.Builder)
			got := &count{out: out}
			got.module(dir, []string{"-vet=off"})
			if got.closing() != c.closing {
				t.Errorf("closing line %q, want %q", got.closing(), c.closing)
			}
			for _, want := range c.prints {
				if !strings.Contains(out.String(), want) {
					t.Errorf("printed, without %q:\n%s", want, out)
				}
			}
		})
	}
}

func TestModuleThatCannotStart(t *testing.T) {
	c := &count{out: new(strings.Builder)}
	c.module(filepath.Join(t.TempDir(), "not-there"), nil)
	if c.failed != 1 {
		t.Fatalf("failed = %d, want 1", c.failed)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

package arch

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// repository is the folder of the repository as go test starts this package's tests.
const repository = "../.."

// TestRepository runs every rule over Nave itself.
func TestRepository(t *testing.T) {
	tree := load(t)
	for _, r := range Rules {
		t.Run(r.Name, func(t *testing.T) {
			for _, v := range r.Check(tree) {
				t.Error(v)
			}
		})
	}
	for _, v := range Large(tree) {
		t.Log(v)
	}
}

// TestWholeRepositoryIsLoaded holds the other test to its word: rules over too few files would pass in vain.
func TestWholeRepositoryIsLoaded(t *testing.T) {
	tree := load(t)
	for _, want := range []string{
		"internal/run/run.go",                 // the main module
		"internal/arch/tree.go",               // this package is under its own rules
		"internal/arch/repository_test.go",    // tests too
		"tools/testall/main.go",               // a nested module
		"internal/realpart/cmd/parts/main.go", // a program
	} {
		if !slices.ContainsFunc(tree.Files, func(f *File) bool { return f.Path == want }) {
			t.Errorf("%s is not among the %d files", want, len(tree.Files))
		}
	}
}

func TestLinkedSeesWhatIsNotImportedDirectly(t *testing.T) {
	got, err := Linked(repository, "internal/realpart/cmd/parts")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{Module + "/internal/realpart", "internal/poll"} {
		if !slices.Contains(got, want) {
			t.Errorf("%s is not among the %d linked packages", want, len(got))
		}
	}
	if got, err := Linked(repository, "no/such/program"); err == nil {
		t.Errorf("Linked of a folder that is not there = %v, want an error", got)
	}
}

func load(t *testing.T) Tree {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repository, "go.mod"))
	if err != nil || !strings.HasPrefix(string(text), "module "+Module+"\n") {
		t.Fatalf("%s is not the repository of %s: %v", repository, Module, err)
	}
	tree, err := Load(os.DirFS(repository))
	if err != nil {
		t.Fatal(err)
	}
	tree.Links = make(map[string][]string)
	for _, program := range Small {
		if !tree.has(program) {
			continue
		}
		if tree.Links[program], err = Linked(repository, program); err != nil {
			t.Fatal(err)
		}
	}
	return tree
}

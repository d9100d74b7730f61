package realpart_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nave-dev/nave/internal/realpart"
)

// childEnv makes this test binary play a test that needs the overlay.
const childEnv = "NAVE_REALPART_CHILD"

func TestChild(t *testing.T) {
	if os.Getenv(childEnv) == "" {
		return
	}
	t.Run("needs", func(t *testing.T) {
		realpart.Need(t, realpart.NaveOverlay)
		t.Log("reached with", realpart.Path(t, realpart.NaveOverlay))
	})
}

// TestNeed runs a test that needs a part in a process of its own, and looks at what go test would see of it.
func TestNeed(t *testing.T) {
	program := filepath.Join(t.TempDir(), "nave-overlay")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	plain := filepath.Join(t.TempDir(), "nave-overlay")
	if err := os.WriteFile(plain, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	miss := realpart.Miss{Package: "internal/realpart", Test: "TestChild/needs", Part: realpart.NaveOverlay, Get: "make build"}
	for _, c := range []struct {
		name, bin, ci string
		wants         string
		fails         bool
		misses        []realpart.Miss
	}{
		{name: "there", bin: program, ci: "true", wants: "reached with " + program},
		{name: "missing", bin: program + "-not", wants: "--- SKIP: TestChild/needs", misses: []realpart.Miss{miss}},
		{name: "not a program", bin: plain, wants: "--- SKIP: TestChild/needs", misses: []realpart.Miss{miss}},
		{name: "missing in CI", bin: program + "-not", ci: "true", wants: "--- FAIL: TestChild/needs", fails: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "not-run")
			cmd := exec.Command(os.Args[0], "-test.run=^TestChild$", "-test.v", "-test.timeout=1m")
			cmd.Env = append(os.Environ(), childEnv+"=1", "NAVE_OVERLAY_BIN="+c.bin, "CI="+c.ci, realpart.NotRunEnv+"="+file)
			out, err := cmd.CombinedOutput()
			if (err != nil) != c.fails || !strings.Contains(string(out), c.wants) {
				t.Errorf("ended with %v, want failure %t and %q in:\n%s", err, c.fails, c.wants, out)
			}
			got, err := realpart.ReadMisses(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.misses, got); diff != "" {
				t.Errorf("recorded as not run (-want +got):\n%s", diff)
			}
		})
	}
}

// Where a folder of programs is named, the one in the repository does not count.
func TestBinFolder(t *testing.T) {
	repository, folder := t.TempDir(), t.TempDir()
	if err := os.Mkdir(filepath.Join(repository, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{filepath.Join(repository, "bin", "nave-hub"), filepath.Join(repository, "bin", "nave-spoke"), filepath.Join(folder, "nave-hub")} {
		if err := os.WriteFile(file, []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	found := func() map[realpart.Part]string {
		out := map[realpart.Part]string{}
		for _, f := range realpart.All(repository) {
			if f.Err == nil && f.Get == "make build" {
				out[f.Part] = f.Path
			}
		}
		return out
	}
	t.Setenv(realpart.BinEnv, "")
	want := map[realpart.Part]string{realpart.NaveHub: filepath.Join(repository, "bin", "nave-hub"), realpart.NaveSpoke: filepath.Join(repository, "bin", "nave-spoke")}
	if diff := cmp.Diff(want, found()); diff != "" {
		t.Errorf("without the variable (-want +got):\n%s", diff)
	}
	t.Setenv(realpart.BinEnv, folder)
	want = map[realpart.Part]string{realpart.NaveHub: filepath.Join(folder, "nave-hub")}
	if diff := cmp.Diff(want, found()); diff != "" {
		t.Errorf("with the variable (-want +got):\n%s", diff)
	}
}

func TestAllHasARowForEveryPart(t *testing.T) {
	t.Setenv("NAVE_POSTGRES_BIN", "/nowhere/postgres")
	var parts []realpart.Part
	for _, f := range realpart.All(t.TempDir()) {
		parts = append(parts, f.Part)
		if (f.Path == "") == (f.Err == nil) || f.Get == "" {
			t.Errorf("%+v: want either a path or an error, and always the command that gets it", f)
		}
		if f.Part == realpart.PostgreSQL && f.Err == nil {
			t.Errorf("found %s although the variable names a program that is not there", f.Path)
		}
	}
	want := []realpart.Part{realpart.NaveHub, realpart.NaveSpoke, realpart.NaveHarness, realpart.NaveOverlay, realpart.NaveCLI, realpart.Auditor, realpart.Scribe,
		realpart.OpenCode, realpart.PostgreSQL, realpart.Terraform, realpart.Chromium, realpart.Git, realpart.Helm}
	if diff := cmp.Diff(want, parts); diff != "" {
		t.Errorf("parts (-want +got):\n%s", diff)
	}
}

func TestReadMissesRefusesOtherFiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "not-run")
	if err := os.WriteFile(file, []byte("hub\tTestX\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if misses, err := realpart.ReadMisses(file); err == nil {
		t.Fatalf("ReadMisses = %v, want an error", misses)
	}
}

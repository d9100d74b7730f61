package realpart

import (
	"os"
	"path/filepath"
	"testing"
)

// NotRunEnv names the file that lists what did not run. Without it only the test's own output tells.
const NotRunEnv = "NAVE_NOT_RUN"

// started is the folder of the test's package: go test starts a test there, and a test may leave it.
var started, startedErr = os.Getwd()

// Need lets the test go on when the part is on this machine. Otherwise it records that the test did not run and skips
// it, or fails it where CI=true.
func Need(t testing.TB, part Part) {
	t.Helper()
	Path(t, part)
}

// Path is [Need], and returns the absolute path of the part's program.
func Path(t testing.TB, part Part) string {
	t.Helper()
	if startedErr != nil {
		t.Fatalf("find the package's folder: %v", startedErr)
	}
	root, err := Root(started)
	if err != nil {
		t.Fatal(err)
	}
	found := find(root, part)
	if found.Err == nil {
		return found.Path
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("NOT RUN: %s: %v; it comes by: %s (with CI=true a missing part is a failure)", part, found.Err, found.Get)
	}
	pkg, err := filepath.Rel(root, started)
	if err != nil {
		t.Fatal(err)
	}
	miss := Miss{Package: filepath.ToSlash(pkg), Test: t.Name(), Part: part, Get: found.Get}
	if file := os.Getenv(NotRunEnv); file != "" {
		if err := record(file, miss); err != nil {
			t.Fatalf("record that the test did not run: %v", err)
		}
	}
	t.Skipf("NOT RUN: %s: %v; it comes by: %s", part, found.Err, found.Get)
	return ""
}

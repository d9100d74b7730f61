package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nave-dev/nave/internal/etcdtest/member"
	"github.com/nave-dev/nave/internal/federation"
	"github.com/nave-dev/nave/internal/realpart"
)

// childEnv makes this test binary be the demo. It is also the program of the etcd members that the demo starts.
const childEnv = "NAVE_DEMO_CHILD"

func TestMain(m *testing.M) {
	member.Main()
	if os.Getenv(childEnv) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestDemoSeesAPlantedFault runs the whole demo with a policy that sends a session to the wrong cloud: it must say so.
func TestDemoSeesAPlantedFault(t *testing.T) { planted(t) }

// TestExternalDemoSeesAPlantedFault is the same on external parts: the death of two of them must not hide it.
func TestExternalDemoSeesAPlantedFault(t *testing.T) {
	realpart.Need(t, realpart.PostgreSQL)
	out := planted(t, "-external", "-etcd-member", os.Args[0])
	if n := strings.Count(out, "kill -9 of"); n != 2 {
		t.Errorf("%d parts were killed, want 2:\n%s", n, out)
	}
}

// planted runs the demo with the planted fault and returns what it says.
func planted(t *testing.T, flags ...string) string {
	t.Helper()
	for _, p := range []realpart.Part{realpart.NaveHub, realpart.NaveSpoke, realpart.NaveHarness, realpart.NaveOverlay, realpart.NaveCLI, realpart.Auditor, realpart.Scribe} {
		realpart.Need(t, p)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	root, err := realpart.Root(here)
	if err != nil {
		t.Fatal(err)
	}
	flags = append(flags, "-plant", "wrong-cloud", "-root", root, "-bin", filepath.Dir(realpart.Path(t, realpart.NaveHub)))
	cmd := exec.CommandContext(t.Context(), os.Args[0], flags...)
	temp := short(t)
	cmd.Env = append(os.Environ(), childEnv+"=1", "TMPDIR="+temp)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Fatalf("the demo ended with %v, want exit code 1:\n%s", err, out)
	}
	var failed []string
	for _, line := range strings.Split(string(out), "\n") {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "FAIL"); ok {
			failed = append(failed, strings.TrimSpace(name))
		}
	}
	// Nothing but the session that may run anywhere may happen to run in gcp.
	if len(failed) == 2 && strings.HasPrefix(failed[1], "every cluster was used") {
		failed = failed[:1]
	}
	if len(failed) != 1 || !strings.HasPrefix(failed[0], "auditor-gcp: ran in gcp only") {
		t.Fatalf("facts that do not hold: %q, want that auditor-gcp did not run in gcp:\n%s", failed, out)
	}
	if strings.Contains(string(out), "left behind") {
		t.Errorf("the demo left processes:\n%s", out)
	}
	if left := federation.Naming(temp); len(left) > 0 {
		t.Errorf("the demo left %v", left)
	}
	return string(out)
}

// short is a folder with a short path, since sockets are made below it.
func short(t *testing.T) string {
	dir, err := os.MkdirTemp("", "nd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	// PostgreSQL refuses root and runs as another user then, who has to get in.
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}

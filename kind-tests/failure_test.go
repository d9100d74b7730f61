//go:build kindtests

package kindtests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nave-dev/nave/internal/testcluster"
)

// TestABedThatDoesNotComeUpLeavesOnlyLogs starts a bed whose kubelet ends at once.
func TestABedThatDoesNotComeUpLeavesOnlyLogs(t *testing.T) {
	ctx := limited(t)
	bin := programs(ctx, t)
	broken := testcluster.Bin{Dir: t.TempDir()}
	entries, err := os.ReadDir(bin.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		to := filepath.Join(bin.Dir, e.Name())
		if e.Name() == testcluster.Kubelet {
			to = "/bin/false"
		}
		if err := os.Symlink(to, filepath.Join(broken.Dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	root, logs := fmt.Sprintf("/tmp/nvb.%d", os.Getpid()), t.TempDir()
	defer os.RemoveAll(root)
	bed, err := testcluster.Start(ctx, testcluster.Config{Clusters: 1, Bin: broken, Log: logger(t), Root: root, Logs: logs})
	if err == nil {
		t.Errorf("a bed without a kubelet came up; stopping it: %v", bed.Stop())
	} else if !strings.Contains(err.Error(), "kubelet ended (exit status 1)") {
		t.Errorf("the error does not say what ended: %v", err)
	}
	// The folder of a bed goes last, when everything else is gone.
	if beds, err := filepath.Glob(root + "/[a-z]*"); err != nil || len(beds) > 0 {
		t.Errorf("left: %v, %v", beds, err)
	}
	for _, file := range []string{"c1/log/kube-apiserver.log", "c1/objects/namespaces.yaml"} {
		if text, err := os.ReadFile(filepath.Join(logs, file)); err != nil || len(text) == 0 {
			t.Errorf("%s has %d bytes, %v", file, len(text), err)
		}
	}
}

// TestWhereClustersCannotBeItIsSaid asks a process that has all rights, and processes that lack one that clusters need.
func TestWhereClustersCannotBeItIsSaid(t *testing.T) {
	for _, test := range []struct {
		without, want string
	}{
		{"", "<nil>\n"},
		{"sys_admin", "no right to network namespaces and mounts"},
		{"net_admin", "no right to network namespaces and mounts"},
	} {
		args := []string{os.Args[0]}
		if test.without != "" {
			args = []string{"setpriv", "--inh-caps=-" + test.without, "--bounding-set=-" + test.without, os.Args[0]}
		}
		cmd := exec.CommandContext(limited(t), args[0], args[1:]...)
		cmd.Env = append(os.Environ(), possibleEnv+"=1")
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.HasPrefix(string(out), test.want) {
			t.Errorf("without the right %q: %v: %q, want %q", test.without, err, out, test.want)
		}
	}
}

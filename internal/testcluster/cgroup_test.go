package testcluster

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestGroupsOfBothVersions(t *testing.T) {
	n := names{root: "/tmp/r", id: "abcde"}
	for _, test := range []struct {
		name string
		hierarchy
		want []groupStep
	}{
		{"version 1", hierarchy{root: "/c/memory"}, []groupStep{
			{mkdir: "/c/memory/nave-abcde"}, {mkdir: "/c/memory/nave-abcde/c1"}, {mkdir: "/c/memory/nave-abcde/c2"},
		}},
		{"version 1, processors", hierarchy{root: "/c/cpuset", cpuset: true}, []groupStep{
			{mkdir: "/c/cpuset/nave-abcde"}, {write: "/c/cpuset/nave-abcde/cpuset.cpus"}, {write: "/c/cpuset/nave-abcde/cpuset.mems"},
			{mkdir: "/c/cpuset/nave-abcde/c1"}, {write: "/c/cpuset/nave-abcde/c1/cpuset.cpus"}, {write: "/c/cpuset/nave-abcde/c1/cpuset.mems"},
			{mkdir: "/c/cpuset/nave-abcde/c2"}, {write: "/c/cpuset/nave-abcde/c2/cpuset.cpus"}, {write: "/c/cpuset/nave-abcde/c2/cpuset.mems"},
		}},
		{"version 2", hierarchy{root: "/c", hands: []string{"cpu", "memory"}}, []groupStep{
			{write: "/c/cgroup.subtree_control", text: "+cpu"}, {write: "/c/cgroup.subtree_control", text: "+memory"},
			{mkdir: "/c/nave-abcde"},
			{write: "/c/nave-abcde/cgroup.subtree_control", text: "+cpu"}, {write: "/c/nave-abcde/cgroup.subtree_control", text: "+memory"},
			{mkdir: "/c/nave-abcde/c1"}, {mkdir: "/c/nave-abcde/c2"},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, groupSteps(test.hierarchy, n, 2), cmp.AllowUnexported(groupStep{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestHierarchiesAreSeenAsTheyAre(t *testing.T) {
	root := t.TempDir()
	files := func(text string, names ...string) {
		for _, name := range names {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	// As Linux mounts version 1: two controllers in one hierarchy, with a link for each, and version 2 without controllers beside them.
	files("0-1\n", "one/cpu,cpuset/cpuset.cpus", "one/cpu,cpuset/cpuset.mems")
	files("", "one/memory/memory.limit_in_bytes", "one/unified/cgroup.controllers")
	if err := os.Symlink("cpu,cpuset", filepath.Join(root, "one/cpuset")); err != nil {
		t.Fatal(err)
	}
	// Version 2 has controllers that nobody needs here, and may lack some.
	files("cpuset cpu io memory rdma pids\n", "two/cgroup.controllers")
	for _, test := range []struct {
		name string
		look func(string) ([]hierarchy, error)
		want []hierarchy
	}{
		{"one", separate, []hierarchy{
			{root: filepath.Join(root, "one/cpu,cpuset"), cpuset: true}, {root: filepath.Join(root, "one/memory")}, {root: filepath.Join(root, "one/unified")},
		}},
		{"two", unified, []hierarchy{{root: filepath.Join(root, "two"), hands: []string{"cpu", "cpuset", "memory", "pids"}}}},
	} {
		got, err := test.look(filepath.Join(root, test.name))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(hierarchy{})); diff != "" {
			t.Errorf("version %s: %s", test.name, diff)
		}
	}
}

// A group of version 1 is filled from its parent, which was filled before.
func TestStepsAreDoneInTheirOrder(t *testing.T) {
	root := t.TempDir()
	for file, text := range map[string]string{"cpuset.cpus": "0-3\n", "cpuset.mems": "0\n"} {
		if err := os.WriteFile(filepath.Join(root, file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	n := names{id: "abcde"}
	for _, s := range groupSteps(hierarchy{root: root, cpuset: true}, n, 1) {
		if s.mkdir == "" { // the kernel has the file already
			if err := os.WriteFile(s.write, nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.do(); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(filepath.Join(root, "nave-abcde/c1/cpuset.cpus")); err != nil || string(got) != "0-3\n" {
		t.Errorf("the cluster has the processors %q, %v", got, err)
	}
}

func TestAProcessIsFoundByItsGroup(t *testing.T) {
	const group = "nave-abcde/c1"
	for _, test := range []struct {
		name, content string
		want          bool
	}{
		{"version 1", "5:memory:/nave-abcde/c1/kubepods/burstable/podx/y\n3:pids:/user\n", true},
		{"version 2", "0::/nave-abcde/c1/kubepods/podx/y\n", true},
		{"the group itself", "0::/nave-abcde/c1\n", true},
		{"in a container", "0::/docker/0123/nave-abcde/c1/kubepods/podx/y\n", true},
		{"another cluster", "0::/nave-abcde/c11/kubepods/podx/y\n", false},
		{"another bed", "0::/nave-abcdf/c1/kubepods\n", false},
		{"a name that ends like it", "0::/my-nave-abcde/c1/x\n", false},
		{"none", "", false},
	} {
		if got := inGroup(test.content, group); got != test.want {
			t.Errorf("%s: %t, want %t", test.name, got, test.want)
		}
	}
}

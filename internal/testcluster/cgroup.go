package testcluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const cgroupRoot = "/sys/fs/cgroup"

// kubeletNeeds are the controllers of version 2 that the kubelet wants in the group that it is given, of those that the machine has.
var kubeletNeeds = []string{"cpu", "cpuset", "hugetlb", "memory", "pids"}

// hierarchy is one tree of control groups: the only one of version 2, or one of several of version 1.
type hierarchy struct {
	root   string
	hands  []string // version 2: the controllers to hand down to children
	cpuset bool     // version 1: a group is born without processors and memory, and takes no process
}

// hierarchies looks at what is mounted.
func hierarchies() ([]hierarchy, error) {
	var at unix.Statfs_t
	if err := unix.Statfs(cgroupRoot, &at); err != nil {
		return nil, fmt.Errorf("look at %s: %w", cgroupRoot, err)
	}
	if at.Type == unix.CGROUP2_SUPER_MAGIC {
		return unified(cgroupRoot)
	}
	return separate(cgroupRoot)
}

// unified is the hierarchy of version 2.
func unified(root string) ([]hierarchy, error) {
	text, err := os.ReadFile(filepath.Join(root, "cgroup.controllers"))
	if err != nil {
		return nil, err
	}
	h := hierarchy{root: root}
	for _, c := range kubeletNeeds {
		if slices.Contains(strings.Fields(string(text)), c) {
			h.hands = append(h.hands, c)
		}
	}
	return []hierarchy{h}, nil
}

// separate are those of version 1, and the one of version 2 that may lie beside them, which has no controllers then.
func separate(root string) ([]hierarchy, error) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, err
	}
	var out []hierarchy
	for _, e := range entries {
		if e.IsDir() { // links are second names of hierarchies
			at := filepath.Join(root, e.Name())
			out = append(out, hierarchy{root: at, cpuset: exists(filepath.Join(at, "cpuset.cpus"))})
		}
	}
	return out, nil
}

// groupStep is one thing to do in a hierarchy: make a group, or write a file, from the group's parent where there is no text.
type groupStep struct {
	mkdir, write, text string
}

// groupSteps says how the bed's group and one per cluster below it come to be, so that the kubelet finds its root there with all that
// it needs. Groups above those of pods hold no process, as version 2 wants it.
func groupSteps(h hierarchy, n names, clusters int) []groupStep {
	var out []groupStep
	hand := func(dir string) {
		for _, c := range h.hands {
			out = append(out, groupStep{write: filepath.Join(dir, "cgroup.subtree_control"), text: "+" + c})
		}
	}
	grow := func(dir string) {
		out = append(out, groupStep{mkdir: dir})
		if h.cpuset {
			out = append(out, groupStep{write: filepath.Join(dir, "cpuset.cpus")}, groupStep{write: filepath.Join(dir, "cpuset.mems")})
		}
	}
	top := filepath.Join(h.root, n.cgroup())
	hand(h.root)
	grow(top)
	hand(top)
	for i := range clusters {
		grow(filepath.Join(top, cloud(i)))
	}
	return out
}

func (s groupStep) do() error {
	if s.mkdir != "" {
		return os.Mkdir(s.mkdir, 0o755)
	}
	text := []byte(s.text)
	if s.text == "" {
		dir, file := filepath.Split(s.write)
		var err error
		if text, err = os.ReadFile(filepath.Join(filepath.Dir(filepath.Clean(dir)), file)); err != nil {
			return err
		}
	}
	if err := os.WriteFile(s.write, text, 0); err != nil {
		return fmt.Errorf("write %q: %w", text, err)
	}
	return nil
}

// makeCgroups makes the groups in each hierarchy.
func makeCgroups(n names, clusters int) error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	for _, h := range all {
		for _, s := range groupSteps(h, n, clusters) {
			if err := s.do(); err != nil {
				return fmt.Errorf("make control groups: %w", err)
			}
		}
	}
	return nil
}

// inGroup reports whether the content of a process's cgroup file names a group or one below it. In a container the paths may begin with
// the container's own group.
func inGroup(content, group string) bool {
	for line := range strings.Lines(content) {
		if _, path, ok := strings.Cut(line, ":/"); ok && strings.Contains("/"+strings.TrimSpace(path)+"/", "/"+group+"/") {
			return true
		}
	}
	return false
}

// cgroupsOf lists the bed's groups, the deepest first.
func cgroupsOf(n names) []string { return groupsIn(n.cgroup()) }

// below lists the groups that the kubelet and the runtime made below that of a cluster.
func below(n names, cluster string) []string {
	own := filepath.Join(n.cgroup(), cluster)
	return slices.DeleteFunc(groupsIn(own), func(dir string) bool { return strings.HasSuffix(dir, "/"+own) })
}

// groupsIn lists a group and those below it in every hierarchy, the deepest first.
func groupsIn(group string) []string {
	all, err := hierarchies()
	if err != nil {
		return nil // without control groups there are none of ours
	}
	var out []string
	for _, h := range all {
		_ = filepath.WalkDir(filepath.Join(h.root, group), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				out = append([]string{path}, out...)
			}
			return nil // a group that vanishes while it is looked at is what is wanted
		})
	}
	return out
}

// removeGroups removes groups until none is listed. One whose last process was killed a moment ago is busy for a moment.
func removeGroups(limit time.Time, list func() []string) error {
	for {
		var last error
		for _, dir := range list() {
			if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
				last = err
			}
		}
		if last == nil || time.Now().After(limit) {
			return last
		}
		time.Sleep(sweepLook)
	}
}

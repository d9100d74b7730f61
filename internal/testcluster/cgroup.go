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

// hierarchies lists the roots of the control group hierarchies: one for version 2, one per controller for version 1.
func hierarchies() (roots []string, v2 bool, err error) {
	var at unix.Statfs_t
	if err := unix.Statfs(cgroupRoot, &at); err != nil {
		return nil, false, fmt.Errorf("look at %s: %w", cgroupRoot, err)
	}
	if at.Type == unix.CGROUP2_SUPER_MAGIC {
		return []string{cgroupRoot}, true, nil
	}
	entries, err := os.ReadDir(cgroupRoot)
	if err != nil {
		return nil, false, err
	}
	for _, e := range entries {
		if e.IsDir() { // links are second names of hierarchies
			roots = append(roots, filepath.Join(cgroupRoot, e.Name()))
		}
	}
	return roots, false, nil
}

// makeCgroups makes the bed's group and one per cluster below it in each hierarchy, so that the kubelet finds its root there.
func makeCgroups(n names, clusters int) error {
	roots, v2, err := hierarchies()
	if err != nil {
		return err
	}
	for _, root := range roots {
		if v2 {
			if err := delegate(root); err != nil {
				return err
			}
		}
		top := filepath.Join(root, n.cgroup())
		dirs := []string{top}
		for i := range clusters {
			dirs = append(dirs, filepath.Join(top, cloud(i)))
		}
		for _, dir := range dirs {
			if err := os.Mkdir(dir, 0o755); err != nil {
				return fmt.Errorf("make a control group: %w", err)
			}
			if v2 && dir == top {
				err = delegate(dir)
			} else if filepath.Base(root) == "cpuset" {
				err = fillCPUSet(dir)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// fillCPUSet gives a group of version 1 the processors and memory of its parent: it is born with none, and takes no process.
func fillCPUSet(dir string) error {
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		of, err := os.ReadFile(filepath.Join(filepath.Dir(dir), file))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, file), of, 0); err != nil {
			return fmt.Errorf("fill %s: %w", filepath.Join(dir, file), err)
		}
	}
	return nil
}

// delegate hands every controller that a group of version 2 has down to its children.
func delegate(dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	for _, c := range strings.Fields(string(text)) {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0); err != nil {
			return fmt.Errorf("delegate controller %s of %s: %w", c, dir, err)
		}
	}
	return nil
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
	roots, _, err := hierarchies()
	if err != nil {
		return nil // without control groups there are none of ours
	}
	var out []string
	for _, root := range roots {
		_ = filepath.WalkDir(filepath.Join(root, group), func(path string, d fs.DirEntry, err error) error {
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

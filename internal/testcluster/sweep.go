package testcluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	sweepLook  = 20 * time.Millisecond
	sweepLimit = 30 * time.Second // for one bed
)

// sweep removes what beds without an owner left. The caller holds the lock of the root.
func sweep(ctx context.Context, root string, log *slog.Logger) error {
	entries, err := os.ReadDir(root)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() || len(e.Name()) != idLength {
			continue
		}
		n := names{root, e.Name()}
		owned, err := tryLock(filepath.Join(n.dir(), lockFile))
		if err != nil {
			return err
		}
		if owned == nil {
			continue // it lives
		}
		log.Warn("removing what a dead test bed left", "bed", n.id)
		err = remove(ctx, n)
		_ = owned.Close()
		if err != nil {
			return fmt.Errorf("remove what the dead bed %s left: %w", n.id, err)
		}
	}
	return nil
}

// remove ends and removes everything that carries the id, the folder last: as long as it is there, the next sweep tries again.
// Whoever calls it owns the bed.
func remove(ctx context.Context, n names) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sweepLimit) // what is cancelled is removed all the same
	defer cancel()
	limit, _ := ctx.Deadline()
	err := endProcesses(n, limit)
	if err != nil {
		return err // the rest is in use
	}
	if err := unmount(n); err != nil {
		return err
	}
	if err := errors.Join(removeNetwork(ctx, n), removeGroups(limit, func() []string { return cgroupsOf(n) }), removeKind(ctx, n)); err != nil {
		return err
	}
	return removeFolder(n)
}

// endProcesses kills what belongs to the bed until there is nothing.
func endProcesses(n names, limit time.Time) error {
	for {
		left := processesOf(n)
		if len(left) == 0 {
			return nil
		}
		if time.Now().After(limit) {
			return fmt.Errorf("processes %v do not end", left)
		}
		for _, pid := range left {
			// The handle stands for one process, so the id cannot be another's by the time of the signal.
			if p, err := os.FindProcess(pid); err == nil {
				if n.owns(pid) {
					_ = p.Kill() // gone meanwhile is as good
				}
				_ = p.Release()
			}
		}
		time.Sleep(sweepLook)
	}
}

// processesOf lists the living processes that belong to the bed.
func processesOf(n names) []int {
	entries, _ := os.ReadDir("/proc")
	var out []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && n.owns(pid) {
			out = append(out, pid)
		}
	}
	return out
}

// owns reports whether a living process belongs to the bed: its environment has the bed's label, or it is in one of the bed's
// control groups, as everything is that runs in containers and has an environment of its own.
func (n names) owns(pid int) bool {
	if pid == os.Getpid() {
		return false
	}
	at := filepath.Join("/proc", strconv.Itoa(pid))
	if !alive(pid) {
		return false
	}
	env, _ := os.ReadFile(filepath.Join(at, "environ")) // what cannot be read is another's, or gone
	groups, _ := os.ReadFile(filepath.Join(at, "cgroup"))
	return labelled(env, []byte(n.environment())) || inGroup(string(groups), n.cgroup())
}

// labelled reports whether one of the variables is exactly the label.
func labelled(env, label []byte) bool {
	for kv := range bytes.SplitSeq(env, []byte{0}) {
		if bytes.Equal(kv, label) {
			return true
		}
	}
	return false
}

// mountsOf lists what this process sees mounted in the bed's folder.
func mountsOf(n names) ([]string, error) { return mountsIn("self", n.dir()) }

// mountsIn lists what a process sees mounted below a folder, the deepest and latest first.
func mountsIn(pid, dir string) ([]string, error) {
	table, err := os.ReadFile("/proc/" + pid + "/mountinfo")
	if err != nil {
		return nil, err
	}
	var out []string
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		if len(f) > 4 && strings.HasPrefix(unescape(f[4]), dir+"/") {
			out = append(out, unescape(f[4]))
		}
	}
	sort.Sort(sort.Reverse(sort.StringSlice(out)))
	return out, nil
}

// unescape undoes the octal escapes of mountinfo.
func unescape(path string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(path)
}

func unmount(n names) error {
	mounts, err := mountsOf(n)
	if err != nil {
		return err
	}
	for _, path := range mounts {
		if err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmount %s: %w", path, err)
		}
	}
	return nil
}

// removeFolder deletes the bed's folder when nothing is mounted in it.
func removeFolder(n names) error {
	mounts, err := mountsOf(n)
	if err != nil {
		return err
	}
	if len(mounts) > 0 {
		return fmt.Errorf("not deleting %s: something is mounted at %v", n.dir(), mounts)
	}
	return os.RemoveAll(n.dir())
}

// Left lists everything on this machine that carries the id of a bed below the root; empty root: the default one. After
// [Bed.Stop] it is empty.
func Left(root, id string) ([]string, error) {
	if root == "" {
		root = defaultRoot()
	}
	n := names{root, id}
	var out []string
	for _, pid := range processesOf(n) {
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		out = append(out, fmt.Sprintf("process %d: %s", pid, bytes.ReplaceAll(line, []byte{0}, []byte(" "))))
	}
	mounts, err := mountsOf(n)
	if err != nil {
		return nil, err
	}
	engine, err := kindOf(context.Background(), n)
	if err != nil {
		return nil, err
	}
	for kind, names := range map[string][]string{
		"mount": mounts, "network namespace": netnsOf(n), "interface": linksOf(n), "control group": cgroupsOf(n), "of the container engine": engine,
	} {
		for _, name := range names {
			out = append(out, kind+" "+name)
		}
	}
	if _, err := os.Lstat(n.dir()); err == nil {
		out = append(out, "folder "+n.dir())
	}
	sort.Strings(out)
	return out, nil
}

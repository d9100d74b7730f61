package testcluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/nave-dev/nave/internal/testcluster/keeper"
)

// onNode are the components that end with the node. The control plane is as good as on another machine.
var onNode = []string{Kubelet, Containerd, "kube-proxy", "coredns"}

// volatile are the folders of a cluster that a machine keeps in memory: of containerd and its shims, and of runc.
var volatile = []string{"run", "runc", "s"}

// killNode ends everything that runs on the node, at once and without a word, and removes what a machine without power forgets. Disks
// stay: images, the kubelet's folder with the volumes on disk, addresses that were given.
func (c *source) killNode(ctx context.Context) error {
	for _, name := range onNode {
		if err := c.kill(name); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, sweepLimit, fmt.Errorf("not within %v", sweepLimit))
	defer cancel()
	if err := c.endOnNode(ctx); err != nil {
		return err
	}
	if err := c.unmount(ctx); err != nil {
		return err
	}
	limit, _ := ctx.Deadline()
	if err := removeGroups(limit, func() []string { return below(c.names, c.Name) }); err != nil {
		return err
	}
	for _, dir := range volatile {
		if err := os.RemoveAll(filepath.Join(c.Dir, dir)); err != nil {
			return err
		}
	}
	return nil
}

// startNode starts what killNode ended and returns when the node is ready.
func (c *source) startNode(ctx context.Context) error {
	if err := c.startContainerd(ctx); err != nil {
		return err
	}
	if err := c.startNetwork(); err != nil {
		return err
	}
	return c.startKubelet(ctx)
}

// endOnNode kills processes of pods, shims, and what else containerd has started, until there are none.
func (c *source) endOnNode(ctx context.Context) error {
	stays := make(map[int]bool) // the control plane
	for _, p := range c.running {
		stays[p.Pid] = true
	}
	tick := time.NewTicker(sweepLook)
	defer tick.Stop()
	for {
		var left []int
		for _, pid := range processesOf(c.names) {
			if !stays[pid] && c.hasOnNode(pid) {
				left = append(left, pid)
			}
		}
		if len(left) == 0 {
			return nil
		}
		for _, pid := range left {
			if p, err := os.FindProcess(pid); err == nil {
				if c.names.owns(pid) && c.hasOnNode(pid) {
					_ = p.Kill() // gone meanwhile is as good
				}
				_ = p.Release()
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s: processes %v do not end: %w", c.Name, left, context.Cause(ctx))
		}
	}
}

// hasOnNode says of a process of the bed whether it is in a control group of this cluster, or works in its folder.
func (c *source) hasOnNode(pid int) bool {
	at := filepath.Join("/proc", strconv.Itoa(pid))
	groups, _ := os.ReadFile(filepath.Join(at, "cgroup")) // what cannot be read has ended
	line, _ := os.ReadFile(filepath.Join(at, "cmdline"))
	return inGroup(string(groups), c.names.cgroup()+"/"+c.Name) || bytes.Contains(line, []byte(c.Dir+"/"))
}

// unmount removes what is mounted in the cluster's folder, where the keeper's processes see it.
func (c *source) unmount(ctx context.Context) error {
	mounts, err := mountsIn(strconv.Itoa(c.keeper.Pid()), c.Dir)
	if err != nil || len(mounts) == 0 {
		return err
	}
	program, err := exec.LookPath("umount")
	if err != nil {
		return err
	}
	p, err := c.keeper.Start(keeper.Spec{
		Name: c.Name + " umount", Args: append([]string{program, "--lazy", "--no-canonicalize"}, mounts...), Env: []string{c.names.environment()},
		Dir: "/", Log: filepath.Join(c.Dir, "log", "umount.log"),
	})
	if err != nil {
		return err
	}
	select {
	case <-p.Done():
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("%s: unmounting: %w", c.Name, context.Cause(ctx)), p.Kill())
	}
	if left, err := mountsIn(strconv.Itoa(c.keeper.Pid()), c.Dir); err != nil || len(left) > 0 {
		return fmt.Errorf("%s: still mounted: %v, %w: %s", c.Name, left, err, tail(p.Log))
	}
	return nil
}

// KillNode ends the node as a loss of power does: kubelet, containerd, and every process of every pod, at once. What was in memory is
// gone, what was on disk stays. The control plane runs on, but for that of kind's clusters, which is on the node.
func (c *Cluster) KillNode(ctx context.Context) error {
	c.log.Info("taking the power of a node", "cluster", c.Name, "node", c.node)
	return c.backend.killNode(ctx)
}

// StartNode starts a node that KillNode ended and returns when it is ready.
func (c *Cluster) StartNode(ctx context.Context) error { return c.backend.startNode(ctx) }

// RestartNode is KillNode and StartNode: a reboot that nobody announced. The kubelet sees no other boot id: it is the machine's.
func (c *Cluster) RestartNode(ctx context.Context) error {
	if err := c.KillNode(ctx); err != nil {
		return err
	}
	return c.StartNode(ctx)
}

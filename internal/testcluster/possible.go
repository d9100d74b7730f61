package testcluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// tryLimit bounds the trial of what clusters do to a machine; it takes a moment.
const tryLimit = 30 * time.Second

// trial does in namespaces of its own, which end with it, what the start of a cluster does: $1 is an empty folder.
const trial = `set -e
mount -t tmpfs none "$1"
mkdir "$1/a" "$1/b" "$1/c" "$1/d"
mount -t overlay -o lowerdir="$1/a",upperdir="$1/b",workdir="$1/c" none "$1/d"
ip link set lo up
ip link add trial0 type bridge
ip link add trial1 type veth peer name trial2
ip link set trial1 master trial0 up
nft add table inet trial
echo 1 >/proc/sys/net/ipv4/ip_forward
`

// Possible says why clusters cannot run on this machine; nil when they can. It tries, and leaves nothing.
func Possible(ctx context.Context) error {
	chosen, err := chooseBackend(ctx)
	if err != nil || chosen == BackendKind {
		return err
	}
	if os.Getuid() != 0 {
		return errors.New("clusters need root, for network namespaces, mounts and control groups; a control plane alone and a fleet do not")
	}
	if err := check(ctx, toRun); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, tryLimit)
	defer cancel()
	dir, err := os.MkdirTemp("", "trial")
	if err != nil {
		return err
	}
	defer os.Remove(dir)
	cmd := exec.CommandContext(ctx, "sh", "-c", trial, "sh", dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("no right to network namespaces and mounts, or a kernel without overlayfs, bridges, veth or nftables: %w: %s", err, strings.TrimSpace(string(out)))
	}
	n := names{id: newID()}
	err = makeCgroups(n, 1)
	limit, _ := ctx.Deadline()
	return errors.Join(err, removeGroups(limit, func() []string { return cgroupsOf(n) }))
}

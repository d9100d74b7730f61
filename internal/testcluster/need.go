package testcluster

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
)

// need is something of the machine's that Nave does not build: a program, or what pkg-config knows, and the Debian package that
// has it.
type need struct {
	program string
	pkg     string // instead of program: what pkg-config knows
	deb     string
}

var (
	toBuild = []need{
		{program: "go", deb: "golang"},
		{program: "gcc", deb: "gcc libc6-dev"},
		{program: "pkg-config", deb: "pkg-config"},
		{pkg: "libseccomp", deb: "libseccomp-dev"},
	}
	toRun = []need{
		{program: "ip", deb: "iproute2"},
		{program: "nft", deb: "nftables"},
		{program: "mount", deb: "mount"},
	}
)

// check returns an error that names everything that is missing and the command that gets it.
func check(ctx context.Context, needs []need) error {
	var missing, debs []string
	for _, n := range needs {
		if n.there(ctx) {
			continue
		}
		missing = append(missing, n.program+n.pkg)
		debs = append(debs, n.deb)
	}
	if len(missing) == 0 {
		return nil
	}
	slices.Sort(debs)
	return fmt.Errorf("missing: %s; get it by: make kind-tests-deps, or: apt-get install %s",
		strings.Join(missing, ", "), strings.Join(slices.Compact(debs), " "))
}

func (n need) there(ctx context.Context) bool {
	if n.program != "" {
		_, err := exec.LookPath(n.program)
		return err == nil
	}
	return exec.CommandContext(ctx, "pkg-config", "--exists", n.pkg).Run() == nil
}

package testcluster

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// goBuild calls go build in a module of the repository. Symbols are left out: the programs are a quarter smaller.
func (b builder) goBuild(ctx context.Context, module string, env []string, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", append([]string{"-C", filepath.Join(b.root, module), "build", "-buildvcs=false"}, args...)...)
	cmd.Env = append(append(os.Environ(), "CGO_ENABLED=0"), env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go build in %s: %w: %s", module, err, out.Bytes())
	}
	return nil
}

// components are the names that the one program is called by.
var components = []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "kubectl"}

func buildKubeall(ctx context.Context, b builder) error {
	const module = programsDir + "/kubeall"
	version, err := versionOf(b.root, module, "k8s.io/kubernetes")
	if err != nil {
		return err
	}
	major, rest, _ := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	minor, _, _ := strings.Cut(rest, ".")
	flags := []string{"-s", "-w"}
	for _, p := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		for name, value := range map[string]string{"gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitCommit": "source", "gitTreeState": "clean"} {
			flags = append(flags, "-X", p+"."+name+"="+value)
		}
	}
	if err := b.goBuild(ctx, module, nil, "-ldflags", strings.Join(flags, " "), "-o", filepath.Join(b.out, "kubeall"), "."); err != nil {
		return err
	}
	for _, name := range components {
		if err := os.Symlink("kubeall", filepath.Join(b.out, name)); err != nil {
			return err
		}
	}
	return nil
}

func buildCRI(ctx context.Context, b builder) error {
	const (
		module     = programsDir + "/cri"
		containerd = "github.com/containerd/containerd/v2"
		plugins    = "github.com/containernetworking/plugins/plugins"
		runc       = "github.com/opencontainers/runc"
	)
	version, err := versionOf(b.root, module, containerd)
	if err != nil {
		return err
	}
	if err := b.goBuild(ctx, module, nil, "-ldflags", "-s -w -X "+containerd+"/version.Version="+version, "-o", b.out+"/",
		containerd+"/cmd/containerd", containerd+"/cmd/containerd-shim-runc-v2", containerd+"/cmd/ctr"); err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(b.out, "cni"), 0o755); err != nil {
		return err
	}
	if err := b.goBuild(ctx, module, nil, "-ldflags", "-s -w", "-o", filepath.Join(b.out, "cni")+"/",
		plugins+"/main/bridge", plugins+"/main/loopback", plugins+"/ipam/host-local", plugins+"/meta/portmap"); err != nil {
		return err
	}
	if version, err = versionOf(b.root, module, runc); err != nil {
		return err
	}
	// It enters namespaces in C, before Go begins.
	return b.goBuild(ctx, module, []string{"CGO_ENABLED=1"}, "-tags", "seccomp urfave_cli_no_docs netgo osusergo",
		"-ldflags", "-s -w -X main.version="+strings.TrimPrefix(version, "v"), "-o", filepath.Join(b.out, "runc"), runc)
}

// buildBed builds the bed's own programs and the images that every node has.
func buildBed(ctx context.Context, b builder) error {
	const cmds = "./internal/testcluster/cmd/"
	if err := b.goBuild(ctx, ".", nil, "-ldflags", "-s -w", "-o", b.out+"/", cmds+"keeper", cmds+"pause", cmds+"probe"); err != nil {
		return err
	}
	for program, name := range map[string]string{"pause": PauseImage, "probe": ProbeImage} {
		image := Image{Name: name, Files: map[string]string{"/" + program: filepath.Join(b.out, program)}, Entrypoint: []string{"/" + program}}
		if err := image.WriteArchive(filepath.Join(b.out, program+".tar")); err != nil {
			return err
		}
	}
	return nil
}

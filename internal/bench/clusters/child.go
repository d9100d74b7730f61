package clusters

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// childProgram is what `make bench-kube` makes of the folder runtime.
const childProgram = "bench-kube-runtime"

// child is a process of that program.
type child struct{ cmd *exec.Cmd }

func (c child) id() int { return c.cmd.Process.Pid }

// kill ends it as a crash does.
func (c child) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}

// child starts the program and returns when it knows n workloads, and how long that took.
func (f *fleet) child(ctx context.Context, n int) (child, time.Duration, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(f.b.Bin, childProgram), f.proxy.Kubeconfig, f.settings, f.pem, clusterOfMany)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return child{}, 0, err
	}
	c, began := child{cmd}, time.Now()
	if err := cmd.Start(); err != nil {
		return child{}, 0, err
	}
	hang := time.AfterFunc(limit, func() { _ = cmd.Process.Kill() })
	defer hang.Stop()
	line, err := bufio.NewReader(out).ReadString('\n')
	took := time.Since(began)
	if want := fmt.Sprintf("ready %d", n); strings.TrimSpace(line) != want {
		c.kill()
		return c, 0, fmt.Errorf("the runtime says %q (%v), want %q", line, err, want)
	}
	return c, took, nil
}

package state

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/nave-dev/nave/internal/bench/floor"
	"github.com/nave-dev/nave/internal/bench/measure"
)

// cost of a start: from exec until the program says that it is ready.
type cost struct{ took, used time.Duration }

// runFloor starts a floor, waits until it says that it is ready, and kills it as the hub is killed. It returns what it said and
// what that cost.
func runFloor(ctx context.Context, b *measure.Bench, args ...string) (string, cost, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*startTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, b.Self, append([]string{floor.Command}, args...)...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return "", cost{}, err
	}
	defer in.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", cost{}, err
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return "", cost{}, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	took := time.Since(began)
	_ = cmd.Process.Kill() // it may have ended
	_, _ = io.Copy(io.Discard, out)
	_ = cmd.Wait() // it was killed
	if err != nil || !strings.HasPrefix(line, "ready") {
		return "", cost{}, fmt.Errorf("floor %s said %q: %w", args[0], line, err)
	}
	return strings.TrimSpace(strings.TrimPrefix(line, "ready")), cost{took, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}, nil
}

// sizes of an etcd in bytes.
type sizes struct{ file, used float64 }

// sizeOf puts n records into the etcd below a folder, compacts it, and returns its sizes.
func sizeOf(ctx context.Context, b *measure.Bench, dir string, n int) (s sizes, err error) {
	line, _, err := runFloor(ctx, b, "state-size", dir, fmt.Sprint(n), fmt.Sprint(keyBytes), fmt.Sprint(recordBytes()))
	if err != nil {
		return s, err
	}
	_, err = fmt.Sscan(line, &s.file, &s.used)
	return s, err
}

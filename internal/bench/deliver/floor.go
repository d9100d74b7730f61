package deliver

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/nave-dev/nave/internal/bench/floor"
	"github.com/nave-dev/nave/internal/bench/measure"
)

// relayFloor is the processes of the floor of deliver.
type relayFloor struct {
	w     *world
	procs []*exec.Cmd
	stdin []io.Closer
	conn  *grpc.ClientConn
}

// startFloor starts the floor's processes.
func (w *world) startFloor(ctx context.Context) (*relayFloor, error) {
	f := &relayFloor{w: w}
	dir, err := w.b.Subdir("floor")
	if err != nil {
		return nil, err
	}
	address, err := f.start(ctx, "deliver-hub", dir)
	if err == nil {
		_, err = f.start(ctx, "deliver-spoke", dir, address, w.tee, w.arrivals.path)
	}
	if err != nil {
		f.close()
		return nil, err
	}
	creds, err := floor.Mutual(dir)
	if err == nil {
		f.conn, err = grpc.NewClient(address, grpc.WithTransportCredentials(creds))
	}
	if err == nil {
		_, err = f.load(ctx, 50, time.Second) // warms it up
	}
	if err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

// start starts a process of the floor and returns the line that it says when it serves.
func (f *relayFloor) start(ctx context.Context, args ...string) (string, error) {
	c := exec.CommandContext(ctx, f.w.b.Self, append([]string{floor.Command}, args...)...)
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	if err != nil {
		return "", err
	}
	out, err := c.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := c.Start(); err != nil {
		return "", err
	}
	f.procs, f.stdin = append(f.procs, c), append(f.stdin, in)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("floor %s: %w", args[0], err)
	}
	return strings.TrimSpace(line), nil
}

// close ends the processes, the spoke's first.
func (f *relayFloor) close() {
	if f.conn != nil {
		f.conn.Close()
	}
	for i := len(f.procs) - 1; i >= 0; i-- {
		f.stdin[i].Close()
		_ = f.procs[i].Wait() // how it ends is of no interest: it was told to
	}
}

// processor is what the processes have used, with the programs that they started.
func (f *relayFloor) processor() (sum time.Duration, err error) {
	for _, p := range f.procs {
		used, err := measure.ProcessorTime(p.Process.Pid)
		if err != nil {
			return 0, err
		}
		sum += used
	}
	return sum, nil
}

// load sends signals and waits until the programs have them.
func (f *relayFloor) load(ctx context.Context, rate float64, during time.Duration) (measure.Samples, error) {
	res, err := f.w.b.OpenLoop(ctx, rate, during, func(ctx context.Context, _ int) error {
		n, arrived := f.w.arrivals.expect()
		text, err := document(n)
		if err != nil {
			return err
		}
		if err := f.conn.Invoke(ctx, floor.RelaySignal, wrapperspb.Bytes(text), new(emptypb.Empty)); err != nil {
			return err
		}
		_, err = await(ctx, arrived)
		return err
	})
	if err == nil {
		err = res.Good()
	}
	return res.Samples, err
}

package events

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/nave-dev/nave/internal/bench/floor"
	"github.com/nave-dev/nave/internal/bench/measure"
	"github.com/nave-dev/nave/internal/run"
)

// base is the floor: its two processes, and a connection for readers.
type base struct {
	self  string
	procs []*exec.Cmd
	stdin []io.WriteCloser
	said  *bufio.Reader // by the spoke
	conn  *grpc.ClientConn
	runs  int
}

func startFloor(ctx context.Context, b *measure.Bench) (*base, error) {
	f := &base{self: b.Self}
	dir, err := b.Subdir("floor")
	if err != nil {
		return nil, err
	}
	address, _, err := f.start(ctx, "events-hub", dir)
	if err == nil {
		_, f.said, err = f.start(ctx, "events-spoke", dir, address)
	}
	if err == nil {
		f.conn, err = floor.EventsDial(dir, address)
	}
	if err == nil { // warms it up
		_, _, err = f.print(ctx, sessions, warmUp)
	}
	if err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

// start starts a process and returns the line that it says when it serves.
func (f *base) start(ctx context.Context, args ...string) (string, *bufio.Reader, error) {
	c := exec.CommandContext(ctx, f.self, append([]string{floor.Command}, args...)...)
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	if err != nil {
		return "", nil, err
	}
	out, err := c.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := c.Start(); err != nil {
		return "", nil, err
	}
	f.procs, f.stdin = append(f.procs, c), append(f.stdin, in)
	r := bufio.NewReader(out)
	line, err := r.ReadString('\n')
	if err != nil {
		return "", nil, fmt.Errorf("floor %s: %w", args[0], err)
	}
	return strings.TrimSpace(line), r, nil
}

// close ends the processes, the spoke's first.
func (f *base) close() {
	if f.conn != nil {
		f.conn.Close()
	}
	for i := len(f.procs) - 1; i >= 0; i-- {
		f.stdin[i].Close()
		_ = f.procs[i].Wait() // how it ends is of no interest: it was told to
	}
}

// processor is what both processes have used.
func (f *base) processor() (sum time.Duration) {
	for _, p := range f.procs {
		if used, err := measure.ProcessorTime(p.Process.Pid); err == nil {
			sum += used
		}
	}
	return sum
}

// print lets the floor print by a plan as the agents of the federation do, and reads.
func (f *base) print(ctx context.Context, n int, p floor.Plan) (all []*seen, begin time.Time, err error) {
	f.runs++
	begin = time.Now().Add(lead / 2)
	plans := floor.EventsPlan{Plans: map[string]floor.Plan{}}
	g := run.NewGroup(ctx)
	ready := make(chan struct{}, n)
	for i, own := range shares(n, p, begin) {
		s := newSeen(own)
		all = append(all, s)
		session := fmt.Sprintf("%026d", f.runs*100+i)
		plans.Plans[session] = own
		g.Go("reader", func(ctx context.Context) error { return f.follow(ctx, session, own.Lines, s, ready) })
	}
	g.Go("plan", func(ctx context.Context) error {
		for range n {
			select {
			case <-ready:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		text, err := json.Marshal(plans)
		if err == nil {
			_, err = f.stdin[1].Write(append(text, '\n'))
		}
		if err == nil {
			_, err = f.said.ReadString('\n')
		}
		return err
	})
	return all, begin, g.Wait()
}

func (f *base) follow(ctx context.Context, session string, lines int, s *seen, ready chan<- struct{}) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := f.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, floor.EventsTopic)
	if err == nil {
		err = stream.SendMsg(wrapperspb.Bytes([]byte(session)))
	}
	if err == nil {
		err = stream.RecvMsg(new(wrapperspb.BytesValue))
	}
	if err != nil {
		return err
	}
	ready <- struct{}{}
	for next := uint64(1); int(next) <= lines; {
		in := new(wrapperspb.BytesValue)
		if err := stream.RecvMsg(in); err != nil {
			return err
		}
		_, items, err := floor.Unpack(in.Value)
		if err != nil {
			return err
		}
		for _, i := range items {
			if i.Number != next {
				return fmt.Errorf("floor: event %d comes where %d is due", i.Number, next)
			}
			next++
			if err := s.check(string(i.Text)); err != nil {
				return err
			}
		}
	}
	return nil
}

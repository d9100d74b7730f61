package memory

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/nave-dev/nave/internal/bench/floor"
	"github.com/nave-dev/nave/internal/bench/measure"
	"github.com/nave-dev/nave/internal/bench/rig"
	"github.com/nave-dev/nave/internal/run"
)

// program is the process of a floor.
type program struct {
	cmd   *exec.Cmd
	stdin io.Closer
	says  string // its first line
}

// startFloor starts a floor and waits until it serves.
func startFloor(ctx context.Context, name string, args ...string) (*program, error) {
	p := &program{cmd: exec.CommandContext(ctx, name, args...)}
	p.cmd.Stderr = os.Stderr
	in, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	p.stdin = in
	if p.says, err = bufio.NewReader(out).ReadString('\n'); err != nil {
		return nil, errors.Join(fmt.Errorf("floor %s: %w", name, err), p.close())
	}
	return p, nil
}

func (p *program) pid() int { return p.cmd.Process.Pid }

// close ends it.
func (p *program) close() error {
	p.stdin.Close()
	return p.cmd.Wait()
}

// linksFloor is the floor of idle links, with its clients in this program.
type linksFloor struct {
	*program
	address  string
	profiles string
	creds    credentials.TransportCredentials
	conns    []*grpc.ClientConn
	bytes    atomic.Int64
	g        *run.Group
}

func startLinksFloor(ctx context.Context, b *measure.Bench) (*linksFloor, error) {
	cert, err := floor.Certificate()
	if err != nil {
		return nil, err
	}
	p, err := startFloor(ctx, b.Self, floor.Command, "idle-links")
	if err != nil {
		return nil, err
	}
	f := &linksFloor{program: p, g: run.NewGroup(ctx), creds: credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert},
		InsecureSkipVerify: true})} // nobody vouches for the floor
	if _, err := fmt.Sscan(p.says, &f.address, &f.profiles); err != nil {
		return nil, errors.Join(err, p.close())
	}
	return f, nil
}

// to opens connections until there are n.
func (f *linksFloor) to(n int) error {
	for len(f.conns) < n {
		cc, err := grpc.NewClient("passthrough:///"+f.address, grpc.WithTransportCredentials(f.creds), grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
			return counted{c, &f.bytes}, err
		}))
		if err != nil {
			return err
		}
		f.conns = append(f.conns, cc)
		stream, err := cc.NewStream(f.g.Context(), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, floor.IdleStream)
		if err != nil {
			return err
		}
		if err := errors.Join(stream.SendMsg(new(emptypb.Empty)), stream.RecvMsg(new(emptypb.Empty))); err != nil { // hello and welcome
			return err
		}
		f.g.Go("beat", func(ctx context.Context) error {
			for rig.Pause(ctx, beat) == nil {
				if err := cc.Invoke(ctx, floor.IdleBeat, new(emptypb.Empty), new(emptypb.Empty)); err != nil && ctx.Err() == nil {
					return err
				}
			}
			return nil
		})
	}
	return nil
}

// close ends connections and process.
func (f *linksFloor) close() error {
	f.g.Stop()
	err := f.g.Wait()
	for _, cc := range f.conns {
		err = errors.Join(err, cc.Close())
	}
	return errors.Join(err, f.program.close())
}

// contextFloor starts the floor of a spoke's memory, as a member of the hub.
func (w world) contextFloor(ctx context.Context) (*program, error) {
	m, err := w.enroll(ctx, "floor")
	if err != nil {
		return nil, err
	}
	file := w.Path("floor.json")
	if err := os.WriteFile(file, m.Identity, 0o600); err != nil {
		return nil, err
	}
	return startFloor(ctx, filepath.Join(w.Bench.Bin, "bench-bare"), file, m.Service)
}

package memory

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
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

// linksFloor is the floor of idle links, with its clients in this program.
type linksFloor struct {
	*floor.Child // says its address and that of its profiles
	creds        credentials.TransportCredentials
	conns        []*grpc.ClientConn
	bytes        atomic.Int64
	g            *run.Group
}

func startLinksFloor(ctx context.Context, b *measure.Bench) (*linksFloor, error) {
	cert, err := floor.Certificate()
	if err != nil {
		return nil, err
	}
	c, err := floor.Start(ctx, b.Self, "idle-links")
	if err != nil {
		return nil, err
	}
	return &linksFloor{Child: c, g: run.NewGroup(ctx), creds: credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert},
		InsecureSkipVerify: true})}, nil // nobody vouches for the floor
}

// to opens connections until there are n.
func (f *linksFloor) to(n int) error {
	for len(f.conns) < n {
		cc, err := grpc.NewClient("passthrough:///"+f.Says[0], grpc.WithTransportCredentials(f.creds), grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
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
	return errors.Join(err, f.Child.Close())
}

// contextFloor starts the floor of a spoke's memory, as a member of the hub.
func (w world) contextFloor(ctx context.Context) (*floor.Child, error) {
	m, err := w.enroll(ctx, "floor")
	if err != nil {
		return nil, err
	}
	file := w.Path("floor.json")
	if err := os.WriteFile(file, m.Identity, 0o600); err != nil {
		return nil, err
	}
	return floor.Wrapped(ctx, nil, filepath.Join(w.Bench.Bin, "bench-bare"), file, m.Service)
}

package floor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"time"

	"google.golang.org/grpc"

	"github.com/nave-dev/nave/internal/run"
)

// serve serves on loopback, prints the address and what is said beside it, and ends the group with standard input.
func serve(g *run.Group, srv *grpc.Server, beside ...any) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	g.Go("serve", func(context.Context) error { return srv.Serve(l) })
	untilInputEnds(g, srv.Stop, append([]any{l.Addr()}, beside...)...)
	return nil
}

// untilInputEnds prints a line, and ends the group with standard input.
func untilInputEnds(g *run.Group, stop func(), line ...any) {
	g.Go("end", func(context.Context) error {
		fmt.Println(line...)
		_, _ = io.Copy(io.Discard, os.Stdin) // until it is told to end
		stop()
		g.Stop()
		return nil
	})
}

// profiles serves what the runtime counts, on loopback, as long as the group lives, and returns the address.
func profiles(g *run.Group) (net.Addr, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	srv := &http.Server{Handler: pprof.Handler("heap"), ReadHeaderTimeout: time.Second}
	g.Go("profiles", func(context.Context) error {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	g.Go("end of profiles", func(ctx context.Context) error {
		<-ctx.Done()
		return srv.Close()
	})
	return l.Addr(), nil
}

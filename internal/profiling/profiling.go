package profiling

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
)

// Listen opens host:port. The host is a loopback address; field is what errors name.
func Listen(field, address string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, api.Invalid(field, "%q: want host:port", address)
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return nil, api.Invalid(field, "%q is not loopback: profiles show what is in memory; take 127.0.0.1 and forward the port", address)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, api.Invalid(field, "%v", err)
	}
	return l, nil
}

// Serve answers on the listener, and closes it when ctx ends.
func Serve(ctx context.Context, l net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	g := run.NewGroup(ctx)
	g.Go("serve", func(context.Context) error {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	g.Go("stop", func(ctx context.Context) error {
		<-ctx.Done()
		return srv.Close()
	})
	return g.Wait()
}

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
	"github.com/nave-dev/nave/hub/dev"
	"github.com/nave-dev/nave/hub/rpc"
	"github.com/nave-dev/nave/internal/profiling"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/transport"
	"github.com/nave-dev/nave/transport/ziti"
)

// doors are the listeners, opened before anything else so that a taken port is known at once.
type doors struct {
	http, grpc net.Listener
	metrics    net.Listener // nil: metrics are served with the API
	profiling  net.Listener // nil: profiles are not served
}

func (d *doors) close() {
	for _, l := range []net.Listener{d.http, d.grpc, d.metrics, d.profiling} {
		if l != nil {
			l.Close()
		}
	}
}

// openDoors listens where the configuration says. A port 0 is replaced by the one that the first start chose, so that
// contexts and join tokens stay true.
func openDoors(dir *dev.Directory, c config) (d *doors, err error) {
	kept, err := dir.Ports()
	if err != nil {
		return nil, err
	}
	d = &doors{}
	defer func(opened *doors) { // an error returns no doors
		if err != nil {
			opened.close()
		}
	}(d)
	if d.http, err = listen("api.listen", c.API.Listen, kept.HTTP); err != nil {
		return nil, err
	}
	if d.grpc, err = listen("api.grpc_listen", c.API.GRPCListen, kept.GRPC); err != nil {
		return nil, err
	}
	if c.Metrics.Listen != "" {
		if d.metrics, err = listen("metrics.listen", c.Metrics.Listen, ""); err != nil {
			return nil, err
		}
	}
	if c.Profiling.Listen != "" {
		if d.profiling, err = profiling.Listen("profiling.listen", c.Profiling.Listen); err != nil {
			return nil, err
		}
	}
	return d, dir.SavePorts(dev.Ports{HTTP: d.http.Addr().String(), GRPC: d.grpc.Addr().String()})
}

func listen(field, addr, kept string) (net.Listener, error) {
	if host, port, _ := net.SplitHostPort(addr); port == "0" && kept != "" {
		if keptHost, keptPort, err := net.SplitHostPort(kept); err == nil && keptHost == host {
			addr = net.JoinHostPort(host, keptPort)
		}
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, &api.Error{Code: api.CodeFailed, Field: field, Err: api.Errorf(api.CodeFailed, "listen on %s: %w: stop what uses it, or choose another address", addr, err)}
	}
	return l, nil
}

// serverTLS returns the certificate that the API presents, and the authority to believe it by, as PEM.
func (p *program) serverTLS() (*tls.Config, []byte, error) {
	t := p.cfg.API.TLS
	if t.CertFile == "" {
		host, _, _ := net.SplitHostPort(p.doors.http.Addr().String())
		return p.dir.ServerTLS(time.Now(), append([]string{host}, p.cfg.API.Hosts...)...)
	}
	pair, ca, err := t.load()
	if err != nil {
		return nil, nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"h2", "http/1.1"}, Certificates: []tls.Certificate{pair}}, ca, nil
}

// load reads the certificate that the configuration names, and returns its authority as PEM.
func (t tlsConfig) load() (tls.Certificate, []byte, error) {
	pair, err := loadPair("api.tls", t.CertFile, t.KeyFile)
	if err != nil {
		return pair, nil, err
	}
	root, err := authorityOf(pair, t.CertFile)
	if err != nil {
		return pair, nil, err
	}
	return pair, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Raw}), nil
}

// authorityOf is the last certificate of a chain, which has to be the authority: join tokens pin it, and a spoke that
// enrolls knows it from nowhere else.
func authorityOf(pair tls.Certificate, file string) (*x509.Certificate, error) {
	root, err := x509.ParseCertificate(pair.Certificate[len(pair.Certificate)-1])
	if err == nil && !root.IsCA {
		err = api.Invalid("api.tls.cert_file", "%s does not end in the certificate of its authority, which join tokens pin: append it", file)
	}
	return root, err
}

// host offers the hub's service in the overlay. An overlay that is being started again itself may not answer at first: a hub
// that comes back needs nobody's help, so it is asked until it does.
func (p *program) host(ctx context.Context, nw *network) (net.Listener, error) {
	for wait := 500 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		lis, err := nw.node.Listen(ctx, ziti.HubService)
		if err == nil || ctx.Err() != nil {
			return lis, err
		}
		p.log.Warn("the overlay does not host the hub's service yet", "error", err, "retry_in", wait)
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}

// open serves the links and the API, and says ready when the first request would be answered.
func (p *program) open(ctx context.Context, brain *hub.Hub, server *rpc.Server, nw *network, ready func(ca []byte) error) error {
	tlsConfig, ca, err := p.serverTLS()
	if err != nil {
		return err
	}
	links, err := transport.NewServer(transport.ServerConfig{Credentials: ziti.ServerCredentials(nw.node), Identity: ziti.PeerIdentity, Log: p.log,
		Attach: func(ctx context.Context, id string, hello api.Hello) (transport.Attachment, api.Welcome, error) {
			a, w, err := brain.Attach(ctx, id, hello)
			if err != nil {
				return nil, w, err
			}
			return a, w, nil
		}})
	if err != nil {
		return err
	}
	lis, err := p.host(ctx, nw)
	if err != nil {
		return err
	}
	handler, watching := p.handlers(server.Handler())
	web := p.httpServer(handler)
	grpcServer := server.GRPC(grpc.Creds(credentials.NewTLS(tlsConfig)))
	g := run.NewGroup(ctx)
	g.Go("links", func(ctx context.Context) error { return links.Serve(ctx, lis) })
	g.Go("http", func(context.Context) error { return serveHTTP(web, tls.NewListener(p.doors.http, tlsConfig)) })
	if p.watching != nil {
		p.watching.then.Store(&watching)
	}
	g.Go("grpc", func(context.Context) error { return grpcServer.Serve(p.doors.grpc) })
	g.Go("stop", func(ctx context.Context) error {
		<-ctx.Done()
		server.Drain()
		within, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		grpcServer.Stop()
		err := web.Shutdown(within)
		if p.watching != nil { // what it tells of the storage needs the storage
			err = errors.Join(err, p.watching.stop())
		}
		return err
	})
	g.Go("ready", func(ctx context.Context) error {
		for brain.Ready() != nil {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(10 * time.Millisecond):
			}
		}
		return ready(ca)
	})
	return g.Wait()
}

// handlers splits what watches the program from the API when there is a listener for it.
func (p *program) handlers(all http.Handler) (api, watching http.Handler) {
	if p.doors.metrics == nil {
		return all, nil
	}
	apiMux, watchMux := http.NewServeMux(), http.NewServeMux()
	for _, path := range []string{"GET /healthz", "GET /readyz", "GET /metrics"} {
		watchMux.Handle(path, all)
	}
	apiMux.Handle("/metrics", http.NotFoundHandler())
	apiMux.Handle("/", all)
	return apiMux, watchMux
}

func (p *program) httpServer(h http.Handler) *http.Server {
	return &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, ErrorLog: slog.NewLogLogger(p.log.Handler(), slog.LevelDebug)}
}

func serveHTTP(s *http.Server, l net.Listener) error {
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

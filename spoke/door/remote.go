package door

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// Remote is what a door needs for harnesses on other machines: they come over TLS and prove by a token whose they are.
type Remote struct {
	// Listen is the host:port to listen on; port 0 takes a free one.
	Listen string
	// Certificate is presented at each handshake. It names [harnessv1.ServerName]; harnesses believe its authority alone.
	Certificate func() (*tls.Certificate, error)
	// Verify confirms that who bears the token is the harness of the workload. It may be called at the same time, and has 10 s.
	// CodeUnauthenticated says that the token is not genuine or not valid now, CodeUnavailable that it cannot be told now; the
	// caller learns of no other error more than that it is denied.
	Verify func(ctx context.Context, id spoke.WorkloadID, token string) error
	// Describe returns what the harness of a workload is to run. CodeNotFound when there is no such workload.
	Describe func(ctx context.Context, id spoke.WorkloadID) (*harnessv1.Workload, error)
	// MaxConnections bounds the connections of all harnesses together; a harness has one, and a few more while it moves
	// checkpoints or sends signals. Default 8192.
	MaxConnections int
}

func (r *Remote) validate() error {
	switch {
	case r.Certificate == nil || r.Verify == nil || r.Describe == nil:
		return api.Invalid("Remote", "Certificate, Verify and Describe are required")
	case r.MaxConnections < 0:
		return api.Invalid("Remote.MaxConnections", "%d: want a positive number, or 0 for %d", r.MaxConnections, maxConnections)
	}
	if _, _, err := net.SplitHostPort(r.Listen); err != nil {
		return api.Invalid("Remote.Listen", "%q: want host:port", r.Listen)
	}
	if r.MaxConnections == 0 {
		r.MaxConnections = maxConnections
	}
	return nil
}

// Bounds of connections from other machines.
const (
	maxConnections = 8192
	maxHeaders     = 16 << 10  // bytes of a call's headers: a token has one or two thousand
	window         = 128 << 10 // that a connection may send before anything of it is taken
	handshakeLimit = 10 * time.Second
)

// Times after which a peer that has vanished is noticed: who was silent for the one is asked, and has the other for an answer.
const (
	aliveAfter  = 10 * time.Second
	aliveWithin = 5 * time.Second
	aliveLeast  = 5 * time.Second // who asks more often is cut off
	idleWithin  = time.Minute     // a connection without a call is ended
)

// newRemoteServer makes a server for callers that nothing is known of yet.
func newRemoteServer(d *Door, s *server) *grpc.Server {
	srv := grpc.NewServer(
		grpc.Creds(remoteCredentials{d.certificate}),
		grpc.InTapHandle(d.tap),
		grpc.MaxRecvMsgSize(4<<20), // of those who are known
		grpc.MaxConcurrentStreams(4),
		grpc.MaxHeaderListSize(maxHeaders),
		grpc.StaticStreamWindowSize(window), // it would grow for whoever sends fast
		grpc.StaticConnWindowSize(window),
		grpc.ReadBufferSize(16<<10),
		grpc.WriteBufferSize(16<<10),
		grpc.ConnectionTimeout(handshakeLimit),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: idleWithin, Time: aliveAfter, Timeout: aliveWithin}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: aliveLeast, PermitWithoutStream: true}),
		grpc.WaitForHandlers(true),
	)
	srv.RegisterService(d.guarded(harnessv1.Harness_ServiceDesc), s)
	return srv
}

// certificate is the door's own.
func (d *Door) certificate() (*tls.Certificate, error) {
	c, err := d.c.Remote.Certificate()
	if err != nil {
		d.sayer.say(slog.LevelError, "the door has no certificate", "err", err)
	}
	return c, err
}

// guarded makes every method a stream whose caller is verified before anything of it is read: gRPC decodes the request of other
// methods before anybody sees the call, and lets no interceptor of streams see a stream of one request and one answer. On the
// wire they are the same.
func (d *Door) guarded(in grpc.ServiceDesc) *grpc.ServiceDesc {
	out := in
	out.Methods, out.Streams = nil, nil
	guard := func(desc grpc.StreamDesc, handler grpc.StreamHandler) {
		desc.Handler = func(srv any, stream grpc.ServerStream) error {
			known, err := d.authenticate(stream)
			if err != nil {
				return err
			}
			return handler(srv, known)
		}
		out.Streams = append(out.Streams, desc)
	}
	for _, s := range in.Streams {
		guard(s, s.Handler)
	}
	for _, m := range in.Methods {
		guard(grpc.StreamDesc{StreamName: m.MethodName}, func(srv any, stream grpc.ServerStream) error {
			answer, err := m.Handler(srv, stream.Context(), stream.RecvMsg, nil)
			if err != nil {
				return err
			}
			return stream.SendMsg(answer)
		})
	}
	return &out
}

// remoteCredentials are TLS 1.3 with a certificate that is asked for at each handshake. Callers show none: they have a token.
type remoteCredentials struct {
	certificate func() (*tls.Certificate, error)
}

// remoteInfo is what is known of a connection from another machine.
type remoteInfo struct {
	credentials.CommonAuthInfo
	guest *guest
}

// AuthType implements [credentials.AuthInfo].
func (remoteInfo) AuthType() string { return "tls" }

// ServerHandshake implements [credentials.TransportCredentials]. The connection has a deadline.
func (c remoteCredentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	g, ok := conn.(*guest)
	if !ok {
		return nil, nil, errors.New("a connection that no listener of the door took")
	}
	tc := tls.Server(conn, &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}, SessionTicketsDisabled: true,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.certificate() },
	})
	if err := tc.Handshake(); err != nil {
		tc.Close()
		return nil, nil, err
	}
	if tc.ConnectionState().NegotiatedProtocol != "h2" {
		tc.Close()
		return nil, nil, errors.New("the caller does not speak HTTP/2")
	}
	info := remoteInfo{guest: g}
	info.SecurityLevel = credentials.PrivacyAndIntegrity
	return tc, info, nil
}

// ClientHandshake implements [credentials.TransportCredentials].
func (remoteCredentials) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("for servers only")
}

// Info implements [credentials.TransportCredentials].
func (remoteCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

// Clone implements [credentials.TransportCredentials].
func (c remoteCredentials) Clone() credentials.TransportCredentials { return c }

// OverrideServerName implements [credentials.TransportCredentials].
func (remoteCredentials) OverrideServerName(string) error { return nil }

// address is where a door listens, once it does.
type address struct {
	mu   sync.Mutex
	text string // guarded by mu
}

func (a *address) set(text string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.text = text
}

// Address is the host:port on which harnesses of other machines are served; empty before [Door.Run] listens, or when there
// are none.
func (d *Door) Address() string {
	d.at.mu.Lock()
	defer d.at.mu.Unlock()
	return d.at.text
}

// listenRemote listens for harnesses on other machines.
func (d *Door) listenRemote() (*guests, error) {
	l, err := net.Listen("tcp", d.c.Remote.Listen)
	if err != nil {
		return nil, &api.Error{Code: api.CodeUnavailable, Field: "Remote.Listen", Err: fmt.Errorf("listen: %w", err)}
	}
	d.at.set(l.Addr().String())
	return newGuests(l, d.c.Remote.MaxConnections, d.c.Log), nil
}

// watch ends connections that prove nothing.
func watch(ctx context.Context, gs *guests) error {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case now := <-t.C:
			gs.tidy(now)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// serveOn serves one listener until the server is stopped.
func serveOn(srv *grpc.Server, l net.Listener) func(context.Context) error {
	return func(context.Context) error {
		if err := srv.Serve(l); !errors.Is(err, grpc.ErrServerStopped) { // stopped before it began
			return err
		}
		return nil
	}
}

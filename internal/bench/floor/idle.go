package floor

import (
	"context"
	"crypto/tls"
	"errors"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/nave-dev/nave/internal/run"
)

func init() {
	programs["idle-links"] = idleLinks
}

// The methods of the floor of idle links: a stream that stays open, and a call per heartbeat.
const (
	idleService = "floor.Idle"
	IdleStream  = "/" + idleService + "/Stream"
	IdleBeat    = "/" + idleService + "/Beat"
)

var idleDesc = grpc.ServiceDesc{
	ServiceName: idleService,
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{MethodName: "Beat", Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		return new(emptypb.Empty), decode(new(emptypb.Empty))
	}}},
	Streams: []grpc.StreamDesc{{StreamName: "Stream", ServerStreams: true, ClientStreams: true, Handler: func(_ any, stream grpc.ServerStream) error {
		for {
			in := new(emptypb.Empty)
			if err := stream.RecvMsg(in); err != nil {
				return err
			}
			if err := stream.SendMsg(in); err != nil {
				return err
			}
		}
	}}},
}

// idleLinks serves connections that have nothing to say, by TLS of both sides. It prints its address and that of its profiles.
func idleLinks(ctx context.Context, _ []string) error {
	cert, err := Certificate()
	if err != nil {
		return err
	}
	srv := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert},
		ClientAuth: tls.RequireAnyClientCert, SessionTicketsDisabled: true})))
	srv.RegisterService(&idleDesc, nil)
	g := run.NewGroup(ctx)
	p, err := profiles(g)
	if err == nil {
		err = serve(g, srv, p)
	}
	if err != nil {
		g.Stop()
	}
	return errors.Join(err, g.Wait())
}

package floor

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"time"

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
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	p, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	profiles := &http.Server{Handler: pprof.Handler("heap"), ReadHeaderTimeout: time.Second}
	g := run.NewGroup(ctx)
	g.Go("serve", func(context.Context) error { return srv.Serve(l) })
	g.Go("profiles", func(context.Context) error {
		if err := profiles.Serve(p); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	g.Go("end", func(context.Context) error {
		fmt.Println(l.Addr(), p.Addr())
		_, _ = io.Copy(io.Discard, os.Stdin) // until it is told to end
		srv.Stop()
		return profiles.Close()
	})
	return g.Wait()
}

// Certificate is one that nobody vouches for: the cost of a handshake is that of any other.
func Certificate() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

package ziti_test

import (
	"context"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/transport/ziti"
	"github.com/nave-dev/nave/transport/ziti/zititest"
)

// callers is a service whose answers tell who called: unary and streaming.
type callers struct {
	healthpb.UnimplementedHealthServer
	who chan string // the identity of each caller, in order; bounded by the test's number of calls
}

func (c *callers) Check(ctx context.Context, _ *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	id, ok := ziti.PeerIdentity(ctx)
	if !ok {
		return nil, status.Error(codes.Unauthenticated, "no identity")
	}
	c.who <- id
	return &healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_SERVING}, nil
}

// Watch sends until the caller leaves.
func (c *callers) Watch(_ *healthpb.HealthCheckRequest, s grpc.ServerStreamingServer[healthpb.HealthCheckResponse]) error {
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	for {
		if err := s.Send(&healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_SERVING}); err != nil {
			return err
		}
		select {
		case <-s.Context().Done():
			return nil
		case <-t.C:
		}
	}
}

// serve hosts the service on node with creds until the end of the test.
func serve(t *testing.T, node *ziti.Node, creds credentials.TransportCredentials) *callers {
	t.Helper()
	l, err := node.Listen(zititest.Context(t, time.Minute), ziti.HubService)
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, l, creds)
}

func serveOn(t *testing.T, l net.Listener, creds credentials.TransportCredentials) *callers {
	c := &callers{who: make(chan string, 100)}
	s := grpc.NewServer(grpc.Creds(creds), grpc.ConnectionTimeout(10*time.Second))
	healthpb.RegisterHealthServer(s, c)
	g := run.NewGroup(context.Background())
	g.Go("serve", func(context.Context) error { return s.Serve(l) })
	t.Cleanup(func() {
		s.Stop()
		g.Stop()
		_ = g.Wait()
	})
	return c
}

// dial returns a client of the service over node.
func dial(t *testing.T, node *ziti.Node, creds credentials.TransportCredentials) healthpb.HealthClient {
	t.Helper()
	cc, err := grpc.NewClient("passthrough:///"+ziti.HubService, grpc.WithTransportCredentials(creds),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second}, MinConnectTimeout: 10 * time.Second,
		}),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return node.Dial(ctx, ziti.HubService) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cc.Close() })
	return healthpb.NewHealthClient(cc)
}

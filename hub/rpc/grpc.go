package rpc

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/nave-dev/nave/api/navev1"
)

// GRPC returns a gRPC server of the same API. Options of the program, such as credentials, come after the server's own. The
// program serves and stops it.
func (s *Server) GRPC(opts ...grpc.ServerOption) *grpc.Server {
	own := []grpc.ServerOption{
		grpc.UnaryInterceptor(s.grpcUnary),
		grpc.StreamInterceptor(s.grpcStream),
		grpc.MaxRecvMsgSize(s.cfg.Limits.MessageBytes),
		grpc.MaxConcurrentStreams(4096), // per connection; what one credential may do is limited above
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
	}
	g := grpc.NewServer(append(own, opts...)...)
	navev1.RegisterEnvironmentsServer(g, environments{s: s})
	navev1.RegisterAgentsServer(g, agents{s: s})
	navev1.RegisterPlacementPoliciesServer(g, policies{s: s})
	navev1.RegisterClustersServer(g, clusters{s: s})
	navev1.RegisterEnrollmentServer(g, enrollment{s: s})
	navev1.RegisterSessionsServer(g, grpcSessions{sessions: &sessions{s: s}})
	navev1.RegisterApprovalsServer(g, approvals{s: s})
	navev1.RegisterGrantsServer(g, grants{s: s})
	navev1.RegisterSystemServer(g, system{s: s})
	return g
}

func (s *Server) grpcAdmit(ctx context.Context, method string) (context.Context, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	addr := ""
	if p, ok := peer.FromContext(ctx); ok {
		addr = p.Addr.String()
	}
	return s.admit(ctx, method, md.Get("authorization"), addr)
}

func (s *Server) grpcUnary(ctx context.Context, req any, call *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (res any, err error) {
	ctx, err = s.grpcAdmit(ctx, call.FullMethod)
	if err == nil {
		err = s.unary(ctx, call.FullMethod, func(ctx context.Context) (err error) {
			res, err = handle(ctx, req)
			return err
		})
	}
	if err != nil {
		return nil, s.grpcError(call.FullMethod, err)
	}
	return res, nil
}

func (s *Server) grpcStream(srv any, ss grpc.ServerStream, call *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	ctx, err := s.grpcAdmit(ss.Context(), call.FullMethod)
	if err == nil {
		err = s.stream(ctx, call.FullMethod, func(ctx context.Context) error { return handle(srv, streamWithContext{ss, ctx}) })
	}
	return s.grpcError(call.FullMethod, err)
}

// streamWithContext is a stream whose handler sees another context.
type streamWithContext struct {
	grpc.ServerStream
	ctx context.Context
}

// Context implements grpc.ServerStream.
func (s streamWithContext) Context() context.Context { return s.ctx }

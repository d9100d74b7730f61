package rpc

import (
	"context"
	"net/http"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1/navev1connect"
)

// mountConnect registers every service.
func (s *Server) mountConnect(mux *http.ServeMux) {
	opts := []connect.HandlerOption{
		connect.WithRequestGate(s.gate),
		connect.WithInterceptors(interceptor{s}),
		connect.WithReadMaxBytes(s.cfg.Limits.MessageBytes),
		connect.WithCodec(strictJSON{"json"}),
		connect.WithCodec(strictJSON{"json; charset=utf-8"}),
	}
	mux.Handle(navev1connect.NewEnvironmentsHandler(environments{s: s}, opts...))
	mux.Handle(navev1connect.NewAgentsHandler(agents{s: s}, opts...))
	mux.Handle(navev1connect.NewPlacementPoliciesHandler(policies{s: s}, opts...))
	mux.Handle(navev1connect.NewClustersHandler(clusters{s: s}, opts...))
	mux.Handle(navev1connect.NewEnrollmentHandler(enrollment{s: s}, opts...))
	mux.Handle(navev1connect.NewSessionsHandler(connectSessions{&sessions{s: s}}, opts...))
	mux.Handle(navev1connect.NewApprovalsHandler(approvals{s: s}, opts...))
	mux.Handle(navev1connect.NewGrantsHandler(grants{s: s}, opts...))
	mux.Handle(navev1connect.NewSystemHandler(system{s: s}, opts...))
}

// gate admits a call before its message is read.
func (s *Server) gate(ctx context.Context, spec connect.Spec, peer connect.Peer, header http.Header) (context.Context, error) {
	ctx, err := s.admit(ctx, spec.Procedure, header.Values("Authorization"), peer.Addr)
	return ctx, s.connectError(spec.Procedure, err)
}

// interceptor runs handlers under the server's rules.
type interceptor struct{ s *Server }

// WrapUnary implements connect.Interceptor.
func (i interceptor) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (res connect.AnyResponse, _ error) {
		method := req.Spec().Procedure
		err := i.s.unary(ctx, method, func(ctx context.Context) (err error) {
			res, err = next(ctx, req)
			return err
		})
		if err != nil {
			return nil, i.s.connectError(method, err)
		}
		return res, nil
	}
}

// WrapStreamingClient implements connect.Interceptor; a server has no clients.
func (i interceptor) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// WrapStreamingHandler implements connect.Interceptor.
func (i interceptor) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		method := conn.Spec().Procedure
		return i.s.connectError(method, i.s.stream(ctx, method, func(ctx context.Context) error { return next(ctx, conn) }))
	}
}

// strictJSON is the JSON codec of people and curl: unlike connect's own it refuses fields that do not exist, so that a
// misspelt one is not silently ignored.
type strictJSON struct{ name string }

// Name implements connect.Codec.
func (c strictJSON) Name() string { return c.name }

// Marshal implements connect.Codec.
func (c strictJSON) Marshal(m any) ([]byte, error) {
	msg, ok := m.(proto.Message)
	if !ok {
		return nil, api.Errorf(api.CodeInternal, "%T is not a message", m)
	}
	return protojson.Marshal(msg)
}

// Unmarshal implements connect.Codec.
func (c strictJSON) Unmarshal(b []byte, m any) error {
	msg, ok := m.(proto.Message)
	if !ok {
		return api.Errorf(api.CodeInternal, "%T is not a message", m)
	}
	if len(b) == 0 {
		return api.Errorf(api.CodeInvalid, "the body is empty: send a JSON object, {} at least")
	}
	return protojson.Unmarshal(b, msg)
}

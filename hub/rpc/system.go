package rpc

import (
	"context"

	"github.com/nave-dev/nave/api/navev1"
)

// system implements nave.v1.System.
type system struct {
	navev1.UnsafeSystemServer
	s *Server
}

func (h system) Status(context.Context, *navev1.StatusRequest) (*navev1.StatusResponse, error) {
	return nil, errNotBuilt
}

func (h system) Info(ctx context.Context, _ *navev1.InfoRequest) (*navev1.InfoResponse, error) {
	c := caller(ctx)
	return &navev1.InfoResponse{Version: h.s.cfg.Version, Subject: c.Subject, Role: string(c.Role), Organization: string(c.Org)}, nil
}

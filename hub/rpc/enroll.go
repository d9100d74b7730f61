package rpc

import (
	"context"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub"
)

// enrollment implements nave.v1.Enrollment.
type enrollment struct {
	navev1.UnsafeEnrollmentServer
	s *Server
}

func (h enrollment) Enroll(ctx context.Context, req *navev1.EnrollRequest) (*navev1.EnrollResponse, error) {
	e, err := h.s.cfg.Fleet.Enroll(ctx, hub.EnrollRequest{
		Secret: req.GetSecret(), Cluster: api.ClusterID(req.GetClusterId()), PublicKey: req.GetPublicKey(), Proof: req.GetProof(),
	})
	if err != nil {
		return nil, err
	}
	return &navev1.EnrollResponse{
		OverlayToken: e.OverlayToken, Organization: string(e.Org), ClusterName: e.ClusterName, HubIdentities: e.HubIdentities, Service: e.Service,
		OverlayAuthority: e.Authority, OverlayControllers: e.Controllers,
	}, nil
}

package rpc

import (
	"context"
	"maps"

	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub"
)

// system implements nave.v1.System.
type system struct {
	navev1.UnsafeSystemServer
	s *Server
}

func (h system) Status(ctx context.Context, req *navev1.StatusRequest) (*navev1.StatusResponse, error) {
	org, err := orgOf(ctx, req.GetOrganization())
	if err != nil {
		return nil, err
	}
	f := h.s.cfg.Facts(ctx, org)
	f.Version = h.s.cfg.Version
	parts := maps.Clone(h.s.cfg.Ready())
	if parts == nil {
		parts = map[string]error{}
	}
	maps.Copy(parts, f.Parts)
	f.Parts = parts
	r := hub.Assess(f)
	res := &navev1.StatusResponse{Version: r.Version, Clusters: countsToProto(r.Clusters), Sessions: countsToProto(r.Sessions),
		PendingSignals: uint32(r.PendingSignals), OpenApprovals: uint32(r.OpenApprovals), DeadLetters: uint32(r.DeadLetters)}
	for _, c := range r.Checks {
		res.Checks = append(res.Checks, &navev1.Check{Name: c.Name, State: string(c.State), Detail: c.Detail, Remedy: c.Remedy})
	}
	return res, nil
}

func countsToProto(in []hub.Count) (out []*navev1.Count) {
	for _, c := range in {
		out = append(out, &navev1.Count{Name: c.Name, Count: uint32(c.Count)})
	}
	return out
}

func (h system) Info(ctx context.Context, _ *navev1.InfoRequest) (*navev1.InfoResponse, error) {
	c := caller(ctx)
	return &navev1.InfoResponse{Version: h.s.cfg.Version, Subject: c.Subject, Role: string(c.Role), Organization: string(c.Org)}, nil
}

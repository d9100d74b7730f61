package rpc

import (
	"context"

	"github.com/nave-dev/nave/api/navev1"
)

func (h *sessions) Explain(ctx context.Context, req *navev1.ExplainRequest) (*navev1.ExplainResponse, error) {
	org, id, err := sessionOf(ctx, req.GetOrganization(), "session_id", req.GetSessionId())
	if err != nil {
		return nil, err
	}
	x, err := h.s.cfg.Sessions.Explain(ctx, org, id, req.GetPresent())
	if err != nil {
		return nil, err
	}
	names := h.s.names(ctx, org)
	res := &navev1.ExplainResponse{Session: sessionToProto(x.Session, names)}
	for _, d := range x.Decisions {
		res.Decisions = append(res.Decisions, navev1.DecisionToProto(d, names.of))
	}
	if x.Present != nil {
		res.Present = navev1.DecisionToProto(*x.Present, names.of)
	}
	if r := x.Resolved; r != nil {
		res.Resolved = navev1.ResolvedToProto(r.Revision, r.Environment, r.Override, r.Pinned)
	}
	return res, names.err
}

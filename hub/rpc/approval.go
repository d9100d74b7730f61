package rpc

import (
	"context"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub"
)

// Approvals is the part of the hub that keeps what agents ask people for. Errors are *api.Error.
type Approvals interface {
	// Approvals returns a page and the token of the next one; pageSize is 1 to hub.MaxPageSize, an empty token the end. The
	// open ones come first, the oldest first, then those that ended, the latest first.
	Approvals(ctx context.Context, org api.OrgID, f hub.ApprovalFilter, pageSize int, pageToken string) ([]hub.ApprovalView, string, error)
	// Approval returns one, or CodeNotFound.
	Approval(ctx context.Context, org api.OrgID, id api.ApprovalID) (hub.ApprovalView, error)
	// Answer answers one and returns when the answer is durable. The same answer again returns what was answered; another one
	// is CodeConflict, one that comes too late CodeFailed.
	Answer(ctx context.Context, r hub.AnswerRequest) (hub.ApprovalView, error)
}

// approvals implements nave.v1.Approvals.
type approvals struct {
	navev1.UnsafeApprovalsServer
	s *Server
}

func (h approvals) List(ctx context.Context, req *navev1.ListApprovalsRequest) (*navev1.ListApprovalsResponse, error) {
	org, err := orgOf(ctx, req.GetOrganization())
	if err != nil {
		return nil, err
	}
	f := hub.ApprovalFilter{Session: api.SessionID(req.GetSessionId()), Closed: req.GetClosed()}
	if f.Session != "" {
		if _, _, err := sessionOf(ctx, req.GetOrganization(), "session_id", req.GetSessionId()); err != nil {
			return nil, err
		}
	}
	if f.Agent, err = h.s.agentNamed(ctx, org, req.GetAgent()); err != nil {
		return nil, err
	}
	page, err := hub.NewPager(int(req.GetPageSize()), "") // the token is the implementation's
	if err != nil {
		return nil, err
	}
	views, next, err := h.s.cfg.Approvals.Approvals(ctx, org, f, page.Size, req.GetPageToken())
	if err != nil {
		return nil, err
	}
	names := h.s.names(ctx, org)
	res := &navev1.ListApprovalsResponse{NextPageToken: next}
	for _, v := range views {
		res.Approvals = append(res.Approvals, approvalToProto(v, names))
	}
	return res, names.err
}

func (h approvals) Get(ctx context.Context, req *navev1.GetApprovalRequest) (*navev1.Approval, error) {
	org, id, err := approvalOf(ctx, req.GetOrganization(), req.GetId())
	if err != nil {
		return nil, err
	}
	return h.one(ctx, org)(h.s.cfg.Approvals.Approval(ctx, org, id))
}

func (h approvals) Answer(ctx context.Context, req *navev1.AnswerRequest) (*navev1.Approval, error) {
	org, id, err := approvalOf(ctx, req.GetOrganization(), req.GetId())
	if err != nil {
		return nil, err
	}
	if err := checkText("reason", req.GetReason()); err != nil {
		return nil, err
	}
	return h.one(ctx, org)(h.s.cfg.Approvals.Answer(ctx, hub.AnswerRequest{
		Org: org, Approval: id, Approve: req.GetApprove(), Option: req.GetOption(), By: caller(ctx).Subject, Reason: req.GetReason(),
	}))
}

// one returns the message of one approval.
func (h approvals) one(ctx context.Context, org api.OrgID) func(hub.ApprovalView, error) (*navev1.Approval, error) {
	return func(v hub.ApprovalView, err error) (*navev1.Approval, error) {
		if err != nil {
			return nil, err
		}
		names := h.s.names(ctx, org)
		return approvalToProto(v, names), names.err
	}
}

func approvalToProto(v hub.ApprovalView, names *clusterNames) *navev1.Approval {
	m := navev1.ApprovalToProto(v.Approval)
	m.Agent, m.Key = v.AgentName, v.Key
	if v.Cluster != "" {
		m.Cluster = names.of(v.Cluster)
	}
	return m
}

// approvalOf checks organization and id of a request about an approval.
func approvalOf(ctx context.Context, org, id string) (api.OrgID, api.ApprovalID, error) {
	o, err := orgOf(ctx, org)
	if err != nil {
		return "", "", err
	}
	if _, err := api.ApprovalID(id).Session(); err != nil {
		return "", "", inField(err, "id", "approval")
	}
	return o, api.ApprovalID(id), nil
}

// agentNamed turns the name of an agent into its id; the empty name into the empty id.
func (s *Server) agentNamed(ctx context.Context, org api.OrgID, name string) (api.ObjectID, error) {
	if name == "" {
		return "", nil
	}
	d, err := s.cfg.Catalog.Definition(ctx, org, api.KindAgent, name, 0)
	if err != nil {
		return "", inField(err, "agent", "name")
	}
	return d.ID, nil
}

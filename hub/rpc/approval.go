package rpc

import (
	"context"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
)

// approvals implements nave.v1.Approvals.
type approvals struct {
	navev1.UnsafeApprovalsServer
	s *Server
}

// TODO: the hub keeps no approvals yet.
var errNotBuilt = api.Errorf(api.CodeUnsupported, "this hub cannot do that yet")

func (h approvals) List(context.Context, *navev1.ListApprovalsRequest) (*navev1.ListApprovalsResponse, error) {
	return nil, errNotBuilt
}

func (h approvals) Get(context.Context, *navev1.GetApprovalRequest) (*navev1.Approval, error) {
	return nil, errNotBuilt
}

func (h approvals) Answer(context.Context, *navev1.AnswerRequest) (*navev1.Approval, error) {
	return nil, errNotBuilt
}

// Cancel is served by both listeners.
func (h *sessions) Cancel(context.Context, *navev1.CancelRequest) (*navev1.CancelResponse, error) {
	return nil, errNotBuilt
}

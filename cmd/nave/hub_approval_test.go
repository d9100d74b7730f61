package main

import (
	"context"
	"strconv"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/api/navev1/navev1connect"
)

// asked is the service of approvals.
type asked struct {
	navev1connect.UnimplementedApprovalsHandler
	h *testHub
}

// List answers one a page.
func (s *asked) List(ctx context.Context, r *navev1.ListApprovalsRequest) (*navev1.ListApprovalsResponse, error) {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	from, _ := strconv.Atoi(r.GetPageToken())
	res := &navev1.ListApprovalsResponse{}
	for i, p := range s.h.asked {
		if i < from || r.GetAgent() != "" && r.GetAgent() != p.GetAgent() || r.GetSessionId() != "" && r.GetSessionId() != p.GetSessionId() || p.GetState() != "Open" && !r.GetClosed() {
			continue
		}
		res.Approvals, res.NextPageToken = append(res.Approvals, p), strconv.Itoa(i+1)
		break
	}
	return res, s.h.enter(ctx, "ListApprovals")
}

func (s *asked) find(id string) (*navev1.Approval, error) {
	for _, p := range s.h.asked {
		if p.GetId() == id {
			return p, nil
		}
	}
	return nil, refuse(api.CodeNotFound, "id", "there is no approval %q", id)
}

func (s *asked) Get(ctx context.Context, r *navev1.GetApprovalRequest) (*navev1.Approval, error) {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	if err := s.h.enter(ctx, "GetApproval"); err != nil {
		return nil, err
	}
	p, err := s.find(r.GetId())
	if err != nil {
		return nil, err
	}
	return proto.Clone(p).(*navev1.Approval), nil
}

// Answer keeps the first answer.
func (s *asked) Answer(ctx context.Context, r *navev1.AnswerRequest) (*navev1.Approval, error) {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	p, err := s.find(r.GetId())
	if err != nil {
		return nil, err
	}
	state := map[bool]string{true: "Approved", false: "Denied"}[r.GetApprove()]
	switch {
	case p.GetState() == "Open":
		p.State, p.By, p.Reason, p.AnsweredAt, p.Option = state, "ann", r.GetReason(), timestamppb.New(testNow), r.GetOption()
		for _, o := range p.GetOptions() {
			if p.Option == "" && api.OptionKind(o.GetKind()).Allows() == r.GetApprove() {
				p.Option = o.GetId()
			}
		}
	case p.GetState() != state:
		return nil, refuse(api.CodeConflict, "", "%s was %s by %s", p.GetId(), p.GetState(), p.GetBy())
	}
	return proto.Clone(p).(*navev1.Approval), s.h.enter(ctx, "Answer")
}

func (s *sessions) Cancel(ctx context.Context, r *navev1.CancelRequest) (*navev1.CancelResponse, error) {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	x := s.h.session(r.GetSessionId())
	if x == nil {
		return nil, refuse(api.CodeNotFound, "session_id", "there is no session %q", r.GetSessionId())
	}
	res := &navev1.CancelResponse{Session: x, UpTo: r.GetUpTo()}
	if res.UpTo == 0 {
		res.UpTo = x.GetLastSequence()
	}
	res.Changed = res.UpTo > x.GetCancelledUpTo()
	if res.Changed && !r.GetDryRun() {
		x.CancelledUpTo = res.UpTo
		s.h.notes = append(s.h.notes, "Cancel: "+r.GetNote())
	}
	return res, s.h.enter(ctx, "Cancel")
}

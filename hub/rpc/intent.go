package rpc

import (
	"context"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
)

var errNotBuilt = api.Errorf(api.CodeUnsupported, "not built yet")

func (h *sessions) Pause(ctx context.Context, req *navev1.IntentRequest) (*navev1.IntentResponse, error) {
	return nil, errNotBuilt
}

func (h *sessions) Resume(ctx context.Context, req *navev1.IntentRequest) (*navev1.IntentResponse, error) {
	return nil, errNotBuilt
}

func (h *sessions) Terminate(ctx context.Context, req *navev1.IntentRequest) (*navev1.IntentResponse, error) {
	return nil, errNotBuilt
}

func (h *sessions) ListDeadLetters(ctx context.Context, req *navev1.ListDeadLettersRequest) (*navev1.ListDeadLettersResponse, error) {
	return nil, errNotBuilt
}

func (h *sessions) GetDeadLetter(ctx context.Context, req *navev1.GetDeadLetterRequest) (*navev1.DeadLetter, error) {
	return nil, errNotBuilt
}

func (h *sessions) Replay(ctx context.Context, req *navev1.ReplayRequest) (*navev1.SignalResponse, error) {
	return nil, errNotBuilt
}

func (h *sessions) ListSideEvents(ctx context.Context, req *navev1.ListSideEventsRequest) (*navev1.ListSideEventsResponse, error) {
	return nil, errNotBuilt
}

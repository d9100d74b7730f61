package rpc

import (
	"context"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub"
)

// SignalMany is served by both listeners. A signal of bad form is its own result; the call fails only for what is about all.
func (h *sessions) SignalMany(ctx context.Context, req *navev1.SignalManyRequest) (*navev1.SignalManyResponse, error) {
	n := len(req.GetSignals())
	if n == 0 {
		return nil, api.Invalid("signals", "is empty: send 1 to %d", api.MaxSignalsPerCall)
	}
	if n > api.MaxSignalsPerCall {
		return nil, &api.Error{Code: api.CodeLimit, Field: "signals", Err: api.Errorf(api.CodeLimit, "%d of them: at most %d are allowed in one call", n, api.MaxSignalsPerCall)}
	}
	if err := h.s.quotas.signals(accountOf(caller(ctx)), n); err != nil {
		return nil, err
	}
	results := make([]*navev1.SignalResult, n)
	good, at := make([]hub.SignalRequest, 0, n), make([]int, 0, n)
	for i, sig := range req.GetSignals() {
		r, err := signalFromProto(ctx, sig)
		if err != nil {
			results[i] = h.s.refusedToProto(err)
			continue
		}
		good, at = append(good, r), append(at, i)
	}
	for i, r := range h.s.cfg.Sessions.SignalMany(ctx, good) {
		if r.Err != nil {
			results[at[i]] = h.s.refusedToProto(r.Err)
		} else {
			results[at[i]] = &navev1.SignalResult{Accepted: acceptedToProto(r.Accepted)}
		}
	}
	return &navev1.SignalManyResponse{Results: results}, nil
}

// refusedToProto tells of one signal what the error of a call of its own would have told.
func (s *Server) refusedToProto(err error) *navev1.SignalResult {
	a := s.answerTo(navev1.Sessions_SignalMany_FullMethodName, err)
	return &navev1.SignalResult{Error: &navev1.SignalError{Code: a.info.GetReason(), Field: a.info.GetMetadata()["field"], Message: a.message}}
}

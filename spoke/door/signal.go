package door

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// Bounds of signals that sessions send.
const (
	signalsAtOnce  = 16               // the others wait
	signalsWaiting = 256              // further ones are refused
	signalWithin   = 30 * time.Second // for the turn and the hub's answer
)

// Signal sends a signal as the session of an attached harness.
func (s *server) Signal(ctx context.Context, m *harnessv1.SignalRequest) (*harnessv1.SignalResponse, error) {
	id, err := s.attached(ctx, m.Workload)
	if err != nil {
		return nil, err
	}
	if s.d.c.Messenger == nil {
		return nil, status.Error(codes.Unavailable, "this spoke has no way to send signals")
	}
	signal := api.AgentSignal{Agent: m.Agent, Key: m.Key, Payload: m.Payload, IdempotencyKey: m.IdempotencyKey}
	if err := checkSignal(signal); err != nil {
		return nil, asStatus(err)
	}
	ctx, cancel := context.WithTimeout(ctx, signalWithin)
	defer cancel()
	if err := s.d.signals.enter(ctx); err != nil {
		return nil, asStatus(err)
	}
	defer s.d.signals.leave()
	got, err := s.d.c.Messenger.Signal(ctx, id.Session, id.Source(), signal)
	if err != nil {
		s.d.c.Log.Info("signal of a session not sent", "workload", id, "agent", signal.Agent, "err", err)
		return nil, asStatus(err)
	}
	return &harnessv1.SignalResponse{SignalId: string(got.Signal), SessionId: string(got.Session), Sequence: got.Sequence, Duplicate: got.Duplicate}, nil
}

// checkSignal checks what a spoke can check.
func checkSignal(s api.AgentSignal) error {
	if err := api.ValidateName("agent", s.Agent); err != nil {
		return err
	}
	if err := api.ValidateSessionKey("key", s.Key); err != nil {
		return err
	}
	if len(s.Payload) > api.MaxPayload {
		return api.Errorf(api.CodeLimit, "payload: %d bytes, at most %d are allowed", len(s.Payload), api.MaxPayload)
	}
	return api.ValidateIdempotencyKey("idempotency_key", s.IdempotencyKey)
}

package door

import (
	"context"
	"log/slog"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// Bounds of descriptions that harnesses ask for.
const (
	describesAtOnce  = 16
	describesWaiting = 4096             // further ones are refused
	describeWithin   = 30 * time.Second // for the turn and the answer
)

// Describe tells a harness what it is to run.
func (s *server) Describe(ctx context.Context, m *harnessv1.DescribeRequest) (*harnessv1.Workload, error) {
	id, err := s.caller(ctx, m.Workload)
	if err != nil {
		return nil, err
	}
	if s.d.c.Remote == nil {
		return nil, status.Error(codes.Unimplemented, "on this machine a harness is given its description in a file")
	}
	ctx, cancel := context.WithTimeout(ctx, describeWithin)
	defer cancel()
	if err := s.d.describes.enter(ctx); err != nil {
		return nil, asStatus(err)
	}
	defer s.d.describes.leave()
	w, err := s.d.c.Remote.Describe(ctx, id)
	if err != nil {
		s.d.sayer.say(slog.LevelWarn, "workload not described", "workload", id, "err", err)
		return nil, asStatus(err)
	}
	if w.GetId() != id.String() {
		s.d.c.Log.Error("the runtime described another workload", "workload", id, "described", w.GetId())
		return nil, status.Error(codes.Internal, "the runtime described another workload")
	}
	return w, nil
}

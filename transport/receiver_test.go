package transport

import (
	"context"
	"errors"
	"testing"

	"google.golang.org/grpc"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/transport/linkv1"
)

// endless is a stream that brings messages until it is closed.
type endless struct {
	grpc.BidiStreamingServer[linkv1.SpokeMessage, linkv1.HubMessage]
	closed chan struct{}
}

func (s *endless) Recv() (*linkv1.SpokeMessage, error) {
	select {
	case <-s.closed:
		return nil, errors.New("closed")
	default:
		return &linkv1.SpokeMessage{}, nil
	}
}

// holding is an attachment that holds each message until its context ends, and counts those that came after the link did.
type holding struct {
	Attachment
	over  chan struct{} // closed after stop
	began chan struct{} // bound 1
	late  int
}

func (h *holding) Receive(ctx context.Context, _ api.SpokeMessage) error {
	select {
	case <-h.over:
		h.late++
		return errors.New("the link is over")
	default:
	}
	select {
	case h.began <- struct{}{}:
	default:
	}
	<-ctx.Done()
	return nil // as if it had taken the message: the next one comes at once
}

// The reader of a link outlives its handler, until gRPC ends the stream. Its attachment is closed then and must not get anything.
func TestNothingIsReceivedAfterTheEnd(t *testing.T) {
	h := &holding{over: make(chan struct{}), began: make(chan struct{}, 1)}
	s, r := &endless{closed: make(chan struct{})}, &receiver{att: h}
	ctx, cancel := context.WithCancel(t.Context())
	g := run.NewGroup(t.Context())
	var ended error
	g.Go("receive", func(context.Context) error { ended = r.receive(ctx, s); return nil })
	<-h.began
	cancel()
	r.stop()
	close(h.over)
	if err := g.Wait(); err != nil { // it ends by itself, with the stream still open
		t.Fatal(err)
	}
	if !errors.Is(ended, errLinkOver) || h.late != 0 {
		t.Errorf("it ended with %v, and %d messages came after the link was over", ended, h.late)
	}
}

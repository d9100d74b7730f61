package door

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/spoke"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// The protocol range that this door speaks.
const (
	protocolMin = 1
	protocolMax = 1
)

// server serves harnesses.
type server struct {
	harnessv1.UnimplementedHarnessServer
	d *Door
	h spoke.DoorHandler
	g *run.Group
}

type attachment = grpc.BidiStreamingServer[harnessv1.FromHarness, harnessv1.ToHarness]

// Attach serves one harness until it goes, is cut off, or the door closes.
func (s *server) Attach(stream attachment) error {
	hello, err := s.hello(stream)
	if err != nil {
		return err
	}
	id, err := s.verified(stream.Context(), hello)
	if err != nil {
		s.d.sayer.say(slog.LevelWarn, "harness refused", "workload", fmt.Sprintf("%.80s", hello.Workload), "err", err)
		return err
	}
	r, ok := s.d.enter(id)
	if !ok {
		return status.Errorf(codes.AlreadyExists, "a harness is attached for workload %s", id)
	}
	upTo, err := s.h.Attached(stream.Context(), id)
	if err != nil {
		s.d.leave(id)
		return status.Errorf(codes.FailedPrecondition, "attach %s: %v", id, err)
	}
	s.d.c.Log.Info("harness attached", "workload", id, "up_to", upTo, "version", hello.Version)
	if hello.First > upTo+1 {
		s.h.Detached(id)
		s.d.leave(id)
		return status.Errorf(codes.DataLoss, "events %d to %d of %s are neither here nor at the harness", upTo+1, hello.First-1, id)
	}
	// From here on the receiving task gives the room back. It ends when this function returns, because the stream does.
	s.g.Go("harness "+id.String(), func(context.Context) error {
		defer s.d.leave(id)
		defer s.h.Detached(id)
		s.d.report(r, 0, s.receive(stream, id, r, upTo))
		return nil
	})
	err = s.send(stream, r, upTo)
	s.d.c.Log.Info("harness detached", "workload", id, "err", err)
	return err
}

// hello awaits the first message.
func (s *server) hello(stream attachment) (*harnessv1.Hello, error) {
	ctx, cancel := context.WithTimeout(stream.Context(), 10*time.Second)
	defer cancel()
	m, err := run.Bounded(ctx, stream.Recv, nil) // a late receive ends with the stream
	if err != nil {
		return nil, err
	}
	if m.GetHello() == nil {
		return nil, status.Error(codes.InvalidArgument, "the first message is no hello")
	}
	return m.GetHello(), nil
}

// verified checks the protocol and that the caller is the harness of the workload that it names.
func (s *server) verified(ctx context.Context, hello *harnessv1.Hello) (spoke.WorkloadID, error) {
	if hello.ProtocolMin > protocolMax || hello.ProtocolMax < protocolMin {
		return spoke.WorkloadID{}, status.Errorf(codes.FailedPrecondition, "protocol %d to %d: this spoke speaks %d to %d", hello.ProtocolMin, hello.ProtocolMax, protocolMin, protocolMax)
	}
	return s.caller(ctx, hello.Workload)
}

// caller confirms that who calls is the harness of the workload that it names.
func (s *server) caller(ctx context.Context, workload string) (spoke.WorkloadID, error) {
	id, err := spoke.ParseWorkloadID(workload)
	if err != nil {
		return id, status.Errorf(codes.InvalidArgument, "workload: %.200s", err.Error()) // it repeats what may be long
	}
	if known, remote := ctx.Value(callerKey{}).(spoke.WorkloadID); remote { // its token was verified
		if id != known {
			return id, status.Errorf(codes.PermissionDenied, "permission denied: this is the harness of workload %s, and it speaks for no other", known)
		}
		return id, nil
	}
	pid, ok := pidOf(ctx)
	if !ok {
		return id, status.Error(codes.Unauthenticated, "the peer's process is not known")
	}
	if err := s.d.c.Verify(id, pid); err != nil {
		return id, status.Errorf(codes.PermissionDenied, "process %d does not speak for workload %s: %v", pid, id, err)
	}
	return id, nil
}

// attached confirms that the caller is the harness of the workload that it names, and that this one is attached.
func (s *server) attached(ctx context.Context, workload string) (spoke.WorkloadID, error) {
	id, err := s.caller(ctx, workload)
	if err != nil {
		return id, err
	}
	if !s.d.isTaken(id) {
		return id, status.Errorf(codes.Unavailable, "the harness of workload %s is not attached", id)
	}
	return id, nil
}

// receive takes events until the stream ends. It returns nil when the harness closed it in order.
func (s *server) receive(stream attachment, id spoke.WorkloadID, r *room, durable uint64) error {
	gate := newGate()
	for {
		m, err := stream.Recv()
		if err != nil {
			if errors.Is(err, io.EOF) {
				return errGone
			}
			return err
		}
		switch m := m.Message.(type) {
		case *harnessv1.FromHarness_Turn:
			s.d.c.Log.Debug("turn state", "workload", id, "signals", m.Turn.Signals)
		case *harnessv1.FromHarness_Lease:
			s.d.ask(r, m.Lease.Number)
		case *harnessv1.FromHarness_Deltas:
			if pass, dropped := gate.pass(id, m.Deltas.Deltas, time.Now()); len(pass) > 0 || dropped > 0 {
				s.h.Deltas(id, pass, dropped)
			}
		case *harnessv1.FromHarness_Events:
			events, err := decode(id, m.Events.Events, durable)
			if err != nil {
				return status.Errorf(codes.InvalidArgument, "events of %s: %v", id, err)
			}
			if len(events) == 0 {
				continue
			}
			if err := s.h.Events(stream.Context(), id, events); err != nil {
				return status.Errorf(codes.Unavailable, "take events of %s: %v", id, err)
			}
			durable = events[len(events)-1].SourceNumber
			s.d.report(r, durable, nil)
		}
	}
}

var errGone = status.Error(codes.Canceled, "the harness has gone")

// An acknowledgement follows another one after a while, or when it is of many events: what waits for it is room in the
// harness, which has much.
const (
	ackPace   = 10 * time.Millisecond
	ackEvents = 512
)

// send tells the harness what the room holds, whenever it changes, until the harness is to be cut off.
func (s *server) send(stream attachment, r *room, upTo uint64) error {
	welcome := &harnessv1.Welcome{Protocol: protocolMax, UpTo: upTo}
	if err := stream.Send(&harnessv1.ToHarness{Message: &harnessv1.ToHarness_Welcome{Welcome: welcome}}); err != nil {
		return err
	}
	var told *spoke.Orders
	acked, answered := upTo, uint64(0)
	var ackedAt time.Time
	later := time.NewTimer(time.Hour)
	defer later.Stop()
	for {
		now := s.d.look(r)
		if now.request != answered && now.leased { // first: the right to act does not end because events are not taken
			answered = now.request
			if err := stream.Send(&harnessv1.ToHarness{Message: &harnessv1.ToHarness_Lease{Lease: s.d.grant(r, answered)}}); err != nil {
				return err
			}
		}
		switch {
		case now.failed != nil:
			return now.failed
		case now.cut:
			return status.Error(codes.Aborted, "the spoke has forgotten this workload")
		}
		if wait := time.Until(ackedAt.Add(ackPace)); now.durable > acked && now.durable < acked+ackEvents && wait > 0 {
			later.Reset(wait)
			s.d.hush(r, acked+ackEvents)
		} else if now.durable > acked {
			acked, ackedAt = now.durable, time.Now()
			s.d.hush(r, acked+1)
			if err := stream.Send(&harnessv1.ToHarness{Message: &harnessv1.ToHarness_Ack{Ack: &harnessv1.Ack{UpTo: acked}}}); err != nil {
				return err
			}
		}
		if now.orders != told {
			told = now.orders
			for _, part := range encode(*told) {
				if err := stream.Send(&harnessv1.ToHarness{Message: &harnessv1.ToHarness_Orders{Orders: part}}); err != nil {
					return err
				}
			}
		}
		select {
		case <-r.news:
		case <-later.C:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

// decode renders events as nouns, without those that are durable already.
func decode(id spoke.WorkloadID, in []*harnessv1.Event, durable uint64) ([]api.Event, error) {
	out := make([]api.Event, 0, len(in))
	for _, e := range in {
		if e.Number <= durable {
			continue
		}
		if want := durable + uint64(len(out)) + 1; e.Number != want {
			return nil, fmt.Errorf("number %d comes where %d is due", e.Number, want)
		}
		if len(e.Text) > api.MaxEventBytes {
			return nil, fmt.Errorf("event %d has %d bytes: at most %d are allowed", e.Number, len(e.Text), api.MaxEventBytes)
		}
		if typ, outcome := api.EventType(e.Type), api.Outcome(e.Outcome); !typ.Valid() || outcome != "" && !outcome.Valid() {
			return nil, fmt.Errorf("event %d: %.80q with outcome %.80q is not what an event can be", e.Number, typ, outcome)
		}
		out = append(out, api.Event{
			Session: id.Session, Source: id.Source(), SourceNumber: e.Number, Type: api.EventType(e.Type), Time: e.Time.AsTime(),
			Text: e.Text, Signals: e.Signals, Outcome: api.Outcome(e.Outcome), Attributes: e.Attributes,
		})
	}
	return out, nil
}

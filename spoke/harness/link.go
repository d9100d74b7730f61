package harness

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc"

	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// The protocol range that this harness speaks.
const (
	protocolMin = 1
	protocolMax = 1
)

// Pauses between attempts to reach the spoke, jittered, and how long its welcome may take.
const (
	pauseMin     = 20 * time.Millisecond
	pauseMax     = 2 * time.Second
	welcomeLimit = 30 * time.Second
)

// link keeps the harness attached to its spoke until ctx ends. It dials for ever: a spoke that is away comes back.
func (h *Harness) link(ctx context.Context) error {
	rng := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	pause, said := pauseMin, ""
	for {
		welcome, err := h.attach(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if welcome {
			pause, said = pauseMin, ""
		}
		if text := fmt.Sprint(err); text != said { // a spoke may be away for days: say it once
			h.c.Log.Info("not attached", "workload", h.w.Id, "err", err)
			said = text
		}
		t := time.NewTimer(pause/2 + time.Duration(rng.Int64N(int64(pause))))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
		pause = min(2*pause, pauseMax)
	}
}

// attach serves one connection. It reports whether the spoke welcomed the harness, and why the connection ended.
func (h *Harness) attach(ctx context.Context) (welcome bool, err error) {
	cc, err := h.dial()
	if err != nil {
		return false, err
	}
	defer cc.Close()
	defer h.lease.detached()
	g := run.NewGroup(ctx)
	defer g.Wait()
	defer g.Stop()
	stream, err := harnessv1.NewHarnessClient(cc).Attach(g.Context())
	if err != nil {
		return false, fmt.Errorf("attach: %w", err)
	}
	late := time.AfterFunc(welcomeLimit, g.Stop)
	defer late.Stop()
	hello := &harnessv1.Hello{Workload: h.w.Id, ProtocolMin: protocolMin, ProtocolMax: protocolMax, Version: h.c.Version, First: h.out.first()}
	if err := stream.Send(&harnessv1.FromHarness{Message: &harnessv1.FromHarness_Hello{Hello: hello}}); err != nil {
		_, err = stream.Recv() // says why
		return false, fmt.Errorf("say hello: %w", err)
	}
	if err := h.askLease(stream); err != nil { // with the hello, so that the answer comes with the welcome
		_, err = stream.Recv()
		return false, fmt.Errorf("ask for a lease: %w", err)
	}
	m, err := stream.Recv()
	if err != nil {
		return false, fmt.Errorf("await the welcome: %w", err)
	}
	late.Stop()
	w := m.GetWelcome()
	if w == nil || w.Protocol < protocolMin || w.Protocol > protocolMax {
		return false, errors.New("the first message of the spoke is no welcome in a protocol of this harness")
	}
	if !h.out.ack(w.UpTo) {
		return false, fmt.Errorf("the spoke has events up to %d, more than were made", w.UpTo)
	}
	h.welcome.Do(func() { close(h.attached) })
	h.c.Log.Info("attached", "workload", h.w.Id, "up_to", w.UpTo)
	g.Go("send", func(ctx context.Context) error { return h.send(ctx, stream, w.UpTo) })
	g.Go("receive", func(ctx context.Context) error { return h.receive(stream) })
	return true, g.Wait()
}

type attachment = grpc.BidiStreamingClient[harnessv1.FromHarness, harnessv1.ToHarness]

// askLease asks how long the agent may act.
func (h *Harness) askLease(stream attachment) error {
	request := &harnessv1.LeaseRequest{Number: h.lease.ask()}
	return stream.Send(&harnessv1.FromHarness{Message: &harnessv1.FromHarness_Lease{Lease: request}})
}

// eventPace is how soon a message of events follows another one, unless it is full: an agent that prints line after line would
// cost a message for each. An event after a pause waits for nothing.
const eventPace = 2 * time.Millisecond

// turnPace is for how long after its beginning the events of a turn wait for each other. A turn that is over by then, as many
// that print a line are, costs one message, one append of the journal, one transaction of the archive and one of etcd, and not
// two or three of each. What an agent says later waits for nothing.
const turnPace = 6 * time.Millisecond

// send asks for leases and sends the events after a number, until ctx ends. The lease comes first: it is asked for before a
// spoke that takes no events ends the connection.
func (h *Harness) send(ctx context.Context, stream attachment, sent uint64) error {
	ask, due := time.NewTimer(h.lease.pause()), false
	defer ask.Stop()
	live, flush := time.NewTimer(time.Hour), false // deltas are gathered for a while
	defer live.Stop()
	h.deltas.take()    // what was written while nobody was there
	var last time.Time // when events were sent
	pace := time.NewTimer(time.Hour)
	defer pace.Stop()
	for {
		select {
		case <-ask.C:
			due = true
		default:
		}
		if due {
			due = false
			if err := h.askLease(stream); err != nil {
				return err
			}
			ask.Reset(h.lease.pause())
		}
		batch, turn, changed := h.out.after(sent)
		young := time.Until(turn.Add(turnPace))
		if wait := max(time.Until(last.Add(eventPace)), young); len(batch) > 0 && len(batch) < batchEvents && wait > 0 {
			pace.Reset(wait)
			if young <= 0 {
				changed = nil // nothing to look at before
			}
		} else if len(batch) > 0 {
			last = time.Now()
			if err := stream.Send(&harnessv1.FromHarness{Message: &harnessv1.FromHarness_Events{Events: &harnessv1.Events{Events: batch}}}); err != nil {
				return err
			}
			sent = batch[len(batch)-1].Number
			continue
		}
		if flush && len(batch) == 0 { // after all events
			flush = false
			if written := h.deltas.take(); len(written) > 0 {
				if err := stream.Send(&harnessv1.FromHarness{Message: &harnessv1.FromHarness_Deltas{Deltas: &harnessv1.Deltas{Deltas: written}}}); err != nil {
					return err
				}
			}
		}
		select {
		case <-changed:
		case <-pace.C:
		case <-h.deltas.news:
			live.Reset(deltaPause)
		case <-live.C:
			flush = true
		case <-ask.C:
			due = true
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// receive takes what the spoke says until the stream ends.
func (h *Harness) receive(stream attachment) error {
	var orders *harnessv1.Orders // of which parts are still missing
	for {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		switch m := m.Message.(type) {
		case *harnessv1.ToHarness_Ack:
			if !h.out.ack(m.Ack.UpTo) {
				return fmt.Errorf("the spoke acknowledged event %d, which was not made", m.Ack.UpTo)
			}
		case *harnessv1.ToHarness_Lease:
			h.lease.answer(m.Lease.Number, m.Lease.Duration.AsDuration(), m.Lease.Unbounded)
		case *harnessv1.ToHarness_Orders:
			if orders != nil {
				m.Orders.Signals = append(orders.Signals, m.Orders.Signals...)
			}
			if orders = m.Orders; !orders.More {
				h.in.order(orders)
				orders = nil
			}
		}
	}
}

package spoke

import (
	"context"
	"time"

	"github.com/nave-dev/nave/internal/run"
)

// Call is one operation of the runtime that the loop wants performed: a start, a stop, or a list with the capacity.
type Call struct {
	Start *WorkloadSpec
	Stop  WorkloadID
	Grace time.Duration // of a stop
	List  uint64        // number of the list; 0: another operation
}

func (c Call) workload() WorkloadID {
	if c.Start != nil {
		return c.Start.ID
	}
	return c.Stop
}

// shell drives a loop with goroutines: it gives the loop its inputs and performs its calls.
type shell struct {
	l       *loop
	in      <-chan Input
	calm    <-chan Input // those that may wait a moment
	ops     chan Call    // bound workers: never more are handed out than workers are free
	observe chan uint64  // bound 1: number of the list that is to be made
	last    time.Time    // of the last round of calm inputs alone
	pace    *time.Timer  // of settle
}

// run drives the loop until ctx ends or the journal fails.
func (h *shell) run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		timer.Reset(max(0, h.l.next()-h.l.cfg.Clock()))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case in := <-h.in:
			h.l.take(in)
		case in := <-h.calm:
			h.l.take(in)
			h.settle(ctx)
		case <-timer.C:
		}
		h.gather()
		if err := h.l.round(); err != nil {
			return err
		}
		for _, c := range h.l.performed() {
			if c.List > 0 {
				h.observe <- c.List
			} else {
				h.ops <- c
			}
		}
	}
	return ctx.Err()
}

// pace is how soon a round of calm inputs alone follows another one.
const pace = 2 * time.Millisecond

// settle waits until the last round of calm inputs is a while ago, or until an input comes that is not calm. Of many harnesses
// that report events one by one, each event would cost a sync, a message to the hub and an answer. An input after a pause
// waits for nothing.
func (h *shell) settle(ctx context.Context) {
	if wait := time.Until(h.last.Add(pace)); wait > 0 {
		h.pace.Reset(wait)
		select {
		case in := <-h.in:
			h.l.take(in)
		case <-h.pace.C:
		case <-ctx.Done():
		}
	}
	h.last = time.Now()
}

// gather takes what waits besides, so that one sync of the journal serves all of it.
func (h *shell) gather() {
	for range gatherBound {
		select {
		case in := <-h.in:
			h.l.take(in)
		case in := <-h.calm:
			h.l.take(in)
		default:
			return
		}
	}
}

// performed gives the calls of the last round to whom drives the loop.
func (l *loop) performed() []Call {
	calls := l.calls
	l.calls = nil
	return calls
}

// work performs operations, one at a time per worker, so that a slow runtime does not hold up the loop.
func (s *Spoke) work(ctx context.Context, ops <-chan Call) error {
	for {
		var c Call
		select {
		case <-ctx.Done():
			return ctx.Err()
		case c = <-ops:
		}
		call, cancel := context.WithTimeout(ctx, callTimeout)
		var err error
		if c.Start != nil {
			err = s.cfg.Runtime.Start(call, *c.Start)
		} else {
			err = s.cfg.Runtime.Stop(call, c.Stop, c.Grace)
		}
		cancel()
		if err := s.put(ctx, Done(c, err)); err != nil {
			return err
		}
	}
}

// observe makes lists.
func (s *Spoke) observe(ctx context.Context, lists <-chan uint64) error {
	for {
		var n uint64
		select {
		case <-ctx.Done():
			return ctx.Err()
		case n = <-lists:
		}
		call, cancel := context.WithTimeout(ctx, callTimeout)
		list, listErr := s.cfg.Runtime.List(call)
		capacity, capErr := s.cfg.Runtime.Capacity(call)
		cancel()
		if err := s.put(ctx, Listed(Call{List: n}, list, listErr, capacity, capErr)); err != nil {
			return err
		}
	}
}

// run starts what belongs to a spoke that runs.
func (s *Spoke) run(g *run.Group, l *loop) {
	h := &shell{l: l, in: s.in, calm: s.calm, ops: make(chan Call, workers), observe: make(chan uint64, 1), pace: time.NewTimer(time.Hour)}
	for i := range workers {
		g.Go("runtime-"+string(rune('0'+i)), func(ctx context.Context) error { return s.work(ctx, h.ops) })
	}
	g.Go("observe", func(ctx context.Context) error { return s.observe(ctx, h.observe) })
	g.Go("loop", h.run)
	g.Go("door", func(ctx context.Context) error { return s.cfg.Door.Run(ctx, &doorHandler{s, g.Context().Done()}) })
	g.Go("link", func(ctx context.Context) error { return s.cfg.Link.Run(ctx, (*linkHandler)(s)) })
}

// put hands an input to the loop.
func (s *Spoke) put(ctx context.Context, in Input) error {
	to := s.in
	if in.calm {
		to = s.calm
	}
	select {
	case to <- in:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// ask hands the loop an input that it answers, and waits until its changes are durable.
func ask[T any](ctx context.Context, s *Spoke, input func(answer func(T, error)) Input) (T, error) {
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1) // one result, so that the loop never blocks
	var zero T
	if err := s.put(ctx, input(func(v T, err error) { done <- result{v, err} })); err != nil {
		return zero, err
	}
	select {
	case r := <-done:
		return r.v, r.err
	case <-ctx.Done():
		return zero, context.Cause(ctx)
	}
}

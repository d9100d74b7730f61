package spoke

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
)

// Defaults and bounds of [Config] and of the loop.
const (
	DefaultObserveEvery = time.Second
	DefaultMaxKept      = 256 << 20

	inputBound   = 1024        // inputs that wait for the loop; whoever has more waits
	gatherBound  = 1024        // inputs of one journal append
	workers      = 4           // operations of the runtime at a time
	callTimeout  = time.Minute // for one call of the runtime
	sendWindow   = 1024        // events of one source that are sent and not acknowledged
	messageBytes = 512 << 10   // events of one message on the link
	messageHeld  = 1000        // sessions of one message on the link
	sendAgain    = 50 * time.Millisecond
	observeSoon  = 100 * time.Millisecond // until the next list while something is awaited of the runtime
	compactAbove = 4 << 20
)

// Config is what a spoke is made of.
type Config struct {
	Runtime     Runtime
	Journal     Journal // opened, not replayed; the caller closes it after Run
	Link        Link
	Door        Door
	Log         *slog.Logger
	Boot        string                // random per start of the program
	Fingerprint string                // of the cluster itself: UID of kube-system, or of the data directory
	Version     string                // of the program
	Metrics     prometheus.Registerer // where the metrics are registered; nil: nowhere

	ObserveEvery time.Duration // how often the runtime is asked what exists; default 1 s, 10 ms to 1 min
	MaxKept      int64         // bytes of unsettled events and signals; beyond it events are pushed back and sessions refused; default 256 MiB
}

func (c *Config) validate() error {
	for field, missing := range map[string]bool{"spoke.runtime": c.Runtime == nil, "spoke.journal": c.Journal == nil, "spoke.link": c.Link == nil,
		"spoke.door": c.Door == nil, "spoke.log": c.Log == nil, "spoke.boot": c.Boot == "", "spoke.fingerprint": c.Fingerprint == ""} {
		if missing {
			return api.Invalid(field, "is missing: give one")
		}
	}
	if c.ObserveEvery == 0 {
		c.ObserveEvery = DefaultObserveEvery
	}
	if c.ObserveEvery < 10*time.Millisecond || c.ObserveEvery > time.Minute {
		return api.Invalid("spoke.observe_every", "%v: want 10ms to 1m", c.ObserveEvery)
	}
	if c.MaxKept == 0 {
		c.MaxKept = DefaultMaxKept
	}
	if c.MaxKept < 1<<10 {
		return api.Invalid("spoke.max_kept", "%d: want at least 1 KiB", c.MaxKept)
	}
	return nil
}

// Spoke is one spoke. Make it with [New] and run it once.
type Spoke struct {
	cfg     Config
	metrics *metrics
	in      chan input // bound inputBound; when it is full the callers wait: harnesses, the link, the runtime's workers

	replayed  atomic.Bool
	connected atomic.Bool
}

// New checks the configuration. It starts nothing.
func New(cfg Config) (*Spoke, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	m, err := newMetrics(cfg.Metrics)
	if err != nil {
		return nil, err
	}
	return &Spoke{cfg: cfg, metrics: m, in: make(chan input, inputBound)}, nil
}

// Run replays the journal and serves until ctx ends or a part fails. Workloads outlive it.
func (s *Spoke) Run(ctx context.Context) error {
	l := newLoop(s)
	if err := l.replay(); err != nil {
		return err
	}
	s.replayed.Store(true)
	s.cfg.Log.Info("journal replayed", "journal", s.cfg.Journal.ID(), "sessions", len(l.st.sessions), "bytes", s.cfg.Journal.Size())
	g := run.NewGroup(ctx)
	for i := range workers {
		g.Go(fmt.Sprintf("runtime-%d", i), l.work)
	}
	g.Go("observe", l.observe)
	g.Go("loop", l.run)
	g.Go("door", func(ctx context.Context) error { return s.cfg.Door.Run(ctx, &doorHandler{s, g.Context().Done()}) })
	g.Go("link", func(ctx context.Context) error { return s.cfg.Link.Run(ctx, (*linkHandler)(s)) })
	return g.Wait()
}

// Ready reports what keeps the spoke from its work, or nil.
func (s *Spoke) Ready() error {
	switch {
	case !s.replayed.Load():
		return api.Errorf(api.CodeUnavailable, "the journal is not replayed yet")
	case !s.connected.Load():
		return api.Errorf(api.CodeUnavailable, "no connection to a hub")
	}
	return nil
}

// input is something that the loop is to take. apply runs in the loop; what it returns is called after the changes are
// durable, with the journal's error when they are not.
type input struct {
	apply func(l *loop) (answer func(error))
}

// call hands f to the loop and waits until its changes are durable.
func call[T any](ctx context.Context, s *Spoke, f func(l *loop) (T, error)) (T, error) {
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1) // one result, so that the loop never blocks
	in := input{func(l *loop) func(error) {
		v, err := f(l)
		return func(commit error) {
			if err == nil {
				err = commit
			}
			done <- result{v, err}
		}
	}}
	var zero T
	select {
	case s.in <- in:
	case <-ctx.Done():
		return zero, context.Cause(ctx)
	}
	select {
	case r := <-done:
		return r.v, r.err
	case <-ctx.Done():
		return zero, context.Cause(ctx)
	}
}

// linkHandler is the spoke as its link sees it.
type linkHandler Spoke

func (h *linkHandler) Hello(ctx context.Context) (api.Hello, error) {
	return call(ctx, (*Spoke)(h), func(l *loop) (api.Hello, error) { return l.hello(), nil })
}

func (h *linkHandler) Connected(ctx context.Context, w api.Welcome) error {
	_, err := call(ctx, (*Spoke)(h), func(l *loop) (struct{}, error) { l.welcome(w); return struct{}{}, nil })
	return err
}

func (h *linkHandler) Receive(ctx context.Context, m api.HubMessage) error {
	_, err := call(ctx, (*Spoke)(h), func(l *loop) (struct{}, error) { return struct{}{}, l.receive(m) })
	return err
}

func (h *linkHandler) Renewed(ctx context.Context, sent time.Duration) error { return nil }

func (h *linkHandler) Disconnected(ctx context.Context, err error) {
	call(ctx, (*Spoke)(h), func(l *loop) (struct{}, error) { l.disconnected(err); return struct{}{}, nil })
}

// doorHandler is the spoke as its door sees it.
type doorHandler struct {
	s    *Spoke
	done <-chan struct{} // closed when the loop reads no more
}

func (h *doorHandler) Attached(ctx context.Context, id WorkloadID) (uint64, error) {
	return call(ctx, h.s, func(l *loop) (uint64, error) { return l.attached(id) })
}

func (h *doorHandler) Events(ctx context.Context, id WorkloadID, events []api.Event) error {
	_, err := call(ctx, h.s, func(l *loop) (struct{}, error) { return struct{}{}, l.events(id, events) })
	return err
}

func (h *doorHandler) Detached(id WorkloadID) {
	select {
	case h.s.in <- input{func(l *loop) func(error) { l.detached(id); return func(error) {} }}:
	case <-h.done:
	}
}

package spoke

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/boottime"
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
	Clock       func() time.Duration  // by which the right to act is counted; default [boottime.Now]
	Wall        func() time.Time      // of events that the spoke makes; default [time.Now]

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
	if c.Clock == nil {
		c.Clock = boottime.Now
	}
	if c.Wall == nil {
		c.Wall = time.Now
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
	status  *status
	in      chan Input // bound inputBound; when it is full the callers wait: harnesses, the link, the runtime's workers
	calm    chan Input // the same, of those that may wait a moment

	late atomic.Pointer[error] // of acknowledgements that were taken without waiting for them; nil: there is none
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
	return &Spoke{cfg: cfg, metrics: m, status: &status{}, in: make(chan Input, inputBound), calm: make(chan Input, inputBound)}, nil
}

// Run replays the journal and serves until ctx ends or a part fails. Workloads outlive it.
func (s *Spoke) Run(ctx context.Context) error {
	l := newLoop(s.cfg, s.metrics, s.status)
	if err := l.replay(); err != nil {
		return err
	}
	g := run.NewGroup(ctx)
	s.run(g, l)
	return g.Wait()
}

// Ready reports what keeps the spoke from its work, or nil.
func (s *Spoke) Ready() error { return s.status.ready() }

// status is what the loop tells the outside about itself.
type status struct {
	replayed, connected atomic.Bool
	refused             atomic.Pointer[string] // why the hub refuses this spoke; nil: it does not
}

func (s *status) ready() error {
	switch why := s.refused.Load(); {
	case !s.replayed.Load():
		return api.Errorf(api.CodeUnavailable, "the journal is not replayed yet")
	case why != nil:
		return api.Errorf(api.CodeDenied, "%s", *why)
	case !s.connected.Load():
		return api.Errorf(api.CodeUnavailable, "no connection to a hub")
	}
	return nil
}

// linkHandler is the spoke as its link sees it.
type linkHandler Spoke

func (h *linkHandler) Hello(ctx context.Context) (api.Hello, error) {
	return ask(ctx, (*Spoke)(h), Hello)
}

func (h *linkHandler) Connected(ctx context.Context, w api.Welcome) error {
	h.late.Store(nil)
	return h.tell(ctx, func(answer func(error)) Input { return Connected(w, answer) })
}

// Receive does not wait for acknowledgements, which gather a moment: a signal behind them would wait too. An error of theirs
// comes with the next message.
func (h *linkHandler) Receive(ctx context.Context, m api.HubMessage) error {
	if err := h.late.Swap(nil); err != nil {
		return *err
	}
	if len(m.Updates) == 0 {
		return (*Spoke)(h).put(ctx, Received(m, func(err error) {
			if err != nil {
				h.late.Store(&err)
			}
		}))
	}
	return h.tell(ctx, func(answer func(error)) Input { return Received(m, answer) })
}

func (h *linkHandler) Renewed(ctx context.Context, sent time.Duration) error {
	return (*Spoke)(h).put(ctx, Renewed(sent, nil))
}

func (h *linkHandler) Disconnected(ctx context.Context, err error) {
	_ = (*Spoke)(h).put(ctx, Disconnected(err)) // without a loop nobody needs to know
}

func (h *linkHandler) tell(ctx context.Context, input func(answer func(error)) Input) error {
	_, err := ask(ctx, (*Spoke)(h), func(answer func(none, error)) Input { return input(func(err error) { answer(none{}, err) }) })
	return err
}

// doorHandler is the spoke as its door sees it.
type doorHandler struct {
	s    *Spoke
	done <-chan struct{} // closed when the loop reads no more
}

func (h *doorHandler) Attached(ctx context.Context, id WorkloadID) (uint64, error) {
	return ask(ctx, h.s, func(answer func(uint64, error)) Input { return Attached(id, answer) })
}

func (h *doorHandler) Events(ctx context.Context, id WorkloadID, events []api.Event) error {
	return (*linkHandler)(h.s).tell(ctx, func(answer func(error)) Input { return Events(id, events, answer) })
}

// Deltas go to the link at once: no state depends on them, and what is journaled does not wait behind them.
func (h *doorHandler) Deltas(_ WorkloadID, deltas []api.Delta, dropped int) {
	if len(deltas) > 0 && h.s.cfg.Link.Send(api.SpokeMessage{Deltas: deltas}) != nil {
		dropped += len(deltas)
		deltas = nil
	}
	h.s.metrics.deltas.Add(float64(len(deltas)))
	h.s.metrics.deltasDropped.Add(float64(dropped))
}

func (h *doorHandler) Detached(id WorkloadID) {
	select {
	case h.s.in <- Detached(id):
	case <-h.done:
	}
}

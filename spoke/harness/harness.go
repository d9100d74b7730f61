package harness

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/boottime"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// Config is what a harness needs.
type Config struct {
	Workload  *harnessv1.Workload // what to run, as the runtime wrote it
	Version   string              // of the program; told to the spoke
	Log       *slog.Logger        // required
	MaxEvents int                 // events held for the spoke before the agent's output is no longer read; default 4096
	MaxBytes  int                 // the same in bytes; default 8 MiB
	Patience  time.Duration       // between SIGTERM and SIGKILL for an agent that is to end; default 2 s
	Flush     time.Duration       // how long an ending harness waits for the spoke to take its last events; default 30 s

	// Clock counts leases. Default the boot-time clock, which goes on while the machine sleeps.
	Clock func() time.Duration
}

func (c *Config) validate() error {
	w := c.Workload
	switch {
	case w == nil || c.Log == nil:
		return api.Invalid("Workload", "and Log are required")
	case w.Id == "" || w.Session == "" || w.Socket == "":
		return api.Invalid("Workload", "has no id, session or socket: use the file that the runtime wrote")
	case w.Protocol != string(api.ProtocolCommand):
		return &api.Error{Code: api.CodeUnsupported, Field: "spec.harness.protocol", Err: fmt.Errorf("%q: this harness speaks %q", w.Protocol, api.ProtocolCommand)}
	case len(w.Command) == 0:
		return api.Invalid("Workload", "has no command")
	case w.TurnLimit.AsDuration() <= 0:
		return api.Invalid("Workload", "has no turn limit")
	case c.MaxEvents < 0 || c.MaxBytes < 0 || c.Patience < 0 || c.Flush < 0:
		return api.Invalid("MaxEvents", "MaxBytes, Patience and Flush are not negative")
	}
	c.MaxEvents = orDefault(c.MaxEvents, 4096)
	c.MaxBytes = orDefault(c.MaxBytes, 8<<20)
	c.Patience = orDefault(c.Patience, endPatience)
	c.Flush = orDefault(c.Flush, 30*time.Second)
	if c.Clock == nil {
		c.Clock = boottime.Now
	}
	return nil
}

func orDefault[T int | time.Duration](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}

// Harness runs one attempt of one session. Make one with [New]; there is one in a process.
type Harness struct {
	c     Config
	w     *harnessv1.Workload
	out   *outbox
	in    *inbox
	lease *lease

	// What follows belongs to work.
	prepared bool
	consumed spans
	failed   map[uint64]uint32
}

// New checks the configuration. It starts nothing.
func New(c Config) (*Harness, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	in := newInbox()
	return &Harness{
		c: c, w: c.Workload, out: newOutbox(c.MaxEvents, c.MaxBytes), in: in,
		lease: newLease(c.Clock, c.Patience, in.notify), failed: make(map[uint64]uint32),
	}, nil
}

// Run drives the agent until the spoke says stop or ctx ends; then it ends the turn, hands over the last events and
// returns nil. An error says why the workload could not go on.
func (h *Harness) Run(ctx context.Context) error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become the subreaper: %w", err)
	}
	g := run.NewGroup(context.WithoutCancel(ctx)) // the link lives until the last events are handed over
	g.Go("link", h.link)
	var result error
	g.Go("work", func(gctx context.Context) error {
		result = h.work(gctx, ctx)
		reason := "stopped"
		if result != nil {
			reason = result.Error()
		}
		h.out.put(cancelled(), &harnessv1.Event{Type: string(api.EventEnded), Text: reason, Attributes: map[string]string{"reason": reason}})
		fctx, cancel := context.WithTimeout(gctx, h.c.Flush)
		defer cancel()
		if !h.out.drained(fctx) {
			h.c.Log.Warn("the last events were not handed over", "workload", h.w.Id)
		}
		g.Stop()
		return nil
	})
	return errors.Join(g.Wait(), result)
}

// task is what runs. The zero value is nothing.
type task struct {
	kind    string
	signals []*harnessv1.Signal // of a turn
	lapses  uint64              // of the lease when it began
	end     context.CancelCauseFunc
	kill    func() // without time to end by itself
}

// ended is how a task ended.
type ended struct {
	result       // of a turn
	err    error // of the preparation
}

// work prepares the workload and runs turns. It ends when stop ends or the orders say so.
func (h *Harness) work(ctx, stop context.Context) error {
	attempt := h.w.Id[strings.LastIndexByte(h.w.Id, '-')+1:]
	h.out.put(cancelled(), &harnessv1.Event{Type: string(api.EventStarted), Attributes: map[string]string{"workload": h.w.Id, "attempt": attempt}})
	g := run.NewGroup(ctx)
	defer g.Wait()
	defer g.Stop()
	var (
		done  = make(chan ended, 1) // one task at a time, so that a task never waits to say how it ended
		tick  = time.NewTimer(0)    // by a clock that may stand still, the lease's does not
		stops = stop.Done()
		now   task
	)
	defer tick.Stop()
	for {
		right := h.lease.look()
		switch s := next(h.facts(stop, right, now)); s.kind {
		case stepEnd:
			return nil
		case stepCut:
			now.end(&cutError{s.reason})
			if now.lapses != right.lapses && right.now >= right.killAt {
				now.kill()
			}
		case stepPrepare:
			now = h.launch(g, done, task{kind: taskPrepare, lapses: right.lapses})
		case stepRun:
			h.begin(s.signals)
			now = h.launch(g, done, task{kind: taskTurn, signals: s.signals, lapses: right.lapses})
		}
		tick.Reset(right.next)
		select {
		case e := <-done:
			now.end(nil)
			if err := h.finish(now, e); err != nil {
				return err
			}
			now = task{}
		case <-h.in.changed:
		case <-stops:
			stops = nil // facts know it from here on
		case <-tick.C:
		case <-g.Context().Done(): // a task panicked
			return g.Wait()
		}
	}
}

// launch starts a task of the group.
func (h *Harness) launch(g *run.Group, done chan<- ended, t task) task {
	ctx, end := context.WithCancelCause(g.Context())
	kctx, kill := context.WithCancel(context.WithoutCancel(ctx))
	t.end, t.kill = end, kill
	g.Go(t.kind, func(context.Context) error {
		defer kill()
		switch t.kind {
		case taskPrepare:
			done <- ended{err: h.prepare(ctx, kctx.Done())}
		case taskTurn:
			done <- ended{result: h.command(ctx, kctx.Done(), t.signals)}
		}
		return nil
	})
	return t
}

// facts are what the spoke and the runtime want now, and how far this is.
func (h *Harness) facts(stop context.Context, r right, now task) facts {
	o := h.in.look()
	f := facts{
		task: now.kind, running: sequences(now.signals), prepared: h.prepared,
		signals: o.Signals, single: o.Single, interrupt: h.w.OnSignal == string(api.OnSignalInterrupt),
		consumed: h.consumed, failed: h.failed,
	}
	if !r.held || now.kind != taskNone && now.lapses != r.lapses {
		f.lapsed = r.why
	}
	switch {
	case stop.Err() != nil:
		f.stop = "the workload was told to end"
	case o.Stop:
		f.stop = "the spoke stops the workload"
	}
	return f
}

// finish takes note of how a task ended. An error ends the workload.
func (h *Harness) finish(t task, e ended) error {
	switch t.kind {
	case taskPrepare:
		var cut *cutError
		if e.err != nil && !errors.As(e.err, &cut) { // one that was cut is begun anew
			return e.err
		}
		h.prepared = e.err == nil
	case taskTurn:
		h.record(t.signals, e.result)
	}
	return nil
}

// begin reports a turn before it runs.
func (h *Harness) begin(turn []*harnessv1.Signal) {
	h.out.working(sequences(turn))
	h.out.put(cancelled(), &harnessv1.Event{Type: string(api.EventTurn), Signals: sequences(turn)})
	h.c.Log.Info("turn started", "workload", h.w.Id, "signals", sequences(turn))
}

// record reports a turn and remembers what must not run again.
func (h *Harness) record(turn []*harnessv1.Signal, r result) {
	e := &harnessv1.Event{Type: string(api.EventTurnDone), Signals: sequences(turn), Outcome: string(r.outcome)}
	if r.reason != "" {
		e.Text = r.reason + below(r.detail)
		e.Attributes = map[string]string{"reason": r.reason}
	}
	h.out.working(nil)
	h.out.put(cancelled(), e)
	h.c.Log.Info("turn ended", "workload", h.w.Id, "signals", sequences(turn), "outcome", r.outcome, "reason", r.reason)
	for _, s := range turn {
		switch r.outcome {
		case api.OutcomeDone:
			h.consumed = h.consumed.with(s.Sequence)
			delete(h.failed, s.Sequence)
		case api.OutcomeFailed:
			h.failed[s.Sequence] = s.Deliveries
		}
	}
}

func sequences(signals []*harnessv1.Signal) []uint64 {
	var ns []uint64
	for _, s := range signals {
		ns = append(ns, s.Sequence)
	}
	return ns
}

// cancelled is a context that has ended: records of the harness itself are few and do not wait for room.
func cancelled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

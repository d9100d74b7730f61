package harness

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/spoke/harness/acp"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
	"github.com/nave-dev/nave/spoke/harness/local"
)

// work is how far the attempt is. It belongs to [Harness.run]; tasks get at state alone, one at a time.
type work struct {
	state    *state
	restored bool
	lost     bool // the state of before could not be restored
	told     bool // the agent was told so
	mute     bool // it was said that the agent cannot go on with a conversation
	prepared bool
	turned   bool // a turn began
	stopping bool
	consumed spans
	failed   map[uint64]uint32
	agent    *agent        // of a conversation that is open, before its turn and in it
	opens    atomic.Uint32 // of the agent's program, so far

	open      *turn         // has ended, and its record waits for its checkpoint
	dirty     bool          // a turn began since the last checkpoint
	uncovered bool          // there is a checkpoint, and no event yet that says it is in the bucket
	began     time.Duration // the interval since the last checkpoint, by the clock
	tries     int           // to take or save a checkpoint that went wrong, in a row
	pauseTill time.Duration // after one that went wrong, by the clock
	said      string        // of what went wrong
}

// turn is one that has ended.
type turn struct {
	signals []*harnessv1.Signal
	result  result
}

// task is what runs. The zero value is nothing.
type task struct {
	kind    string
	signals []*harnessv1.Signal // of a turn
	lapses  uint64              // of the lease when it began
	last    bool                // it began when the workload was to end: of a checkpoint the last try
	dropped bool                // it was ended because it stood still
	end     context.CancelCauseFunc
	kill    func() // without time to end by itself
}

// ended is how a task ended.
type ended struct {
	err      error            // of anything but a turn
	result   result           // of a turn
	restored restored         // of a restore
	agent    *agent           // of an open
	id       api.CheckpointID // of a take or an upload
}

// run restores the state, prepares the workload and runs turns. It ends when stop ends or the orders say so.
func (h *Harness) run(ctx, stop context.Context) error {
	h.out.put(cancelled(), &harnessv1.Event{Type: string(api.EventStarted), Attributes: map[string]string{"workload": h.w.Id, "attempt": attemptOf(h.w)}})
	g := run.NewGroup(ctx)
	defer h.work.state.close()
	defer g.Wait()
	defer h.discard()
	defer g.Stop()
	defer h.backend.close()
	serves, err := h.serve(g)
	if err != nil {
		return h.failed(api.StartFailureCrash, err)
	}
	var (
		done  = make(chan ended, 1) // one task at a time, so that a task never waits to say how it ended
		tick  = time.NewTimer(0)    // by a clock that may stand still, the lease's does not
		stops = stop.Done()
		now   task
	)
	defer tick.Stop()
	for {
		right := h.lease.look()
		s := next(h.facts(stop, right, now))
		switch s.kind {
		case stepEnd:
			return nil
		case stepDrop:
			h.drop(s.signals, s.reason)
			continue
		case stepCut, stepCancel, stepInterrupt:
			now.end(&cutError{s.kind, s.reason})
			if now.lapses != right.lapses && right.now >= right.killAt {
				now.kill()
			}
		case stepAbandon:
			now.dropped = true
			now.end(api.Errorf(api.CodeUnavailable, "it stood still for %v, and there is work", h.c.Stall))
		case stepRestore, stepPrepare, stepOpen, stepClose, stepRun, stepTake, stepUpload:
			t := task{kind: kinds[s.kind], signals: s.signals, lapses: right.lapses, last: h.work.stopping}
			if err := h.begin(t); err != nil {
				return h.failed(api.StartFailureCrash, err)
			}
			now = h.launch(g, done, t, serves)
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
			h.discard()
			return h.failed(api.StartFailureCrash, g.Wait())
		}
	}
}

// kinds are the tasks that steps begin.
var kinds = map[string]string{
	stepRestore: taskRestore, stepPrepare: taskPrepare, stepOpen: taskOpen, stepClose: taskClose, stepRun: taskTurn, stepTake: taskTake, stepUpload: taskUpload,
}

// serve offers the local API. What is returned is closed when it is there: nothing of the agent runs before.
func (h *Harness) serve(g *run.Group) (<-chan struct{}, error) {
	if err := h.backend.prepare(); err != nil {
		return nil, err
	}
	s, err := local.New(local.Config{Path: h.backend.path, Backend: h.backend, Log: h.c.Log})
	if err != nil {
		return nil, err
	}
	g.Go("local API", s.Run)
	return s.Ready(), nil
}

// facts are what the spoke and the runtime want now, and how far this is.
func (h *Harness) facts(stop context.Context, r right, now task) facts {
	o, w := h.in.look(), &h.work
	f := facts{
		task: now.kind, running: sequences(now.signals), restored: w.restored, prepared: w.prepared,
		converses: h.w.Protocol == string(api.ProtocolACP), opened: w.agent != nil && now.kind == taskNone,
		cancelled: o.CancelUpTo, reason: cmp.Or(o.CancelReason, "cancelled"),
		signals: o.Signals, single: o.Single, interrupt: h.w.OnSignal == string(api.OnSignalInterrupt),
		consumed: w.consumed, failed: w.failed,
		mode: api.CheckpointMode(h.w.CheckpointMode), open: w.open != nil, dirty: w.dirty, uncovered: w.uncovered,
		elapsed: r.now-w.began >= h.w.CheckpointInterval.AsDuration(), stalled: h.vault.still() > h.c.Stall,
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
	if f.stop != "" && !w.stopping { // a last try, whatever went wrong before
		w.stopping, w.tries, w.pauseTill = true, 0, 0
	}
	f.calm = w.tries == 0 || r.now >= w.pauseTill && f.stop == ""
	return f
}

// begin does what comes before a task.
func (h *Harness) begin(t task) error {
	h.backend.enter(t.kind, sequences(t.signals), h.work.lost)
	switch t.kind {
	case taskPrepare:
		if len(h.w.Files) > 0 || len(h.w.InitScripts) > 0 || skilled(h.w) {
			return h.work.state.disturb()
		}
	case taskOpen:
		return h.work.state.disturb()
	case taskTurn:
		if err := h.work.state.disturb(); err != nil {
			return err
		}
		if !h.work.turned {
			if err := h.exit.began(); err != nil {
				return err
			}
		}
		h.work.turned, h.work.dirty = true, true
		h.out.working(true)
		h.out.put(cancelled(), &harnessv1.Event{Type: string(api.EventTurn), Signals: sequences(t.signals)})
		h.c.Log.Info("turn started", "workload", h.w.Id, "signals", sequences(t.signals))
	case taskUpload:
		h.vault.progress() // the time to stand still begins
	}
	return nil
}

// launch starts a task of the group. What runs something of the agent comes after a prepare, which waits for the local API.
func (h *Harness) launch(g *run.Group, done chan<- ended, t task, serves <-chan struct{}) task {
	ctx, end := context.WithCancelCause(g.Context())
	kctx, kill := context.WithCancel(context.WithoutCancel(ctx))
	t.end, t.kill = end, kill
	first, a := h.out.first(), h.work.agent
	g.Go(t.kind, func(context.Context) error {
		defer kill()
		var e ended
		switch t.kind {
		case taskRestore:
			e.restored, e.err = h.work.state.restore(ctx)
		case taskPrepare:
			select {
			case <-serves:
				e.err = h.prepare(ctx, kctx.Done())
			case <-ctx.Done():
				e.err = context.Cause(ctx)
			}
		case taskOpen:
			e.agent, e.err = h.open(ctx, kctx.Done(), g, h.work.lost)
		case taskClose:
			a.discard()
		case taskTurn:
			if a != nil {
				e.result = h.exchange(ctx, kctx.Done(), a, t.signals)
			} else {
				e.result = h.command(ctx, kctx.Done(), t.signals)
			}
		case taskTake:
			e.id, e.err = h.work.state.take(ctx, first)
		case taskUpload:
			h.awaitSpoke(ctx)
			if e.id, e.err = h.work.state.save(ctx, first); e.err != nil && context.Cause(ctx) != nil {
				e.err = context.Cause(ctx)
			}
		}
		done <- e
		return nil
	})
	return t
}

// spokeWithin is how long a first save waits for the spoke to know this harness.
const spokeWithin = 2 * time.Second

// awaitSpoke waits until the spoke has welcomed the harness once: before that it takes no checkpoint of it, and a save that was
// refused would let the first turn go ahead of the state that the attempt begins from.
func (h *Harness) awaitSpoke(ctx context.Context) {
	late := time.NewTimer(spokeWithin)
	defer late.Stop()
	select {
	case <-h.attached:
	case <-ctx.Done():
	case <-late.C:
	}
}

// finish takes note of how a task ended. An error ends the workload.
func (h *Harness) finish(t task, e ended) error {
	h.backend.enter(taskNone, nil, h.work.lost)
	var cut *cutError
	switch t.kind {
	case taskRestore:
		if errors.As(e.err, &cut) {
			return nil // to end
		}
		if e.err != nil {
			return h.failed(api.StartFailureRestore, fmt.Errorf("restore the state: %w", e.err))
		}
		h.begun(e.restored)
	case taskPrepare:
		if e.err != nil && !errors.As(e.err, &cut) { // one that was cut is begun anew
			return h.failed(api.StartFailureConfig, e.err)
		}
		h.work.prepared = e.err == nil
	case taskOpen:
		if e.err != nil && !errors.As(e.err, &cut) {
			return h.failed(kindOf(e.err), e.err)
		}
		h.opened(e.agent)
	case taskClose:
		h.work.agent = nil
	case taskTurn:
		h.work.agent = nil
		h.work.told = h.work.told || h.work.lost && e.result.outcome.Consumes()
		h.ended(t.signals, e.result)
	case taskTake:
		h.taken(e)
	case taskUpload:
		h.saved(e)
	}
	if h.work.stopping && !t.last && !t.dropped {
		h.work.tries, h.work.pauseTill = 0, 0 // what ran when the end was asked for is not the last try
	}
	return nil
}

// discard ends a conversation that is open.
func (h *Harness) discard() {
	if a := h.work.agent; a != nil {
		a.discard()
	}
}

// opened takes note of a conversation; nil when it was cut.
func (h *Harness) opened(a *agent) {
	if h.work.agent = a; a == nil {
		return
	}
	h.work.lost = h.work.lost || a.lost
	if !a.talk.CanLoad() && !h.work.mute {
		h.work.mute = true
		h.say("this agent cannot load a session: each turn begins a new conversation")
	}
}

// ended takes note of the end of a turn: its record waits for a checkpoint when every turn has one.
func (h *Harness) ended(signals []*harnessv1.Signal, r result) {
	h.work.open = &turn{signals, r}
	if m := h.w.CheckpointMode; m == string(api.CheckpointInterval) || m == string(api.CheckpointIdle) {
		h.record("") // the checkpoint comes later
		h.out.working(false)
	}
}

// drop consumes signals that were cancelled before a turn took them. A checkpoint covers that like a turn.
func (h *Harness) drop(signals []*harnessv1.Signal, reason string) {
	h.work.dirty = true
	h.ended(signals, result{outcome: api.OutcomeCancelled, reason: reason})
}

// kindOf says which kind of failed start an error of an open is.
func kindOf(err error) api.StartFailure {
	var (
		talk    *acp.StartError
		program *notStarted
	)
	switch {
	case errors.As(err, &talk):
		return talk.Kind
	case errors.As(err, &program):
		return api.StartFailureConfig
	}
	return api.StartFailureCrash
}

// say reports something of the harness itself.
func (h *Harness) say(text string) {
	h.out.put(cancelled(), &harnessv1.Event{Type: string(api.EventLog), Text: text, Attributes: map[string]string{api.AttrBy: "harness"}})
}

// failed is the end of the workload by an error: a failed start, unless a turn began.
func (h *Harness) failed(kind api.StartFailure, err error) error {
	if h.work.turned {
		return err
	}
	return &startError{kind, err}
}

// begun reports what the attempt begins from.
func (h *Harness) begun(r restored) {
	w := &h.work
	w.restored, w.lost = true, r.from == fromLost
	// A turn record of an earlier attempt names it. When it is in the bucket the event about that may be missing all the same.
	w.uncovered = r.id != "" && string(r.id) == h.w.StateLatest
	e := &harnessv1.Event{Type: string(api.EventState), Text: r.why, Attributes: map[string]string{api.AttrFrom: r.from}}
	if r.id != "" {
		e.Attributes[api.AttrCheckpoint] = string(r.id)
	}
	h.out.put(cancelled(), e)
	h.c.Log.Info("state restored", "workload", h.w.Id, "from", r.from, "checkpoint", r.id)
}

// record reports the turn that has ended, and remembers what must not run again.
func (h *Harness) record(id api.CheckpointID) {
	t, r := h.work.open.signals, h.work.open.result
	h.work.open = nil
	e := &harnessv1.Event{Type: string(api.EventTurnDone), Signals: sequences(t), Outcome: string(r.outcome), Attributes: make(map[string]string)}
	if r.reason != "" {
		e.Text = r.reason + below(r.detail)
		e.Attributes["reason"] = r.reason
	}
	if r.stop != "" {
		e.Attributes[api.AttrStopReason] = r.stop
	}
	if id != "" {
		e.Attributes[api.AttrCheckpoint] = string(id)
	}
	number := h.out.put(cancelled(), e)
	if id != "" {
		h.work.state.named(id, number)
	}
	h.c.Log.Info("turn ended", "workload", h.w.Id, "signals", sequences(t), "outcome", r.outcome, "reason", r.reason)
	for _, s := range t {
		switch {
		case r.outcome.Consumes():
			h.work.consumed = h.work.consumed.with(s.Sequence)
			delete(h.work.failed, s.Sequence)
		case r.outcome == api.OutcomeFailed:
			h.work.failed[s.Sequence] = s.Deliveries
		}
	}
}

// taken takes note of a checkpoint on the disk.
func (h *Harness) taken(e ended) {
	w := &h.work
	if e.err != nil {
		h.later("no checkpoint was made", e.err)
	} else {
		w.dirty, w.uncovered, w.began = false, true, h.c.Clock()
	}
	if w.open != nil {
		h.record(e.id)
	}
	if e.err == nil && w.state.there(e.id) { // the turn left the state as it was: nothing is to be uploaded
		h.covered(e.id)
	}
	h.out.working(false)
}

// saved takes note of a checkpoint in the bucket.
func (h *Harness) saved(e ended) {
	w := &h.work
	if e.err != nil {
		w.dirty = w.dirty || errors.Is(e.err, errRetake)
		h.later("the checkpoint was not saved", e.err)
		return
	}
	h.covered(e.id)
}

// covered reports that what turns have changed is in the bucket.
func (h *Harness) covered(id api.CheckpointID) {
	w := &h.work
	w.uncovered, w.tries, w.said = false, 0, ""
	number := h.out.put(cancelled(), &harnessv1.Event{Type: string(api.EventSaved), Attributes: map[string]string{api.AttrCheckpoint: string(id)}})
	w.state.named(id, number)
	h.c.Log.Info("checkpoint saved", "workload", h.w.Id, "checkpoint", id)
}

// later puts the next try off. What people can mend is reported once: that a hub or a spoke is away they see elsewhere.
func (h *Harness) later(what string, err error) {
	w := &h.work
	w.tries++
	w.pauseTill = h.c.Clock() + savePause(w.tries)
	h.c.Log.Warn(what, "workload", h.w.Id, "tries", w.tries, "err", err)
	if text := fmt.Sprintf("%s: %v", what, err); api.CodeOf(err) != api.CodeUnavailable && text != w.said {
		w.said = text
		h.say(text)
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

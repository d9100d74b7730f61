package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/history"
	"github.com/nave-dev/nave/spoke"
	decide "github.com/nave-dev/nave/spoke/harness"
)

// harness is a model of one workload: it obeys its lease, keeps its events until the spoke has them, runs one turn at a time,
// and takes a checkpoint after each.
type harness struct {
	s       *site
	w       *World
	id      spoke.WorkloadID
	spec    spoke.WorkloadSpec
	state   spoke.WorkloadState
	exit    string
	failure api.StartFailure
	frozen  time.Duration

	alive    bool // the harness; its agent may live a little longer
	ready    bool // the state is restored
	attached bool
	waiting  bool // for the answer of the spoke
	out      []api.Event
	acked    uint64
	deadline time.Duration // of the lease, by the machine's clock; 0: none
	orders   spoke.Orders
	consumed map[uint64]bool
	failed   map[uint64]uint32
	turn     []uint64         // of the turn that runs
	uploadN  int              // counts uploads
	turnN    int              // counts turns, so that the end of one is not taken for another's
	open     *ended           // a turn whose record waits for its checkpoint
	dirty    bool             // a turn began since the last checkpoint
	latest   api.CheckpointID // the last checkpoint
	saved    bool             // an event said that it is in the bucket
	durable  api.CheckpointID // the last one that is in the bucket
	uploads  bool             // it is on its way there
	stalled  bool             // and does not move
	calmAt   time.Duration    // after an upload that came to nothing: not before then the next
	asking   bool
	ending   bool
	desk     *decide.Asks // of the turn that runs
	plan     []string     // what the agent asks for in it still
	together bool         // at once
	ebbing   bool         // people cancelled it: it ends in a moment
	pid      int
}

// ended is how a turn ended.
type ended struct {
	signals []uint64
	outcome api.Outcome
}

// disk is what a site keeps of a session's state.
type disk struct {
	content []uint64 // what the agent remembers: the signals that it has done
	marker  api.CheckpointID
	chunks  map[api.CheckpointID][]uint64
}

func newHarness(s *site, spec spoke.WorkloadSpec) *harness {
	h := &harness{s: s, w: s.w, id: spec.ID, spec: spec, state: spoke.WorkloadRunning, alive: true, consumed: map[uint64]bool{}, failed: map[uint64]uint32{}}
	h.later(5*time.Millisecond, 80*time.Millisecond, h.begin)
	return h
}

// later does something in a while, if the harness lives then, and not while it is frozen.
func (h *harness) later(low, high time.Duration, f func()) {
	h.w.after(h.w.between(low, high), "", func() { h.thawed(f) })
}

func (h *harness) thawed(f func()) {
	if !h.alive {
		return
	}
	if wait := h.frozen - h.w.now; wait > 0 {
		h.w.after(wait, "", func() { h.thawed(f) })
		return
	}
	f()
}

func (h *harness) put(ev api.Event) {
	ev.Session, ev.Source, ev.SourceNumber, ev.Time = h.id.Session, h.id.Source(), uint64(len(h.out))+1, h.w.wall()
	h.out = append(h.out, ev)
	h.send()
}

// begin restores the state and says so.
func (h *harness) begin() {
	h.put(api.Event{Type: api.EventStarted})
	d := h.s.disks[h.id.Session]
	if d == nil {
		d = &disk{chunks: map[api.CheckpointID][]uint64{}}
		h.s.disks[h.id.Session] = d
	}
	want := h.spec.State.Latest
	if want == "" {
		want = h.spec.State.Saved
	}
	from, id := "", want
	switch kept, local := d.marker == want, d.chunks[want]; {
	case want == "":
		from, d.content = "empty", nil
	case kept:
		from = "kept"
	case local != nil:
		from, d.content = "local", slices.Clone(local)
	default:
		id = h.spec.State.Saved
		if id == "" { // nothing was ever durable: it begins anew, and what was done is done again
			from, d.content = "empty", nil
			break
		}
		if !h.s.vaultAnswers() {
			h.fail("the bucket does not answer")
			return
		}
		content, ok := h.w.vault.get(h.id.Session, id)
		if !ok {
			h.w.violated("P10", "session %s: checkpoint %.8s is named and is not in the bucket", h.id.Session, id)
			h.fail("the checkpoint is gone")
			return
		}
		from, d.content = "bucket", slices.Clone(content)
	}
	if id != "" {
		d.marker, d.chunks[id] = id, slices.Clone(d.content)
		if d.chunks[id] == nil {
			d.chunks[id] = []uint64{}
		}
	}
	attrs := map[string]string{api.AttrFrom: from}
	if id != "" {
		attrs[api.AttrCheckpoint] = string(id)
	}
	h.put(api.Event{Type: api.EventState, Attributes: attrs})
	h.w.did("state " + from)
	// A turn record of an earlier attempt names it. When it is in the bucket the event about that may be missing all the same.
	h.ready, h.latest, h.saved, h.durable = true, id, id == "" || id != h.spec.State.Latest, h.spec.State.Saved
	h.reattach()
	h.look()
}

// fail ends the harness before it was ready.
func (h *harness) fail(why string) {
	h.failure = api.StartFailureRestore
	h.put(api.Event{Type: api.EventEnded, Text: why, Attributes: map[string]string{api.AttrFailure: string(api.StartFailureRestore)}})
	h.ending = true
	h.reattach()
	h.later(500*time.Millisecond, time.Second, func() { h.end(why) })
}

// reattach connects to the spoke.
func (h *harness) reattach() {
	if !h.alive || h.attached {
		return
	}
	boot := h.s.boots
	h.later(0, 100*time.Millisecond, func() {
		if h.attached || h.s.dead || h.s.boots != boot {
			return
		}
		h.s.take(spoke.Attached(h.id, func(upTo uint64, err error) {
			h.later(0, 5*time.Millisecond, func() {
				if h.s.boots != boot || h.s.dead {
					return
				}
				if err != nil {
					h.w.after(500*time.Millisecond, "", h.reattach)
					return
				}
				if upTo > uint64(len(h.out)) {
					h.w.violated("P5", "workload %s: the spoke has events up to %d, %d were made", h.id, upTo, len(h.out))
				}
				h.attached, h.waiting, h.acked = true, false, max(h.acked, upTo)
				h.send()
				h.told()
				h.ask()
			})
		}))
	})
}

// detached notices that the spoke is away.
func (h *harness) detached() {
	if h.attached {
		h.attached, h.waiting = false, false
		boot := h.s.boots
		h.w.after(time.Second, "", func() {
			if h.s.boots == boot { // the door cut it off; a new program calls by itself
				h.reattach()
			}
		})
	}
}

// send hands over the next events, one batch at a time.
func (h *harness) send() {
	if !h.attached || h.waiting || h.acked >= uint64(len(h.out)) {
		return
	}
	h.waiting = true
	boot, batch := h.s.boots, slices.Clone(h.out[h.acked:])
	last := uint64(len(h.out))
	h.later(0, 10*time.Millisecond, func() {
		if h.s.boots != boot || h.s.dead {
			return
		}
		h.s.take(spoke.Events(h.id, batch, func(err error) {
			h.later(0, 5*time.Millisecond, func() {
				if h.s.boots != boot || !h.attached {
					return
				}
				if h.waiting = false; err == nil {
					h.acked = max(h.acked, last)
				}
				if err != nil {
					h.w.note("workload %s: events refused: %v", h.id, err)
					h.detached()
					return
				}
				h.send()
			})
		}))
	})
}

// ask asks for the lease, and goes on asking.
func (h *harness) ask() {
	if h.asking || !h.alive {
		return
	}
	h.asking = true
	sent, boot := h.s.clock(), h.s.boots
	h.later(0, 10*time.Millisecond, func() {
		if h.attached && h.s.boots == boot && !h.s.dead && h.s.frozen <= h.w.now {
			left := h.s.door.ask(h.id)
			h.later(0, 10*time.Millisecond, func() {
				if left == spoke.LeaseForever {
					h.deadline = spoke.LeaseForever
				} else if left > 0 {
					h.deadline = max(h.deadline, sent+left)
				}
				h.look()
			})
		}
		h.later(time.Second, 2*time.Second, func() {
			h.asking = false
			h.ask()
		})
	})
	h.later(500*time.Millisecond, 500*time.Millisecond, h.look)
}

// told takes what the spoke wants.
func (h *harness) told() {
	h.later(0, 5*time.Millisecond, func() {
		if !h.attached || h.s.dead {
			return
		}
		if o, ok := h.s.door.orders[h.id]; ok {
			if o.Cancelled.UpTo < h.orders.Cancelled.UpTo { // a spoke that was started again does not know it until the hub says it
				o.Cancelled = h.orders.Cancelled
			}
			h.orders = o
			h.look()
		}
	})
}

// look does what a harness decides: the decision is the real one's.
func (h *harness) look() {
	if !h.alive || h.ending || h.frozen > h.w.now {
		return
	}
	h.hear()
	for range 8 {
		switch step := decide.Next(h.facts()); step.Kind {
		case "cut":
			h.cut(h.turnN, api.OutcomeCut)
		case "take":
			h.take()
		case "upload":
			h.save()
		case "abandon":
			h.abandon()
		case "run":
			h.run(step.Signals)
		case "drop":
			h.drop(step.Signals)
		case "end":
			h.quit("stopped")
			return
		default: // "restore" is under way from the beginning
			if step.Kind == "cancel" {
				h.cancel()
			}
			if h.turn != nil && h.deadline != spoke.LeaseForever {
				h.w.after(h.deadline-h.s.clock(), "", func() { h.thawed(h.look) })
			}
			return
		}
	}
}

func (h *harness) facts() decide.Facts {
	f := decide.Facts{Restored: h.ready, Running: h.turn, Signals: h.orders.Signals, Single: h.orders.Single, Failed: h.failed, Consumed: keysOf(h.consumed),
		Open: h.open != nil, Dirty: h.dirty, Uncovered: !h.saved, Calm: h.w.now >= h.calmAt, Stalled: h.stalled, Cancelled: h.orders.Cancelled}
	switch {
	case !h.ready:
		f.Task = "restore"
	case h.turn != nil:
		f.Task = "turn"
	case h.uploads:
		f.Task = "upload"
	}
	if h.orders.Stop {
		f.Stop = "stopped"
	}
	if h.s.clock() >= h.deadline {
		f.Lapsed = "no lease"
	}
	return f
}

// run begins a turn: the agent acts.
func (h *harness) run(signals []uint64) {
	h.turn = signals
	h.turnN++
	h.w.pids++
	h.pid = h.w.pids // each turn is one run of a program
	n := h.turnN
	h.dirty = true
	h.put(api.Event{Type: api.EventTurn, Signals: signals})
	d := h.s.disks[h.id.Session]
	d.marker = ""
	h.w.begins(h, signals, d.content)
	h.permissions(signals)
	h.w.after(h.w.between(20*time.Millisecond, 900*time.Millisecond), "", func() { h.thawed(func() { h.work(n) }) })
}

// done is the end of the agent's work.
func (h *harness) done(n int) {
	if h.turn == nil || h.turnN != n {
		return
	}
	outcome := api.OutcomeDone
	if h.w.harsh && h.w.chance(12) {
		outcome = api.OutcomeFailed
	}
	if outcome == api.OutcomeDone && !h.ebbing {
		d := h.s.disks[h.id.Session]
		d.content = append(slices.Clone(d.content), h.turn...)
		h.w.ends(h, h.turn)
		h.put(api.Event{Type: api.EventMessage, Text: fmt.Sprint(h.turn)})
	}
	h.cut(n, outcome)
	h.look()
}

// cut ends a turn: the agent acts no more. Its record waits for the checkpoint.
func (h *harness) cut(n int, o api.Outcome) {
	if h.turn == nil || h.turnN != n {
		return
	}
	h.w.acts(h, false)
	if h.ebbing {
		o = api.OutcomeCancelled
	}
	h.open = &ended{h.turn, o}
	h.turn = nil
}

// take takes the checkpoint, and reports the turn that waited for it.
func (h *harness) take() {
	d := h.s.disks[h.id.Session]
	id := checkpointOf(h.id.Session, d.content)
	d.marker, d.chunks[id] = id, append([]uint64{}, d.content...)
	h.dirty, h.latest, h.saved, h.calmAt = false, id, false, 0
	if h.open == nil {
		return
	}
	t := *h.open
	h.open = nil
	h.put(api.Event{Type: api.EventTurnDone, Signals: t.signals, Outcome: t.outcome, Attributes: map[string]string{api.AttrCheckpoint: string(id)}})
	for _, s := range t.signals {
		if t.outcome.Consumes() {
			h.consumed[s] = true
			delete(h.failed, s)
		}
		for _, sig := range h.orders.Signals {
			if sig.Sequence == s && t.outcome == api.OutcomeFailed {
				h.failed[s] = sig.Deliveries
			}
		}
	}
}

// save takes the checkpoint to the bucket. Without an answer it is tried again after a pause, or abandoned for work.
func (h *harness) save() {
	h.uploads, h.stalled = true, false
	h.uploadN++
	n, id := h.uploadN, h.latest
	content := slices.Clone(h.s.disks[h.id.Session].chunks[id])
	now := func() bool { return h.uploads && h.uploadN == n }
	h.later(time.Millisecond, 120*time.Millisecond, func() {
		switch {
		case !now():
			return
		case id == h.durable: // an agent that changed nothing
		case !h.s.vaultAnswers():
			if h.w.chance(2) { // it hangs
				h.stalled = true
				h.later(2*time.Second, 5*time.Second, func() {
					if now() {
						h.abandon()
						h.look()
					}
				})
			} else {
				h.abandon()
			}
			h.look()
			return
		}
		if id != h.durable {
			h.w.vault.put(h.id.Session, id, content)
			h.durable = id
		}
		h.later(0, 20*time.Millisecond, func() {
			if !now() {
				return // abandoned: a later checkpoint covers it
			}
			h.uploads, h.saved = false, true
			h.put(api.Event{Type: api.EventSaved, Attributes: map[string]string{api.AttrCheckpoint: string(id)}})
			h.look()
		})
	})
}

// abandon gives an upload up for now.
func (h *harness) abandon() {
	h.uploads, h.stalled = false, false
	pause := h.w.between(time.Second, 3*time.Second)
	h.calmAt = h.w.now + pause
	h.w.after(pause, "", func() { h.thawed(h.look) })
}

// quit ends the harness in order: the last events are handed over, or it gives up.
func (h *harness) quit(why string) {
	if h.ending {
		return
	}
	h.ending = true
	h.put(api.Event{Type: api.EventEnded, Text: why})
	h.flush(why, 20)
}

func (h *harness) flush(why string, tries int) {
	if h.acked >= uint64(len(h.out)) || tries == 0 {
		h.end(why)
		return
	}
	h.later(50*time.Millisecond, 50*time.Millisecond, func() { h.flush(why, tries-1) })
}

// stopped is what the runtime does: the harness may end by itself, and is killed after the grace.
func (h *harness) stopped(grace time.Duration) {
	h.orders.Stop = true
	h.later(0, 5*time.Millisecond, h.look)
	h.w.after(grace, "", func() { h.killed("killed by the runtime") })
}

// killed ends the harness at once. Its agent acts until the runtime has swept it.
func (h *harness) killed(why string) {
	if !h.alive {
		return
	}
	h.alive = false
	h.w.note("workload %s: %s", h.id, why)
	h.w.did("workload killed")
	h.w.after(h.w.between(0, 300*time.Millisecond), "", func() {
		h.w.acts(h, false)
		h.end(why)
	})
}

func (h *harness) end(why string) {
	if h.state == spoke.WorkloadEnded {
		return
	}
	h.alive, h.attached, h.state, h.exit = false, false, spoke.WorkloadEnded, why
	h.w.acts(h, false)
	h.w.note("workload %s ended: %s", h.id, why)
	if h.s.dead {
		return
	}
	h.s.take(spoke.Detached(h.id))
}

// vaultAnswers reports whether the bucket can be reached through the spoke's link.
func (s *site) vaultAnswers() bool {
	l := s.link
	return !s.noVault && !s.dead && l.up && !l.gone && !l.owner.dead && s.w.now >= s.cutUntil && s.frozen <= s.w.now && !s.w.storeDown() && (!s.w.harsh || !s.w.chance(15))
}

// begins notes that an agent begins to act.
func (w *World) begins(h *harness, signals, memory []uint64) {
	w.acts(h, true)
	w.witness(h, history.Begin, signals, append([]uint64{}, memory...))
}

// ends notes that an agent has done what it was asked for.
func (w *World) ends(h *harness, signals []uint64) { w.witness(h, history.End, signals, nil) }

func (w *World) witness(h *harness, k history.Kind, signals, memory []uint64) {
	w.books = append(w.books, history.Witness{Kind: k, Session: h.id.Session, Epoch: h.id.Epoch, Attempt: h.id.Attempt, Signals: signals, PID: h.pid, Boot: w.now, Memory: memory})
}

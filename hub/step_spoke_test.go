package hub

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/nave-dev/nave/api"
)

// modelSpoke is a spoke in memory: it holds what it was told, keeps its events until they are acknowledged, and says what is.
type modelSpoke struct {
	id       api.ClusterID
	linked   bool
	seen     api.Head
	sessions map[api.SessionID]*heldSession
	boxes    map[spokeBox][]api.Event // what is not acknowledged
	sent     map[spokeBox]uint64      // over this link
}

// spokeBox names an outbox of a spoke. It outlives the session there.
type spokeBox struct {
	session api.SessionID
	source  api.Source
}

// heldSession is one session at a spoke, in one epoch.
type heldSession struct {
	epoch     api.Epoch
	attempt   uint32
	number    uint64 // of the attempt's last event
	runs      bool   // the attempt has not ended
	signals   []api.Signal
	highest   uint64 // sequence that it was told of
	done      map[uint64]bool
	uncovered []uint64 // consumed since the last checkpoint that was saved
	starts    uint32
	turn      []uint64                              // that an open turn works on, which waits for answers
	waits     []api.ApprovalID                      // what it asked for and has no answer of
	asked     map[api.ApprovalID]bool               // ever, in this epoch
	told      map[api.ApprovalID]api.ApprovalAnswer // now
	cancelled uint64
	released  bool
	lapsed    bool
	refused   bool
}

func newModelSpoke(id api.ClusterID) *modelSpoke {
	return &modelSpoke{id: id, sessions: map[api.SessionID]*heldSession{}, boxes: map[spokeBox][]api.Event{}, sent: map[spokeBox]uint64{}}
}

// acts reports whether the agent of the session may be working here.
func (h *heldSession) acts() bool { return !h.lapsed && !h.refused && h.attempt > 0 && h.runs }

func (h *heldSession) source() api.Source { return api.Source{Epoch: h.epoch, Attempt: h.attempt} }

func (h *heldSession) deliverable() (out []uint64) {
	for _, s := range h.signals {
		if !h.done[s.Sequence] {
			out = append(out, s.Sequence)
		}
	}
	return out
}

// take is the spoke taking a message of an owner.
func (w *shardWorld) take(s *modelSpoke, m api.HubMessage) {
	for _, u := range m.Updates {
		if u.Position.Head.Compare(s.seen) < 0 {
			continue
		}
		s.seen = u.Position.Head
		for _, d := range u.Sessions {
			w.want(s, d)
		}
	}
	for _, a := range m.Acks {
		if a.Position.Head.Generation.Compare(s.seen.Generation) < 0 {
			continue
		}
		box := spokeBox{a.Session, a.Source}
		s.boxes[box] = slices.DeleteFunc(slices.Clone(s.boxes[box]), func(ev api.Event) bool { return ev.SourceNumber <= a.UpTo })
		if len(s.boxes[box]) == 0 {
			delete(s.boxes, box)
		}
	}
}

func (w *shardWorld) want(s *modelSpoke, d api.Desired) {
	h := s.sessions[d.Session]
	if h != nil && d.Epoch.Compare(h.epoch) < 0 {
		return
	}
	if h == nil || d.Epoch.Compare(h.epoch) > 0 {
		if h != nil && h.acts() {
			w.mem.broken = cmp.Or(w.mem.broken, fmt.Errorf("P4: session %s is wanted at epoch %s while %s acts in the same cluster", d.Session, d.Epoch, h.epoch))
		}
		h = &heldSession{epoch: d.Epoch, done: map[uint64]bool{}, asked: map[api.ApprovalID]bool{}}
		s.sessions[d.Session] = h
	}
	if d.Release {
		h.released, h.runs, h.turn, h.waits = true, false, nil, nil
		return
	}
	w.hear(h, d)
	last := uint64(0)
	for _, sig := range d.Signals {
		if sig.Sequence <= last {
			w.mem.broken = cmp.Or(w.mem.broken, fmt.Errorf("P3: session %s: signal %d is handed out after %d", d.Session, sig.Sequence, last))
		}
		last = sig.Sequence
		h.highest = max(h.highest, last)
	}
	h.signals = d.Signals
}

// emit journals events of the present attempt and sends what is not sent.
func (w *shardWorld) emit(s *modelSpoke, id api.SessionID, events ...api.Event) {
	h := s.sessions[id]
	box := spokeBox{id, h.source()}
	for _, ev := range events {
		h.number++
		ev.SourceNumber, ev.Time, ev.Text = h.number, w.now, cmp.Or(ev.Text, string(ev.Type))
		s.boxes[box] = append(s.boxes[box], ev)
	}
	w.flush(s)
}

// flush sends what was not sent over this link, in the order of epochs and attempts.
func (w *shardWorld) flush(s *modelSpoke) {
	boxes := slices.SortedFunc(maps.Keys(s.boxes), func(a, b spokeBox) int {
		return cmp.Or(strings.Compare(string(a.session), string(b.session)), a.source.Epoch.Compare(b.source.Epoch), cmp.Compare(a.source.Attempt, b.source.Attempt))
	})
	for _, box := range boxes {
		events := slices.DeleteFunc(slices.Clone(s.boxes[box]), func(ev api.Event) bool { return ev.SourceNumber <= s.sent[box] })
		if len(events) == 0 || !s.linked {
			continue
		}
		s.sent[box] = events[len(events)-1].SourceNumber
		w.turn(CoreBatch(s.id, api.EventBatch{Session: box.session, Source: box.source, Events: events}))
	}
}

// report says what is of a session, behind its events.
func (w *shardWorld) report(s *modelSpoke, id api.SessionID) {
	w.flush(s)
	h := s.sessions[id]
	if h == nil || !s.linked {
		return
	}
	held := w.held(h, id)
	if held.State == api.HeldGone {
		delete(s.sessions, id) // asked again, it says so again
	}
	w.turn(CoreHeld(s.id, held))
}

func (w *shardWorld) held(h *heldSession, id api.SessionID) api.Held {
	held := api.Held{Session: id, Epoch: h.epoch, Attempt: h.attempt, Number: h.number, Seen: h.highest, StartFailures: h.starts, Reason: "r"}
	switch {
	case h.released && !h.runs || h.lapsed && !h.runs:
		held.State = api.HeldGone
	case h.lapsed:
		held.State = api.HeldLapsed
	case h.refused:
		held.State = api.HeldRefused
	case len(h.deliverable()) == 0 && len(h.uncovered) == 0 && h.turn == nil:
		held.State = api.HeldIdle
	case h.runs:
		held.State = api.HeldRunning
	default:
		held.State = api.HeldAdmitted
	}
	return held
}

// begin starts an attempt when none runs; back lets it begin from the last checkpoint that was saved.
func (w *shardWorld) begin(s *modelSpoke, id api.SessionID, back bool) bool {
	h := s.sessions[id]
	if h.released || h.lapsed || h.refused {
		return false
	}
	if h.runs {
		return true
	}
	h.attempt, h.number, h.runs, h.turn, h.waits = h.attempt+1, 0, true, nil, nil
	state := api.Event{Type: api.EventState, Attributes: map[string]string{api.AttrFrom: "kept"}}
	if back {
		state.Attributes[api.AttrFrom], state.Signals = "bucket", h.uncovered
		for _, n := range h.uncovered {
			delete(h.done, n)
		}
		h.uncovered = nil
	}
	w.emit(s, id, api.Event{Type: api.EventStarted}, state)
	return true
}

// work runs one turn over the signals that it has; again: over those too that it has consumed already.
func (w *shardWorld) work(s *modelSpoke, id api.SessionID, outcome api.Outcome, again bool) {
	h := s.sessions[id]
	if h.turn != nil {
		w.finish(s, id, outcome)
		return
	}
	if w.discard(s, id) {
		return
	}
	seqs := h.deliverable()
	if again {
		seqs = nil
		for _, sig := range h.signals {
			seqs = append(seqs, sig.Sequence)
		}
	}
	if len(seqs) == 0 || !w.begin(s, id, false) {
		return
	}
	w.report(s, id)
	if s.sessions[id] != h || h.released { // it was told otherwise meanwhile
		return
	}
	w.emit(s, id, api.Event{Type: api.EventTurn, Signals: seqs}, h.ended(seqs, outcome))
}

// ended is the record of a turn that ended.
func (h *heldSession) ended(seqs []uint64, outcome api.Outcome) api.Event {
	h.starts = 0
	for _, n := range seqs {
		if outcome.Consumes() && !h.done[n] {
			h.done[n], h.uncovered = true, append(h.uncovered, n)
		}
	}
	return api.Event{Type: api.EventTurnDone, Signals: seqs, Outcome: outcome}
}

// save makes a checkpoint durable; a false one is not in the bucket.
func (w *shardWorld) save(s *modelSpoke, id api.SessionID, truly bool) {
	h := s.sessions[id]
	if !h.runs || h.lapsed || h.turn != nil {
		return
	}
	w.checkpoints++
	c := checkpointID(w.checkpoints)
	if truly {
		w.mem.bucket[c] = true
	}
	h.uncovered = nil
	w.emit(s, id, api.Event{Type: api.EventSaved, Attributes: map[string]string{api.AttrCheckpoint: string(c)}})
}

// crash ends the attempt; stillborn: it ends before its first turn.
func (w *shardWorld) crash(s *modelSpoke, id api.SessionID, stillborn bool) {
	h := s.sessions[id]
	if stillborn && (h.runs || !w.begin(s, id, false)) || !h.runs {
		return
	}
	if h.turn != nil {
		w.finish(s, id, api.OutcomeFailed)
		if s.sessions[id] != h || !h.runs {
			return
		}
	}
	if h.runs = false; stillborn {
		h.starts++
	}
	w.emit(s, id, api.Event{Type: api.EventEnded})
	w.report(s, id)
}

// lapse ends the right to act of every epoch at a spoke that hears nothing.
func (s *modelSpoke) lapse() {
	for _, h := range s.sessions {
		h.lapsed, h.runs, h.turn, h.waits = true, false, nil, nil
	}
}

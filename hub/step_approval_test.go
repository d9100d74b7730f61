package hub

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/nave-dev/nave/api"
)

// This file lets the model of a spoke ask, take answers and cancel, lets people answer and cancel, and judges that.

// ask begins a turn that asks for permissions and waits.
func (w *shardWorld) ask(s *modelSpoke, id api.SessionID, what string) {
	h := s.sessions[id]
	seqs := h.deliverable()
	if h.turn != nil || len(seqs) == 0 || !w.begin(s, id, false) {
		return
	}
	w.report(s, id)
	if s.sessions[id] != h || h.released || !h.runs { // it was told otherwise meanwhile
		return
	}
	h.turn = seqs
	events := []api.Event{{Type: api.EventTurn, Signals: seqs}}
	for _, fingerprint := range strings.Fields(what) {
		ev := askedFor(id, fingerprint, seqs, "1m")
		a := api.ApprovalID(ev.Attributes[api.AttrApproval])
		events, h.waits, h.asked[a] = append(events, ev), append(h.waits, a), true
	}
	w.emit(s, id, events...)
}

// hear takes what a spoke is told beside the signals.
func (w *shardWorld) hear(h *heldSession, d api.Desired) {
	if d.Cancelled.UpTo < h.cancelled {
		w.mem.breaks("session %s: cancelled up to %d after %d", d.Session, d.Cancelled.UpTo, h.cancelled)
	}
	h.cancelled, h.told = d.Cancelled.UpTo, map[api.ApprovalID]api.ApprovalAnswer{}
	for _, a := range d.Answers {
		h.told[a.Approval] = a
		if !h.asked[a.Approval] {
			w.mem.breaks("approval %s is answered to epoch %s, which never asked", a.Approval, d.Epoch)
		}
		if allow, ok := w.decided[a.Approval]; ok && a.By != byNave && allow != a.Allow {
			w.mem.breaks("approval %s was answered %t, and the workload is told %t", a.Approval, allow, a.Allow)
		}
	}
}

// takeAnswers lets an open turn have the answers that its spoke was told.
func (w *shardWorld) takeAnswers(s *modelSpoke, id api.SessionID) {
	h := s.sessions[id]
	for _, a := range slices.Clone(h.waits) {
		if said, ok := h.told[a]; ok && h.turn != nil {
			h.waits = slices.DeleteFunc(h.waits, func(x api.ApprovalID) bool { return x == a })
			w.emit(s, id, api.Event{Type: api.EventTaken, Attributes: map[string]string{api.AttrApproval: string(a), api.AttrBy: said.By}})
		}
	}
}

// finish ends an open turn. One whose signals are all cancelled ends so, unless the agent was faster.
func (w *shardWorld) finish(s *modelSpoke, id api.SessionID, outcome api.Outcome) {
	h := s.sessions[id]
	seqs := h.turn
	if seqs[len(seqs)-1] <= h.cancelled && outcome != api.OutcomeDone {
		outcome = api.OutcomeCancelled
	}
	h.turn, h.waits = nil, nil
	w.emit(s, id, h.ended(seqs, outcome))
}

// discard consumes what is cancelled and waits, in a batch of its own.
func (w *shardWorld) discard(s *modelSpoke, id api.SessionID) bool {
	h := s.sessions[id]
	seqs := slices.DeleteFunc(h.deliverable(), func(n uint64) bool { return n > h.cancelled })
	if len(seqs) == 0 || !w.begin(s, id, false) {
		return false
	}
	w.report(s, id)
	if s.sessions[id] == h && !h.released && h.runs {
		w.emit(s, id, h.ended(seqs, api.OutcomeCancelled))
	}
	return true
}

// answer is a person's at the door. Nobody is told that two different answers count.
func (w *shardWorld) answer(id api.ApprovalID, approve bool) {
	state := w.mem.approvals[id].State
	said, known := w.decided[id]
	w.turn(CoreAnswer(AnswerRequest{Org: api.DefaultOrg, Approval: id, Approve: approve, By: "p"}, func(v ApprovalView, err error) {
		switch code := api.CodeOf(err); {
		case err == nil && (known && said != approve || (v.State == api.ApprovalApproved) != approve):
			w.mem.breaks("approval %s was answered %t, and then %t (%s)", id, said, approve, v.State)
		case err == nil:
			w.decided[id] = approve
		case code == api.CodeConflict && known && said == approve:
			w.mem.breaks("approval %s: the same answer is a conflict: %v", id, err)
		case state == api.ApprovalOpen && code != api.CodeFailed:
			w.mem.breaks("approval %s is open and cannot be answered: %v", id, err)
		}
	}))
}

// cancel is a person's at the door.
func (w *shardWorld) cancel(id api.SessionID, upTo uint64) {
	w.turn(CoreCancel(CancelRequest{Org: api.DefaultOrg, Session: id, UpTo: upTo, By: "p"}, func(CancelAnswer, error) {}))
}

// checkApprovals judges the records.
func (w *shardWorld) checkApprovals() error {
	for id, a := range w.mem.approvals {
		if _, ok := w.mem.sessions[a.Session]; !ok {
			return fmt.Errorf("approval %s is left of a session that is over", id)
		}
		if allow, ok := w.decided[id]; ok && a.State != api.ApprovalApproved && a.State != api.ApprovalDenied || ok && allow != (a.State == api.ApprovalApproved) {
			return fmt.Errorf("approval %s was answered %t and is %s", id, allow, a.State)
		}
	}
	for id := range w.mem.sessions {
		for a, h := range w.stories(id) {
			if h.signals > 1 || h.answers > 1 {
				return fmt.Errorf("approval %s was answered %d times and became %d signals", a, h.answers, h.signals)
			}
		}
	}
	return nil
}

// story is what a log says of an approval.
type story struct {
	sequence uint64
	answers  int
	signals  int
	taken    bool // a person's answer, since it was asked for last
	moot     bool // its signal was cancelled at some time, or is a dead letter
	over     bool // a turn over its signal was consumed
	redone   bool // and then done again
}

func (w *shardWorld) stories(id api.SessionID) map[api.ApprovalID]*story {
	out := map[api.ApprovalID]*story{}
	cancelled := uint64(0)
	for _, ev := range w.mem.log[id] {
		if ev.Type == api.EventCancelled {
			upTo, _ := strconv.ParseUint(ev.Attributes[api.AttrUpTo], 10, 64)
			cancelled = max(cancelled, upTo)
		}
		for _, h := range out {
			if slices.Contains(ev.Signals, h.sequence) {
				h.over = h.over || ev.Type == api.EventTurnDone && ev.Outcome.Consumes()
				h.moot = h.moot || ev.Type == api.EventDead
			}
		}
		a := api.ApprovalID(ev.Attributes[api.AttrApproval])
		if a == "" {
			continue
		}
		if out[a] == nil {
			out[a] = &story{}
		}
		switch h := out[a]; ev.Type {
		case api.EventAsked:
			h.sequence, h.taken, h.redone = ev.Signals[0], false, h.over
		case api.EventAnswered:
			h.answers++
		case api.EventAccepted:
			h.signals++
		case api.EventTaken:
			h.taken = h.taken || ev.Attributes[api.AttrBy] != byNave
		}
	}
	for _, h := range out {
		h.moot = h.moot || h.sequence <= cancelled
	}
	return out
}

// checkAnswers judges a world at rest: each answer was taken by the turn that asked last, or became one signal.
func (w *shardWorld) checkAnswers() error {
	for id := range w.decided {
		session, err := id.Session()
		if err != nil {
			return err
		}
		if _, over := w.mem.ended[session]; over {
			continue
		}
		h := w.stories(session)[id]
		if h == nil || h.answers != 1 {
			return fmt.Errorf("approval %s was answered, and the log says %+v", id, h)
		}
		// A spoke that was told the answer before it did the turn anew may take it there, though the signal is on its way.
		if want := map[bool]int{true: 0, false: 1}[h.taken]; h.signals != want && !(h.moot && h.signals == 0) && !(h.redone && h.taken) {
			return fmt.Errorf("approval %s: the answer was taken: %t, and became %d signals", id, h.taken, h.signals)
		}
	}
	for id, a := range w.mem.approvals {
		s := w.mem.sessions[a.Session]
		if a.State == api.ApprovalOpen && s.Intent == api.IntentTerminated {
			return fmt.Errorf("approval %s of a session that was terminated is open", id)
		}
	}
	return cmp.Or(w.mem.broken)
}

package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
	decide "github.com/nave-dev/nave/spoke/harness"
)

// request is a permission that an agent asked for.
type request struct {
	session     api.SessionID
	sequence    uint64 // first signal of the turn
	fingerprint string
	epochs      map[api.Epoch]bool // whose workload asked
	answered    bool               // a person was told that the answer counts
	fixed       bool               // a person or an agent was told an answer
	allow       bool               // which
}

// level is a cancellation that was answered.
type level struct {
	by   api.Generation // of the owner
	upTo uint64
}

// requested notes that an agent asks, and lets people answer: early, late, twice, differently, or not at all.
func (w *World) requested(h *harness, id api.ApprovalID, fingerprint string) {
	r := w.asked[id]
	if r == nil {
		r = &request{session: h.id.Session, sequence: h.turn[0], fingerprint: fingerprint, epochs: map[api.Epoch]bool{}}
		w.asked[id] = r
		w.did("asked")
	} else {
		w.did("asked again")
	}
	r.epochs[h.id.Epoch] = true
	w.note("workload %s asks %s for %s", h.id, id, fingerprint)
	if !w.chance(4) {
		w.after(w.between(0, 6*time.Second), "", func() { w.answer(id, w.chance(2)) })
	}
	if w.chance(3) {
		w.after(w.between(0, 12*time.Second), "", func() { w.answer(id, w.chance(2)) })
	}
	if w.chance(10) {
		w.after(w.between(0, 5*time.Second), "", func() { w.cancel(h.id.Session, r.sequence) })
	}
}

// took judges an answer that an agent got.
func (w *World) took(h *harness, got decide.Answer, carried bool) {
	r := w.asked[got.Approval]
	w.note("workload %s has the answer to %s: %v by %s, carried %v", h.id, got.Approval, got.Allow, got.By, carried)
	switch {
	case r == nil:
		w.violated("P3", "workload %s got an answer to %s, which nobody asked", h.id, got.Approval)
		return
	case got.By == byNave:
		w.did("answer of nave taken")
		return
	case carried:
		w.did("answer of a signal used")
	default:
		w.did("answer taken")
	}
	w.fix(r, got.Approval, got.Allow)
}

// fix notes that somebody was told an answer: all are told the same.
func (w *World) fix(r *request, id api.ApprovalID, allow bool) {
	if r.fixed && r.allow != allow {
		w.violated("P2", "approval %s was answered %t, and then %t", id, r.allow, allow)
	}
	r.fixed, r.allow = true, allow
}

// tells judges what an owner tells a spoke about a session.
func (w *World) tells(by api.Generation, d api.Desired) {
	if d.Release {
		return
	}
	for _, l := range w.levels[d.Session] {
		if d.Cancelled.UpTo < l.upTo && by.Compare(l.by) >= 0 {
			w.violated("P3", "session %s: people were told that it is cancelled up to %d, its spoke is told %d", d.Session, l.upTo, d.Cancelled.UpTo)
			return
		}
	}
	for _, a := range d.Answers {
		r := w.asked[a.Approval]
		if r == nil || !r.epochs[d.Epoch] {
			w.violated("P4", "approval %s is answered to epoch %s, which never asked", a.Approval, d.Epoch)
			return
		}
		if a.By != byNave {
			w.fix(r, a.Approval, a.Allow)
		}
	}
}

// call is one call of a person at the owner, repeated until it is answered. ask hands the call over; what it is given takes the
// answer, and reports whether the call is over.
func (w *World) call(ask func(o *owner, answered func(over bool))) {
	w.calling++
	w.try(ask)
}

func (w *World) try(ask func(o *owner, answered func(over bool))) {
	again := func() { w.after(w.between(100*time.Millisecond, time.Second), "", func() { w.try(ask) }) }
	o := w.owner
	if o == nil || o.dead || !o.up || w.storeDown() {
		again()
		return
	}
	done := false
	end := func(over bool) {
		if done {
			return // the caller has given up waiting
		}
		if done = true; over {
			w.calling--
		} else {
			again()
		}
	}
	ask(o, end)
	w.after(4*time.Second, "", func() { end(false) })
}

// answer answers an approval.
func (w *World) answer(id api.ApprovalID, allow bool) {
	r, tries := w.asked[id], 8
	by := fmt.Sprint("person ", w.rnd.IntN(3))
	w.call(func(o *owner, end func(bool)) {
		waits := true
		o.post(hub.CoreAnswer(hub.AnswerRequest{Org: org, Approval: id, Approve: allow, By: by}, func(v hub.ApprovalView, err error) {
			if !waits {
				return
			}
			waits = false
			w.note("%s answers %s: %v: %v", by, id, allow, err)
			switch code := api.CodeOf(err); {
			case err == nil:
				if (v.State == api.ApprovalApproved) != allow {
					w.violated("P2", "approval %s was answered %t and is %s", id, allow, v.State)
				}
				w.fix(r, id, allow)
				r.answered = true
				w.kept(w.store.shard(shard)) // now, not in a moment
				w.did("answer accepted")
			case code == api.CodeConflict && r.answered && r.allow == allow:
				w.violated("P2", "approval %s was answered %t, and the same again is a conflict: %v", id, allow, err)
			case code == api.CodeConflict:
				w.did("other answer refused")
			case code == api.CodeFailed && r.answered:
				w.violated("P1", "approval %s was answered %t, and then: %v", id, r.allow, err)
			case code == api.CodeFailed:
				w.did("late answer refused")
			case code == api.CodeNotFound: // its event is on its way
				tries--
				end(tries <= 0) // the last answer may have come after the caller gave up waiting for it
				return
			case code != api.CodeUnavailable:
				w.violated("P2", "the answer to approval %s is answered with %v", id, err)
			default:
				end(false)
				return
			}
			end(true)
		}))
	})
}

// cancels cancels something of a session: what is worked on, or all.
func (w *World) cancels() {
	id, ok := w.any()
	if !ok {
		return
	}
	var upTo uint64
	for _, s := range w.spokes {
		for _, h := range s.runtime.ordered() {
			if h.id.Session == id && h.turn != nil && !w.chance(3) {
				upTo = h.turn[len(h.turn)-1]
			}
		}
	}
	w.cancel(id, upTo)
	if w.chance(3) {
		w.after(w.between(0, 3*time.Second), "", func() { w.cancel(id, 0) })
	}
}

// cancel cancels the signals of a session up to one; 0: all.
func (w *World) cancel(id api.SessionID, upTo uint64) {
	w.call(func(o *owner, end func(bool)) {
		waits := true
		o.post(hub.CoreCancel(hub.CancelRequest{Org: org, Session: id, UpTo: upTo, By: "people"}, func(a hub.CancelAnswer, err error) {
			if !waits {
				return
			}
			waits = false
			w.note("cancel %s up to %d: %d changed %v: %v", short(id), upTo, a.UpTo, a.Changed, err)
			if api.CodeOf(err) == api.CodeUnavailable {
				end(false)
				return
			}
			if err == nil && a.Changed {
				w.did("cancelled")
				w.levels[id] = append(w.levels[id], level{o.core.Head().Generation, a.UpTo})
				w.kept(w.store.shard(shard))
			}
			end(true)
		}))
	})
}

// kept checks the records of what people were told: cancellations, and answers.
func (w *World) kept(r *shardRecords) {
	for _, id := range keysOf(w.levels) {
		s, ok := r.sessions[id]
		for _, l := range w.levels[id] {
			if ok && s.Cancelled.UpTo < l.upTo {
				w.violated("P3", "session %s: people were told that it is cancelled up to %d, its record says %d", id, l.upTo, s.Cancelled.UpTo)
				return
			}
		}
	}
	for _, id := range keysOf(w.asked) {
		q := w.asked[id]
		if s, ok := r.sessions[q.session]; !ok || s.Intent == api.IntentTerminated || !q.answered {
			continue // a tombstone's leave before it
		}
		a, ok := r.approvals[id]
		if !ok || a.State != api.ApprovalApproved && a.State != api.ApprovalDenied || (a.State == api.ApprovalApproved) != q.allow {
			w.violated("P1", "approval %s was answered %t, and its record is %q", id, q.allow, a.State)
			return
		}
	}
}

// answerStory is what a log says of an approval.
type answerStory struct {
	answers, signals int
	taken            bool // a person's answer, since it was asked for last
	moot             bool // its turn was cancelled at some time, or is a dead letter
	over             bool // a turn over its signal was consumed
	redone           bool // and then done again
}

// tell reads the story of an approval out of its session's log.
func (w *World) tell(id api.ApprovalID) (s answerStory) {
	q := w.asked[id]
	l := w.archive.logs[q.session]
	if l == nil {
		return s
	}
	for _, ev := range l.events {
		its := slices.Contains(ev.Signals, q.sequence)
		switch ev.Type {
		case api.EventCancelled:
			var upTo uint64
			_, _ = fmt.Sscan(ev.Attributes[api.AttrUpTo], &upTo) // 0 is none
			s.moot = s.moot || upTo >= q.sequence
		case api.EventDead:
			s.moot = s.moot || its
		case api.EventTurnDone:
			s.over = s.over || its && ev.Outcome.Consumes()
		}
		if ev.Attributes[api.AttrApproval] != string(id) {
			continue
		}
		switch ev.Type {
		case api.EventAsked:
			s.taken, s.redone = false, s.over
		case api.EventAnswered:
			s.answers++
		case api.EventAccepted:
			s.signals++
		case api.EventTaken:
			s.taken = s.taken || ev.Attributes[api.AttrBy] != byNave && ev.Attributes[attrCarried] == ""
		case api.EventExpired, api.EventWithdrawn:
			w.did(string(ev.Type))
		}
	}
	return s
}

// judgeAnswers judges a world at rest: an answer was taken by the turn that asked last, or became one signal, or nobody needs it.
func (w *World) judgeAnswers() {
	r := w.store.shard(shard)
	for _, id := range keysOf(w.asked) {
		q, s := w.asked[id], w.tell(id)
		if s.signals > 0 {
			w.did("answer became a signal")
		}
		if s.answers > 1 || s.signals > 1 || q.answered && s.answers == 0 {
			w.violated("P2", "approval %s was answered %d times and became %d signals (a person was told: %t)", id, s.answers, s.signals, q.answered)
		}
		if a, ok := r.approvals[id]; ok && a.Sequence != q.sequence {
			w.violated("P3", "approval %s was asked for by the turn of signal %d, its record says %d", id, q.sequence, a.Sequence)
		}
		if s.answers == 0 || w.ended[q.session] || w.archive.terminated[q.session].ID != "" {
			continue
		}
		// A spoke that was told the answer before it did the turn anew may take it there, though the signal is on its way.
		if want := map[bool]int{true: 0, false: 1}[s.taken]; s.signals != want && !(s.moot && s.signals == 0) && !(s.redone && s.taken) {
			w.violated("P1", "approval %s: the answer was taken: %t, and became %d signals", id, s.taken, s.signals)
		}
	}
}

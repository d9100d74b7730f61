package hub

import (
	"fmt"
	"time"

	"github.com/nave-dev/nave/api"
)

// cancel raises the level up to which signals are to be consumed without being worked on any further:
//
//	of the signals up to the sequence     then
//	one is unsettled, not consumed and    the level rises; the workload ends the turn that has none above it, and consumes those
//	above the level                       that wait
//	none is                               nothing changes
//
// A session that nobody runs keeps its signals: they are consumed when a workload comes. It is durable before it is answered.
func (m *machine) cancel(o *output, now time.Time, ev evCancel) {
	r := ev.request
	s := m.sessions[r.Session]
	if s == nil || s.Org != r.Org || s.Intent == api.IntentTerminated {
		o.effect(effCancelled{to: ev.reply, err: noSession(r.Session)})
		return
	}
	upTo := r.UpTo
	if upTo == 0 {
		upTo = s.LastSequence
	}
	if upTo > s.LastSequence {
		o.effect(effCancelled{to: ev.reply, err: api.Invalid("up_to", "%d: the last signal of session %s is %d", upTo, s.ID, s.LastSequence)})
		return
	}
	answer := CancelAnswer{UpTo: upTo, Changed: s.cancellable(upTo), Waits: s.Assignment == nil || s.Assignment.Releasing}
	if answer.Changed && !r.DryRun {
		why := "cancelled by " + r.By
		if r.Note != "" {
			why += ": " + r.Note
		}
		s.Cancelled = api.Cancellation{UpTo: upTo, Reason: brief(why)}
		m.report(o, s, now, api.Event{Type: api.EventCancelled, Text: s.Cancelled.Reason,
			Attributes: map[string]string{api.AttrUpTo: fmt.Sprint(upTo), api.AttrBy: r.By}}, nil)
		m.put(o, s)
		m.hand(o, s)
	}
	answer.Session = s.view()
	o.effect(effCancelled{to: ev.reply, answer: answer})
}

// cancellable reports whether a signal up to a sequence is still to be worked on.
func (s *session) cancellable(upTo uint64) bool {
	for _, sig := range s.pending {
		if sig.Sequence <= upTo && sig.Sequence > s.Cancelled.UpTo && !s.consumed(sig) {
			return true
		}
	}
	return false
}

package hub

import (
	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/fault"
)

// The faults that can be planted in this room: each breaks one promise, so that the tests which judge it can be tried.

// oldEpochAccepted breaks P4: events of a former epoch are taken for the present one's.
func oldEpochAccepted() bool { return fault.On(fault.OldEpochAccepted) }

// deduplicationOff breaks P2: a key that was used is not looked up.
func deduplicationOff() bool { return fault.On(fault.NoDeduplication) }

// forgetCancelled breaks P3: an owner that begins does not know what was cancelled.
func forgetCancelled(s *session) {
	if fault.On(fault.CancelForgotten) {
		s.Cancelled = api.Cancellation{}
	}
}

// answeredEarly breaks P1: it performs the answers to signals, or those to people who answer approvals, before what they promise
// is durable, and returns the other effects.
func (l *loop) answeredEarly(effs []effect) []effect {
	signals, approvals := fault.On(fault.AnswerBeforeCommit), fault.On(fault.ApprovalBeforeCommit)
	if !signals && !approvals {
		return effs
	}
	var rest []effect
	for _, e := range effs {
		switch r := e.(type) {
		case effReply:
			if signals {
				r.to(r.reply)
				continue
			}
		case effAnswered:
			if approvals {
				r.to(r.approval, r.err)
				continue
			}
		}
		rest = append(rest, e)
	}
	return rest
}

package hub

import "github.com/nave-dev/nave/internal/fault"

// The faults that can be planted in this room: each breaks one promise, so that the tests which judge it can be tried.

// oldEpochAccepted breaks P4: events of a former epoch are taken for the present one's.
func oldEpochAccepted() bool { return fault.On(fault.OldEpochAccepted) }

// deduplicationOff breaks P2: a key that was used is not looked up.
func deduplicationOff() bool { return fault.On(fault.NoDeduplication) }

// answeredEarly breaks P1: it performs the answers to signals before what they promise is durable, and returns the other
// effects.
func (l *loop) answeredEarly(effs []effect) []effect {
	if !fault.On(fault.AnswerBeforeCommit) {
		return effs
	}
	var rest []effect
	for _, e := range effs {
		if r, ok := e.(effReply); ok {
			r.to(r.reply)
			continue
		}
		rest = append(rest, e)
	}
	return rest
}

package hub

import (
	"slices"
	"time"

	"github.com/nave-dev/nave/api"
)

// A terminated session stays as a tombstone until nothing acts for it any more: its spoke said so, or its epoch has lapsed for
// sure. Then its end goes to the archive, and after that out of the store:
//
//	to the archive                     then out of the store and memory
//	each signal left: a dead letter,   the signal
//	or done or cancelled, if its turn
//	is archived
//	the record, with the last of them  the session
//
// Its checkpoints are removed.
//
// An owner who dies between finds the tombstone and does the same again.

// bury hands the end of a terminated session to the archive. Nothing is reported of it after that.
func (m *machine) bury(o *output, s *session, now time.Time) {
	if s.Intent != api.IntentTerminated || s.Assignment != nil || s.ending || s.open() > 0 { // open approvals are withdrawn first: evTend follows
		return
	}
	s.ending = true
	for _, sig := range s.pending {
		outcome, reason := settledDead, "the session was terminated"
		if sig.Consumed() && sig.ConsumedBy.Epoch == s.Epoch { // no state is left that could go back behind its turn
			outcome, reason = settledAs(sig.ConsumedAs), ""
		}
		a := m.open(s.Org, rowWeight)
		a.Settled, a.urgent = append(a.Settled, s.settle(sig, outcome, reason, now)), true
	}
	a := m.open(s.Org, rowWeight)
	a.Terminated, a.urgent = append(a.Terminated, s.Session), true
	o.effect(effCollect{org: s.Org, session: s.ID}) // again when it has left: an owner may die between
}

// buried takes out of the store and of memory what the archive has of sessions that ended.
func (m *machine) buried(o *output, a Append) {
	for _, row := range a.Settled {
		s := m.sessions[row.Signal.Session]
		if s == nil || !s.ending {
			continue // its signals leave with the events that settled them
		}
		i := slices.IndexFunc(s.pending, func(sig *api.Signal) bool { return sig.ID == row.Signal.ID })
		m.leave(o, s, s.pending[i])
		s.pending = slices.Delete(slices.Clone(s.pending), i, i+1)
	}
	for _, rec := range a.Terminated {
		for _, x := range m.sessions[rec.ID].approvals {
			o.aside(rec.Org, Mutation{DeleteApproval: x.ID})
		}
		delete(m.asking, rec.ID)
		delete(m.sessions, rec.ID)
		delete(m.waiting, rec.ID)
		o.mutate(rec.Org, Mutation{DeleteSession: rec.ID})
		o.effect(effCollect{org: rec.Org, session: rec.ID}, effNotify{session: rec.ID})
	}
}

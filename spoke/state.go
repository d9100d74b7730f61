package spoke

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/nave-dev/nave/api"
)

// state is everything that the loop owns. Its durable part changes in [state.apply] only.
type state struct {
	positions map[api.Shard]api.Head
	sessions  map[api.SessionID]*session
	outboxes  map[api.SessionID][]*outbox // by source; they outlive their session until the hub has settled them
	bytes     int64                       // of the events and signals that are kept
}

func newState() *state {
	return &state{positions: map[api.Shard]api.Head{}, sessions: map[api.SessionID]*session{}, outboxes: map[api.SessionID][]*outbox{}}
}

// session is one session at this spoke: what is wanted and kept, and what was seen since the program started.
type session struct {
	desired
	observed
}

// desired is the durable part of a session.
type desired struct {
	Session  api.SessionID
	Org      api.OrgID
	Key      string
	Epoch    api.Epoch             // never falls
	Revision *api.ResolvedRevision // fixed for the epoch; nil only with Released
	Raw      []byte                // the revision as it is in the journal
	Released bool                  // to stop; never taken back within an epoch
	Verdict  verdict
	Reason   string // of a refusal, or why the last attempt ended

	Attempt uint32 // the last that was begun in this epoch; only grows, so that no number is used twice
	Ended   bool   // the workload of Attempt is confirmed gone
	Closed  bool   // the log of Attempt has its workload.ended, settled and forgotten here or not

	Inbox    []api.Signal    // unsettled, by sequence; Deliveries is never below what the turn records here say
	Seen     uint64          // highest sequence that was ever in Inbox
	Done     map[uint64]bool // sequences in Inbox that a turn record of this epoch consumed
	TurnOpen bool            // a turn.started without its turn.ended
	Turn     []uint64        // signals of the open turn
	Failed   bool            // the last turn failed: one signal at a time until one succeeds

	Next *wantedRecord // a later epoch; begins when nothing of this one runs any more
}

type verdict string

const (
	undecided verdict = ""
	admitted  verdict = "admitted"
	refused   verdict = "refused"
)

// workload is the id of the present attempt.
func (d *desired) workload() WorkloadID { return WorkloadID{d.Session, d.Epoch, d.Attempt} }

// live reports that the present attempt is not confirmed gone.
func (d *desired) live() bool { return d.Attempt > 0 && !d.Ended }

// stopping reports that nothing of this epoch is to run any more.
func (d *desired) stopping() bool { return d.Released || d.Next != nil }

// working reports that there is something to do or being done.
func (d *desired) working() bool {
	return d.TurnOpen || slices.ContainsFunc(d.Inbox, func(s api.Signal) bool { return !d.Done[s.Sequence] })
}

// deliverable returns the signals that a harness is to work on: not consumed, and not failed too often, which the hub will
// make dead letters.
func (d *desired) deliverable() []api.Signal {
	var out []api.Signal
	for _, s := range d.Inbox {
		if !d.Done[s.Sequence] && (d.Revision == nil || d.Revision.Agent.MaxDeliveries == 0 || int(s.Deliveries) < d.Revision.Agent.MaxDeliveries) {
			out = append(out, s)
		}
	}
	return out
}

// apply makes one change. An error means that the record contradicts the ones before it.
func (st *state) apply(r record) error {
	if p, ok := r.(positionRecord); ok {
		st.positions[p.Position.Shard] = p.Position.Head
		return nil
	}
	if w, ok := r.(wantedRecord); ok {
		return st.applyWanted(w)
	}
	id := sessionOf(r)
	switch r := r.(type) { // an outbox may outlive its session
	case outboxRecord:
		o := st.outbox(r.Session, r.Source)
		o.acked, o.sent = r.Acked, r.Acked
		return nil
	case ackedRecord:
		st.acked(r)
		return nil
	case eventsRecord:
		if err := st.events(r); err != nil {
			return err
		}
		if s := st.sessions[id]; s != nil && s.Epoch == r.Source.Epoch {
			s.turns(r.Events)
		}
		return nil
	}
	s := st.sessions[id]
	if s == nil {
		return fmt.Errorf("%T of session %s, which is not known", r, id)
	}
	switch r := r.(type) {
	case inboxRecord:
		return st.applyInbox(s, r)
	case releasedRecord:
		if s.Next != nil && s.Next.Desired.Epoch == r.Epoch {
			s.Next.Desired.Release = true
			return nil
		}
		s.Released = true
	case verdictRecord:
		s.Verdict, s.Reason = admitted, r.Reason
		if r.Refused {
			s.Verdict = refused
		}
	case attemptRecord:
		if r.Source.Epoch != s.Epoch || r.Source.Attempt <= s.Attempt {
			return fmt.Errorf("attempt %v of session %s after %v/%d", r.Source, id, s.Epoch, s.Attempt)
		}
		s.Attempt, s.Ended, s.Closed = r.Source.Attempt, false, false
	case endedRecord:
		s.Ended, s.Reason = true, r.Reason
		st.clear(id)
	case begunRecord:
		if s.Next == nil || s.Next.Desired.Epoch != r.Epoch {
			return fmt.Errorf("epoch %v of session %s begins and was not waiting", r.Epoch, id)
		}
		st.begin(*s.Next)
	case forgottenRecord:
		st.bytes -= signalBytes(s.Inbox)
		delete(st.sessions, id)
		st.clear(id)
	case turnRecord:
		s.TurnOpen, s.Turn, s.Failed, s.Closed = r.Open, r.Signals, r.Failed, r.Closed
		for _, n := range r.Done {
			s.Done[n] = true
		}
	default:
		return fmt.Errorf("record of type %T is not known", r)
	}
	return nil
}

func (st *state) applyWanted(w wantedRecord) error {
	s := st.sessions[w.Desired.Session]
	if s == nil {
		st.begin(w)
		return nil
	}
	if s.Epoch.Compare(w.Desired.Epoch) >= 0 {
		return fmt.Errorf("epoch %v of session %s after %v", w.Desired.Epoch, s.Session, s.Epoch)
	}
	if s.Next != nil {
		st.bytes -= signalBytes(s.Next.Desired.Signals)
	}
	st.bytes += signalBytes(w.Desired.Signals)
	s.Next = &w
	return nil
}

// begin makes a session at a new epoch. What was observed of an older one says nothing about it, but the workloads that
// were listed and the operations that run: see [observed.renew].
func (st *state) begin(w wantedRecord) {
	d := w.Desired
	s := st.sessions[d.Session]
	if s == nil {
		s = &session{}
		st.sessions[d.Session] = s
		st.bytes += signalBytes(d.Signals)
	} else {
		st.bytes -= signalBytes(s.Inbox)
	}
	s.desired = desired{Session: d.Session, Org: d.Org, Key: d.Key, Epoch: d.Epoch, Revision: d.Revision, Raw: w.Raw, Released: d.Release,
		Inbox: sortSignals(d.Signals), Seen: w.Seen, Done: map[uint64]bool{}}
	for _, sig := range d.Signals {
		s.Seen = max(s.Seen, sig.Sequence)
	}
	s.observed.renew()
	st.clear(d.Session)
}

func (st *state) applyInbox(s *session, r inboxRecord) error {
	inbox, seen := &s.Inbox, &s.Seen
	if r.Epoch != s.Epoch {
		if s.Next == nil || s.Next.Desired.Epoch != r.Epoch {
			return fmt.Errorf("signals for epoch %v of session %s at %v", r.Epoch, s.Session, s.Epoch)
		}
		inbox, seen = &s.Next.Desired.Signals, &s.Next.Seen
	}
	st.bytes -= signalBytes(*inbox)
	kept := slices.DeleteFunc(slices.Clone(*inbox), func(sig api.Signal) bool {
		return slices.Contains(r.Drop, sig.Sequence) || slices.ContainsFunc(r.Put, func(p api.Signal) bool { return p.Sequence == sig.Sequence })
	})
	*inbox = sortSignals(append(kept, r.Put...))
	for _, sig := range r.Put {
		*seen = max(*seen, sig.Sequence)
	}
	st.bytes += signalBytes(*inbox)
	if inbox == &s.Inbox {
		for _, n := range r.Drop {
			delete(s.Done, n)
		}
	}
	return nil
}

// turns follows the turns of the present epoch, and the end of its present attempt.
func (d *desired) turns(events []api.Event) {
	for _, e := range events {
		switch e.Type {
		case api.EventEnded:
			d.Closed = true
		case api.EventTurn:
			d.TurnOpen, d.Turn = true, e.Signals
		case api.EventTurnDone:
			d.TurnOpen, d.Turn = false, nil
			d.Failed = e.Outcome == api.OutcomeFailed || d.Failed && e.Outcome != api.OutcomeDone
			for i := range d.Inbox {
				switch n := d.Inbox[i].Sequence; {
				case !slices.Contains(e.Signals, n):
				case e.Outcome == api.OutcomeDone:
					d.Done[n] = true
				case e.Outcome == api.OutcomeFailed && !d.Done[n]:
					d.Inbox = slices.Clone(d.Inbox) // orders that were told share the slice
					d.Inbox[i].Deliveries++
				}
			}
		}
	}
}

func sessionOf(r record) api.SessionID {
	switch r := r.(type) {
	case wantedRecord:
		return r.Desired.Session
	case inboxRecord:
		return r.Session
	case releasedRecord:
		return r.Session
	case verdictRecord:
		return r.Session
	case attemptRecord:
		return r.Session
	case endedRecord:
		return r.Session
	case eventsRecord:
		return r.Session
	case ackedRecord:
		return r.Session
	case begunRecord:
		return r.Session
	case forgottenRecord:
		return r.Session
	case outboxRecord:
		return r.Session
	case turnRecord:
		return r.Session
	}
	return ""
}

func sortSignals(ss []api.Signal) []api.Signal {
	out := slices.Clone(ss)
	slices.SortFunc(out, func(a, b api.Signal) int { return cmp.Compare(a.Sequence, b.Sequence) })
	return out
}

func signalBytes(ss []api.Signal) int64 {
	n := 0
	for _, s := range ss {
		n += len(s.Payload) + 256
	}
	return int64(n)
}

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
	Lapsed   bool                  // its right to act has ended here: never started again
	Verdict  verdict
	Reason   string // of a refusal, or why the last attempt ended

	Attempt uint32 // the last that was begun in this epoch; only grows, so that no number is used twice
	Ended   bool   // the workload of Attempt is confirmed gone
	Closed  bool   // the log of Attempt has its workload.ended, settled and forgotten here or not

	Inbox []api.Signal // not covered, by sequence; Deliveries is never below what the turn records here say
	Seen  uint64       // highest sequence that was ever in Inbox
	progress

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
func (d *desired) stopping() bool { return d.Released || d.Lapsed || d.Next != nil }

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
		if s := st.sessions[id]; s != nil {
			s.taken(r.Source, r.UpTo)
			st.sweep(s)
		}
		return nil
	case eventsRecord:
		if err := st.events(r); err != nil {
			return err
		}
		if s := st.sessions[id]; s != nil && s.Epoch == r.Source.Epoch {
			s.turns(r)
			st.sweep(s)
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
	case lapsedRecord:
		if r.Epoch != s.Epoch {
			return fmt.Errorf("epoch %v of session %s lapses at %v", r.Epoch, id, s.Epoch)
		}
		s.Lapsed = true
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
		s.Began, s.Number, s.Failure = false, 0, ""
	case endedRecord:
		s.Ended, s.Reason = true, r.Reason
		if r.Failure != "" {
			s.StartFailures++
		}
		if r.Restart {
			s.Failures++
		}
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
		s.progress, s.Closed = r.Progress.clone(), r.Closed
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
		Inbox: sortSignals(d.Signals), Seen: w.Seen, progress: newProgress(d.Checkpoint)}
	for _, sig := range d.Signals {
		s.Seen = max(s.Seen, sig.Sequence)
	}
	s.observed.renew()
	st.clear(d.Session)
}

func (st *state) applyInbox(s *session, r inboxRecord) error {
	if r.Epoch != s.Epoch {
		if s.Next == nil || s.Next.Desired.Epoch != r.Epoch {
			return fmt.Errorf("signals for epoch %v of session %s at %v", r.Epoch, s.Session, s.Epoch)
		}
		st.put(&s.Next.Desired.Signals, &s.Next.Seen, r.Put, r.Drop)
		return nil
	}
	st.put(&s.Inbox, &s.Seen, r.Put, nil)
	for _, sig := range r.Put {
		delete(s.Unlisted, sig.Sequence)
	}
	s.unlist(r.Drop)
	st.sweep(s)
	return nil
}

// put puts signals into an inbox and takes some out.
func (st *state) put(inbox *[]api.Signal, seen *uint64, put []api.Signal, drop []uint64) {
	st.bytes -= signalBytes(*inbox)
	kept := slices.DeleteFunc(slices.Clone(*inbox), func(sig api.Signal) bool {
		return slices.Contains(drop, sig.Sequence) || slices.ContainsFunc(put, func(p api.Signal) bool { return p.Sequence == sig.Sequence })
	})
	*inbox = sortSignals(append(kept, put...))
	for _, sig := range put {
		*seen = max(*seen, sig.Sequence)
	}
	st.bytes += signalBytes(*inbox)
}

func sortSignals(ss []api.Signal) []api.Signal {
	out := slices.Clone(ss)
	slices.SortFunc(out, func(a, b api.Signal) int { return cmp.Compare(a.Sequence, b.Sequence) })
	return out
}

func signalBytes(ss []api.Signal) int64 {
	n := 0
	for _, s := range ss {
		n += len(s.Payload) + 256 + 256*len(s.Origin)
	}
	return int64(n)
}

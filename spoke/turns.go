package spoke

import (
	"maps"
	"slices"

	"github.com/nave-dev/nave/api"
)

// progress is what the events of an epoch say of its signals and of the state directory.
//
// A signal in the inbox is, by what was journaled last:
//
//	the event                                       Done  Since  Uncovered
//	turn.ended, done or cancelled, names it         yes   yes    yes
//	turn.ended with a checkpoint                          no
//	checkpoint.saved                                      no     no
//	state.restored, the one that was wanted, Since  no    no     no         forgotten
//	state.restored, another or none, Uncovered      no    no     no         forgotten
//
// It leaves the inbox when the hub lists it no more, and it is Done and the hub has taken the event that covers it, or when it
// has failed too often. Before the hub has taken that event it may list the signal again, which would begin anew. One that is neither
// stays, listed or not: the hub lists the first ones only, and does not know yet what was forgotten here. From when a signal
// is forgotten until the hub has taken the event that says so, its absence from a list means nothing: the list may be older.
type progress struct {
	Done      map[uint64]bool // sequences in Inbox that a turn record of this epoch consumed
	Uncovered map[uint64]bool // of Done: consumed by turns that Saved does not cover
	Since     map[uint64]bool // of Uncovered: consumed by turns that Latest does not cover either
	Covered   map[uint64]at   // of Done: the checkpoint.saved that covers it, until the hub has taken that
	Unlisted  map[uint64]bool // sequences in Inbox that the hub does not list any more
	Forgotten map[uint64]bool // sequences that were forgotten, until the hub has taken this event of the present epoch:
	ForgotBy  uint32          // its attempt
	ForgotAt  uint64          // its number

	Latest api.CheckpointID // the state after the last turn record; empty: as Saved
	Saved  api.CheckpointID // the last checkpoint in the bucket

	TurnOpen bool     // a turn.started without its turn.ended
	Turn     []uint64 // signals of the open turn
	Failed   bool     // the last turn failed: one signal at a time until one succeeds
	Began    bool     // a turn of the present attempt began
	Number   uint64   // last event of the present attempt

	StartFailures uint32           // starts in a row that failed in this epoch; a turn that ends ends the row
	Failures      uint32           // ends by themselves after a turn began, since a turn succeeded
	Failure       api.StartFailure // that the present attempt's workload.ended names
}

// at is an event of the present epoch.
type at struct {
	Attempt uint32
	Number  uint64
}

func newProgress(saved api.CheckpointID) progress {
	return progress{Saved: saved, Done: map[uint64]bool{}, Uncovered: map[uint64]bool{}, Since: map[uint64]bool{}, Unlisted: map[uint64]bool{},
		Forgotten: map[uint64]bool{}, Covered: map[uint64]at{}}
}

func (p progress) clone() progress {
	for _, m := range []*map[uint64]bool{&p.Done, &p.Uncovered, &p.Since, &p.Unlisted, &p.Forgotten} {
		*m = maps.Clone(*m)
	}
	p.Covered = maps.Clone(p.Covered)
	return p
}

// wanted is the checkpoint that an attempt begins from, if it can be had.
func (p *progress) wanted() api.CheckpointID {
	if p.Latest != "" {
		return p.Latest
	}
	return p.Saved
}

// turns follows the turns of the present epoch, and the end of its present attempt.
func (d *desired) turns(r eventsRecord) {
	if r.Source.Attempt == d.Attempt {
		d.Number = max(d.Number, r.First+uint64(len(r.Events))-1)
	}
	for i, e := range r.Events {
		switch e.Type {
		case api.EventEnded:
			d.Closed, d.Failure = true, api.StartFailure(e.Attributes[api.AttrFailure])
		case api.EventTurn:
			d.TurnOpen, d.Turn, d.Began = true, e.Signals, true
		case api.EventTurnDone:
			d.turnEnded(e)
		case api.EventSaved:
			d.Saved = checkpointOf(e)
			d.Latest = d.Saved
			for n := range d.Uncovered {
				d.Covered[n] = at{r.Source.Attempt, r.First + uint64(i)}
			}
			clear(d.Uncovered)
			clear(d.Since)
		case api.EventState:
			d.forget(e.Signals, r.Source.Attempt, r.First+uint64(i))
			if checkpointOf(e) != d.Latest {
				d.Latest = ""
			}
		}
	}
}

func (d *desired) turnEnded(e api.Event) {
	d.TurnOpen, d.Turn, d.StartFailures = false, nil, 0
	d.Failed = e.Outcome == api.OutcomeFailed || d.Failed && e.Outcome != api.OutcomeDone
	if e.Outcome.Consumes() {
		d.Failures = 0
	}
	for i := range d.Inbox {
		switch n := d.Inbox[i].Sequence; {
		case !slices.Contains(e.Signals, n):
		case e.Outcome.Consumes():
			d.Done[n], d.Uncovered[n], d.Since[n] = true, true, true
		case e.Outcome == api.OutcomeFailed && !d.Done[n]:
			d.Inbox = slices.Clone(d.Inbox) // orders that were told share the slice
			d.Inbox[i].Deliveries++
		}
	}
	if c := checkpointOf(e); c != "" {
		d.Latest = c
		clear(d.Since)
	}
}

// forgets lists the signals whose turns the state that an attempt begins from does not know of.
func (d *desired) forgets(e api.Event) []uint64 {
	if e.Attributes[api.AttrFrom] != stateLost && checkpointOf(e) == d.wanted() {
		return sortedKeys(d.Since)
	}
	return sortedKeys(d.Uncovered)
}

// forget makes signals deliverable again.
func (d *desired) forget(signals []uint64, attempt uint32, number uint64) {
	for _, n := range signals {
		for _, m := range []map[uint64]bool{d.Done, d.Uncovered, d.Since, d.Unlisted} {
			delete(m, n)
		}
		delete(d.Covered, n)
		d.Forgotten[n], d.ForgotBy, d.ForgotAt = true, attempt, number
	}
}

// taken says that the hub has taken the events of a source up to a number.
func (d *desired) taken(s api.Source, upTo uint64) {
	if s.Epoch == d.Epoch {
		maps.DeleteFunc(d.Covered, func(_ uint64, by at) bool { return by.Attempt == s.Attempt && upTo >= by.Number })
	}
	if s.Epoch == d.Epoch && s.Attempt == d.ForgotBy && upTo >= d.ForgotAt {
		clear(d.Forgotten)
		d.ForgotBy, d.ForgotAt = 0, 0
	}
}

// unlist keeps that the hub lists signals no more.
func (d *desired) unlist(drop []uint64) {
	for _, n := range drop {
		if slices.ContainsFunc(d.Inbox, func(s api.Signal) bool { return s.Sequence == n }) {
			d.Unlisted[n] = true
		}
	}
}

// leaves reports that a signal is to leave the inbox.
func (d *desired) leaves(s api.Signal) bool {
	_, awaited := d.Covered[s.Sequence]
	return d.Unlisted[s.Sequence] && !d.Uncovered[s.Sequence] && !awaited && (d.Done[s.Sequence] || d.exhausted(s))
}

// exhausted reports that a signal has failed too often: the hub makes it a dead letter.
func (d *desired) exhausted(s api.Signal) bool {
	return d.Revision == nil || d.Revision.Agent.MaxDeliveries > 0 && int(s.Deliveries) >= d.Revision.Agent.MaxDeliveries
}

// sweep lets signals leave the inbox.
func (st *state) sweep(s *session) {
	if !slices.ContainsFunc(s.Inbox, s.leaves) {
		return
	}
	st.bytes -= signalBytes(s.Inbox)
	s.Inbox = slices.DeleteFunc(slices.Clone(s.Inbox), s.leaves)
	st.bytes += signalBytes(s.Inbox)
	left := func(n uint64, _ bool) bool {
		return !slices.ContainsFunc(s.Inbox, func(sig api.Signal) bool { return sig.Sequence == n })
	}
	maps.DeleteFunc(s.Done, left)
	maps.DeleteFunc(s.Unlisted, left)
	maps.DeleteFunc(s.Covered, func(n uint64, _ at) bool { return left(n, true) })
}

// working reports that there is something to do or being done.
func (d *desired) working() bool {
	return d.TurnOpen || slices.ContainsFunc(d.Inbox, func(s api.Signal) bool { return !d.Done[s.Sequence] })
}

// deliverable returns the signals that a harness is to work on: not consumed, and not failed too often, which the hub will
// make dead letters.
func (d *desired) deliverable() []api.Signal {
	var out []api.Signal
	for _, s := range d.Inbox {
		if !d.Done[s.Sequence] && (d.Revision == nil || !d.exhausted(s)) {
			out = append(out, s)
		}
	}
	return out
}

package spoke

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nave-dev/nave/api"
)

// Times of [plan].
const (
	stopGrace      = 30 * time.Second // what a workload gets to end by itself
	stopAgain      = 10 * time.Second // a workload that exists still is asked again this long after the last time
	powerlessAfter = 2 * time.Second  // the clock of another machine may be slower than this one's by so much within a lease
	lingerTime     = 5 * time.Second  // how long the last words of an ended workload may take while its harness is connected
)

// action is something to be done. The loop does what plan decided in its order: changes are journaled first.
type action interface{ action() }

type (
	change struct{ Record record }     // to be journaled
	start  struct{ Spec WorkloadSpec } // the attempt's record is before it
	stop   struct {
		ID     WorkloadID
		Grace  time.Duration
		Traces bool // it has ended: what is left of it is to be removed
	}
	// end closes an attempt whose workload is confirmed gone: the loop adds the events that the harness could not report any
	// more. Outcome is that of a turn that was open.
	end struct {
		ID      WorkloadID
		Reason  string
		Outcome api.Outcome
		Failure api.StartFailure // it counts as a failed start
		Restart bool             // it counts for the pause before the next attempt
	}
	linger struct{ ID WorkloadID } // ended, its harness is connected still
	tell   struct {
		ID     WorkloadID
		Orders Orders
	}
	lease struct {
		ID    WorkloadID
		Until time.Duration
	}
	busy struct {
		ID   WorkloadID
		Turn bool // a turn runs
	}
	report struct{ Held api.Held }
	forget struct{ Record forgottenRecord } // after Gone is queued
)

func (change) action() {}
func (start) action()  {}
func (stop) action()   {}
func (end) action()    {}
func (linger) action() {}
func (tell) action()   {}
func (lease) action()  {}
func (busy) action()   {}
func (report) action() {}
func (forget) action() {}

// plan says what to do for one session now. It is a function of its arguments and changes nothing. After changes it is
// called again.
//
// While the runtime's list is unknown nothing is started or stopped: absence is not evidence.
func plan(d *desired, o *observed, now time.Duration) []action {
	if lapses(d, o, now) {
		return []action{change{lapsedRecord{d.Session, d.Epoch}}}
	}
	if as := planVerdict(d, o); as != nil {
		return as
	}
	var as []action
	if as = planEnd(d, o, now); as != nil {
		return as
	}
	as = append(as, planStop(d, o, now)...)
	if d.stopping() && gone(d, o) {
		if d.Next != nil {
			return append(as, change{begunRecord{d.Session, d.Next.Desired.Epoch}})
		}
		return append(as, planGone(d, o)...)
	}
	if mayStart(d, o, now) {
		id := WorkloadID{d.Session, d.Epoch, d.Attempt + 1}
		as = append(as, change{attemptRecord{d.Session, id.Source()}},
			start{WorkloadSpec{ID: id, Org: d.Org, Key: d.Key, Revision: d.Revision, State: stateOf(d)}})
		return as
	}
	if d.live() {
		if until, ok := leaseOf(d, o, now); ok && until != o.Leased {
			as = append(as, lease{d.workload(), until})
		}
		if orders := ordersOf(d, o); o.Told == nil || !sameOrders(still(d, *o.Told), orders) {
			as = append(as, tell{d.workload(), orders})
		}
		if !o.Turned || d.TurnOpen != o.TurnTold {
			as = append(as, busy{d.workload(), d.TurnOpen})
		}
	}
	if held, ok := heldOf(d, o, now); ok && o.Connected && (o.Reported == nil || !sameHeld(*o.Reported, held)) { // Number is for a hello alone
		as = append(as, report{held})
	}
	return as
}

// planVerdict admits or refuses: the spoke is the last word on its own capacity.
func planVerdict(d *desired, o *observed) []action {
	if d.Verdict != undecided || d.stopping() {
		return nil
	}
	refuse := func(reason string) []action {
		return []action{change{verdictRecord{d.Session, d.Epoch, true, reason}}}
	}
	switch {
	case d.Revision == nil:
		return refuse("the revision is not known here: the spoke lost its memory of the session")
	case o.Refusal != "":
		return refuse(o.Refusal)
	case !o.RoomSeen:
		return nil
	case o.Room <= 0:
		return refuse(fmt.Sprintf("no room for flavor %q", flavorOf(d.Revision)))
	}
	return []action{change{verdictRecord{d.Session, d.Epoch, false, ""}}}
}

// planEnd closes the present attempt when its workload is confirmed gone.
func planEnd(d *desired, o *observed, now time.Duration) []action {
	if !d.live() || o.Starting {
		return nil
	}
	e := end{ID: d.workload(), Outcome: api.OutcomeFailed}
	w, exists := find(o.Listed, d.workload())
	if _, asked := o.Stops[d.workload()]; d.stopping() || asked || o.Withdrawn {
		e.Outcome = api.OutcomeCut
	} else {
		e.Failure, e.Restart = count(d, o, w)
	}
	switch {
	case o.StartErr != "":
		e.Reason = o.StartErr
		return []action{e}
	case !o.Known:
		return nil
	case exists && w.State == WorkloadEnded:
		e.Reason = w.Exit
		e.disrupted(w.Disrupted, d.Began)
	case exists && w.State == WorkloadLost && powerless(d, o, now):
		e.Reason = cmp.Or(w.Exit, "what the workload ran on does not answer any more")
		e.disrupted(true, true)
	case !exists && o.List > o.Evidence:
		e.Reason = "the workload does not exist any more"
	default:
		return nil
	}
	if o.Attached && !o.EndSeen {
		return []action{linger{d.workload()}}
	}
	if o.Attached && now < o.EndedAt+lingerTime {
		return nil
	}
	return []action{e}
}

// disrupted makes the end one that the agent has no part in: it counts for the pause before the next attempt alone, or as a
// failed start where the runtime says so and no turn had begun.
func (e *end) disrupted(is, began bool) {
	if !is || e.Outcome != api.OutcomeFailed {
		return
	}
	if e.Outcome = api.OutcomeCut; began || e.Failure == api.StartFailureCrash {
		e.Failure = ""
	}
	e.Restart = e.Failure == ""
}

// powerless reports that the agent of the present attempt cannot act any more, wherever it is: its harness is not connected, and
// what it was last told of its lease is over. Of an agent that may go on for ever nobody can tell.
func powerless(d *desired, o *observed, now time.Duration) bool {
	_, ends := stopAfter(d)
	return ends && !o.Attached && now >= o.AskedAt+askWithin && (o.Holds == 0 || o.Holds < LeaseForever-powerlessAfter && now >= o.Holds+powerlessAfter)
}

// over reports that a workload other than the present attempt acts no more. A lost one of this epoch had no power left when its
// attempt was closed, and its harness is not let in again; one that the journal does not know may hold a lease for as long as a
// spoke before this one can have given it.
func over(d *desired, o *observed, w Workload, now time.Duration) bool {
	if w.State != WorkloadLost || w.ID.Epoch == d.Epoch && w.ID.Attempt <= d.Attempt {
		return w.State != WorkloadRunning
	}
	after, ends := stopAfter(d)
	return ends && now >= o.Since+after+powerlessAfter
}

// planStop stops every workload of the session that is not the present attempt, and that one when the session is to stop or
// its harness is frozen.
// Ended ones are stopped too: it removes their traces.
func planStop(d *desired, o *observed, now time.Duration) []action {
	if !o.Known || o.Starting {
		return nil
	}
	var as []action
	for _, w := range sortWorkloads(o.Listed) {
		if d.live() && w.ID == d.workload() && (!d.stopping() && !frozen(d, o, now) || w.State == WorkloadEnded) {
			continue
		}
		grace := graceOf(d, o, w.ID, now)
		if c, ok := o.Stops[w.ID]; ok && !c.again(w, grace, now) {
			continue
		}
		as = append(as, stop{w.ID, grace, w.State == WorkloadEnded})
	}
	return as
}

// gone reports that nothing of the session runs here: a list that began after every operation returned is without it, or
// with what is lost alone.
func gone(d *desired, o *observed) bool {
	return !d.live() && o.Known && o.List > o.Evidence && !o.Starting && !stopRuns(o) &&
		!slices.ContainsFunc(o.Listed, func(w Workload) bool { return w.State != WorkloadLost })
}

func stopRuns(o *observed) bool {
	for _, c := range o.Stops {
		if c.Running {
			return true
		}
	}
	return false
}

// mayStart reports that the next attempt may begin: there is the right, the time has come, no workload of the session runs, and
// there is work: signals, or turns that no durable checkpoint covers.
func mayStart(d *desired, o *observed, now time.Duration) bool {
	return d.Verdict == admitted && !d.stopping() && !d.live() && !o.Starting &&
		o.Known && o.List > o.Evidence && !slices.ContainsFunc(o.Listed, func(w Workload) bool { return !over(d, o, w, now) }) &&
		now >= o.RetryAt && mayAct(d, o, now) && (len(d.Uncovered) > 0 || len(d.deliverable()) > 0)
}

// stateOf says which state an attempt begins from.
func stateOf(d *desired) api.StateWant {
	a := d.Revision.Agent.WithDefaults()
	return api.StateWant{Latest: d.Latest, Saved: d.Saved, OnLoss: a.OnStateLoss, Mode: a.Checkpoint.Mode, Interval: a.Checkpoint.Interval}
}

func ordersOf(d *desired, o *observed) Orders {
	signals := d.deliverable()
	return Orders{Signals: signals, Single: d.Failed || len(signals) > 0 && signals[0].Deliveries > 0, Stop: d.stopping(),
		Cancelled: o.Said.Cancelled, Answers: o.Said.Answers}
}

// still is what orders that were told say to a harness that has consumed signals since: it knows that itself.
func still(d *desired, told Orders) Orders {
	told.Signals = slices.DeleteFunc(slices.Clone(told.Signals), func(s api.Signal) bool { return d.Done[s.Sequence] })
	return told
}

func sameOrders(a, b Orders) bool {
	return a.Single == b.Single && a.Stop == b.Stop && a.Cancelled == b.Cancelled && slices.Equal(a.Answers, b.Answers) &&
		slices.EqualFunc(a.Signals, b.Signals, func(x, y api.Signal) bool {
			return x.ID == y.ID && x.Sequence == y.Sequence && x.Deliveries == y.Deliveries
		})
}

// due returns when plan may decide otherwise without anything happening; 0 when it will not.
func due(d *desired, o *observed, now time.Duration) time.Duration {
	var at time.Duration
	consider := func(t time.Duration) {
		if t > now && (at == 0 || t < at) {
			at = t
		}
	}
	if d.Verdict == admitted && !d.stopping() {
		if !d.working() {
			consider(o.IdleAt + d.Revision.Agent.IdleTimeout)
		}
		if !d.live() {
			consider(o.RetryAt)
		}
	}
	if at, ends := lapseAt(d, o); ends && !d.Lapsed && (!d.stopping() || d.live()) {
		consider(at)
	}
	if d.live() && o.Holds > 0 && o.Holds != LeaseForever {
		consider(max(o.Holds, o.AskedAt+askWithin))
		consider(max(o.Holds+powerlessAfter, o.AskedAt+askWithin))
	}
	if o.EndSeen && o.Attached {
		consider(o.EndedAt + lingerTime)
	}
	for _, c := range o.Stops {
		consider(c.At + stopAgain)
	}
	return at
}

// planOrphans stops workloads of sessions that are not known here, of shards that the hub has spoken about since the
// program started: its word is what makes them unwanted, not that the journal does not name them.
func planOrphans(listed map[api.SessionID][]Workload, known func(api.SessionID) bool, heard func(api.Shard) bool, stops map[WorkloadID]stopCall, now time.Duration) []stop {
	var out []stop
	for _, id := range slices.Sorted(maps.Keys(listed)) {
		shard, err := id.Shard()
		if err != nil || known(id) || !heard(shard) {
			continue
		}
		for _, w := range sortWorkloads(listed[id]) {
			if c, ok := stops[w.ID]; !ok || c.again(w, stopGrace, now) {
				out = append(out, stop{w.ID, stopGrace, w.State == WorkloadEnded})
			}
		}
	}
	return out
}

func sortWorkloads(ws []Workload) []Workload {
	return slices.SortedFunc(slices.Values(ws), func(a, b Workload) int {
		if c := a.ID.Epoch.Compare(b.ID.Epoch); c != 0 {
			return c
		}
		return int(a.ID.Attempt) - int(b.ID.Attempt)
	})
}

func flavorOf(r *api.ResolvedRevision) string {
	if r == nil || r.Environment == nil || r.Environment.Flavor == "" {
		return api.DefaultFlavor
	}
	return r.Environment.Flavor
}

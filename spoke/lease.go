package spoke

import (
	"slices"
	"time"

	"github.com/nave-dev/nave/api"
)

// Times of the right to act.
const (
	tickEvery   = 500 * time.Millisecond // the loop looks at the clock at least so often
	clockJump   = 5 * time.Second        // between two looks: the process was frozen, or the machine slept
	mostBudget  = 10 * time.Second       // of the time to stop in; a quarter of stop_after when that is less
	askWithin   = 3 * time.Second        // a harness asks for its lease more often than that
	frozenGrace = time.Second            // what a workload gets to end whose harness does not ask any more
)

// right is what the hub's answers let this process do. It is of this process alone and never stored.
//
// What it means for an epoch with a stop_after of S and the budget b = min(10 s, S/4), g being when the last answered
// heartbeat was sent:
//
//	the epoch                         heartbeat answered  attempts start      harness's lease ends  the epoch lapses
//	named by the hub in this process  yes                 until g + S - b     g + S - b/2           g + S - b
//	named, nothing of it begun here   none since h        no                  none                  h + S - b
//	held since an earlier process     yes, not named yet  no                  as it is              g + S - b
//	held since an earlier process     none                no                  as it is              start + S - b
//	any                               the clock jumped    no, until renewed   as it is              as above
//	stop_after: never                 any                 always              never                 never
//
// h is when the connection began on which the epoch came: the hub takes the cluster's lease before it answers a hello. Start
// is that of this process: what was granted to an earlier one was sent before.
type right struct {
	Given   bool          // a heartbeat of this process was answered
	Granted time.Duration // when it was sent: the latest
	Held    bool          // the clock jumped: nothing is started or prolonged until a heartbeat sent after Before is answered
	Before  time.Duration // the last look before the jump
}

// renewed is the right after the answer to a heartbeat.
func (r right) renewed(sent time.Duration) right {
	r.Granted, r.Given = max(r.Granted, sent), true
	if sent > r.Before {
		r.Held = false
	}
	return r
}

// looked is the right after a look at the clock.
func (r right) looked(last, now time.Duration) right {
	if now-last > clockJump {
		r.Held, r.Before = true, last
	}
	return r
}

// stopAfter is how long the session may go on without the hub; false: for ever.
func stopAfter(d *desired) (time.Duration, bool) {
	if d.Revision == nil || d.Revision.Agent == nil {
		return 0, false
	}
	s := d.Revision.Agent.StopAfter
	if s == 0 {
		s = d.Revision.Agent.WithDefaults().StopAfter
	}
	return s, s != api.StopNever
}

// budget is the part of stop_after that stopping may take.
func budget(stopAfter time.Duration) time.Duration { return min(mostBudget, stopAfter/4) }

// lapseAt is when the epoch's right ends here, so that stopping must begin; false: never.
func lapseAt(d *desired, o *observed) (time.Duration, bool) {
	after, ends := stopAfter(d)
	from := o.Since
	if o.Right.Given && (o.Begun || o.Right.Granted > from) {
		from = o.Right.Granted
	}
	return from + after - budget(after), ends
}

// lapses reports that the epoch's right ends now. A refused one has none, and one that is stopped and not live needs none.
func lapses(d *desired, o *observed, now time.Duration) bool {
	if d.Lapsed || d.Verdict == refused || d.stopping() && !d.live() {
		return false
	}
	at, ends := lapseAt(d, o)
	return ends && now >= at
}

// nextLapses reports the same of the epoch that waits: what the hub said of it is too old to begin it by.
func nextLapses(d *desired, o *observed, now time.Duration) bool {
	if d.Next == nil || !o.NextConfirmed {
		return false
	}
	after, ends := stopAfter(&desired{Revision: d.Next.Desired.Revision})
	from := o.NextSince
	if o.Right.Given {
		from = max(from, o.Right.Granted)
	}
	return ends && now >= from+after-budget(after)
}

// mayAct reports that an attempt of the epoch may begin.
func mayAct(d *desired, o *observed, now time.Duration) bool {
	after, ends := stopAfter(d)
	return !ends || o.Confirmed && o.Right.Given && !o.Right.Held && now < o.Right.Granted+after-budget(after)
}

// leaseOf is until when the agent of the present attempt may act; false: what was said stands.
func leaseOf(d *desired, o *observed, now time.Duration) (time.Duration, bool) {
	after, ends := stopAfter(d)
	switch {
	case !d.live() || d.Lapsed || !mayAct(d, o, now):
		return 0, false
	case !ends:
		return LeaseForever, true
	}
	return o.Right.Granted + after - budget(after)/2, true
}

// frozen reports that the present attempt's harness asks no more for its lease though the last one has ended: it stands
// still, or it is cut off, and its agent may not know that its time is over.
func frozen(d *desired, o *observed, now time.Duration) bool {
	return d.live() && o.Holds > 0 && now >= o.Holds && now >= o.AskedAt+askWithin
}

// graceOf is what a workload that is stopped gets to end by itself.
func graceOf(d *desired, o *observed, id WorkloadID, now time.Duration) time.Duration {
	after, _ := stopAfter(d)
	switch {
	case id == d.workload() && frozen(d, o, now):
		return frozenGrace
	case d.Lapsed:
		return budget(after) / 2
	}
	return stopGrace
}

// inherit begins what this process knows of a session that an earlier one held.
func (l *loop) inherit(s *session) {
	s.Since, s.NextSince = l.began, l.began
	s.RetryAt = l.began + resumePause(&s.desired)
	if after, ends := stopAfter(&s.desired); ends && s.live() {
		s.Holds = l.began + after
	}
}

// confirm keeps that the hub named an epoch of a session.
func (l *loop) confirm(s *session, d api.Desired, records []record) {
	fresh := slices.ContainsFunc(records, func(r record) bool {
		w, ok := r.(wantedRecord)
		return ok && w.Desired.Session == d.Session && w.Desired.Epoch == d.Epoch
	})
	of := said{d.Cancelled, d.Answers}
	switch {
	case s.Epoch == d.Epoch:
		if !d.Release { // which says nothing else
			s.Said = of
		}
		if s.Confirmed = true; fresh {
			s.Since = l.helloAt
		}
		if d.Release { // the hub repeats what it did not hear the answer to
			s.Reported = nil
		}
	case s.Next != nil && s.Next.Desired.Epoch == d.Epoch:
		if s.NextSaid = of; fresh || !s.NextConfirmed {
			s.NextConfirmed, s.NextSince = true, l.helloAt
		}
	}
	l.touch(d.Session)
}

// renewed takes the answer to a heartbeat. What has lapsed by the one before stays so.
func (l *loop) renewed(sent time.Duration) {
	for _, id := range sortedKeys(l.st.sessions) {
		s := l.st.sessions[id]
		s.Right = l.right
		if lapses(&s.desired, &s.observed, l.now) {
			l.change(lapsedRecord{id, s.Epoch})
		}
		if nextLapses(&s.desired, &s.observed, l.now) {
			s.NextConfirmed = false // until the hub names it again
		}
	}
	l.right = l.right.renewed(min(sent, l.now))
	l.touchAll()
}

// askDoor keeps when harnesses asked for their leases.
func (l *loop) askDoor() {
	if l.now < l.asked+tickEvery {
		return
	}
	l.asked = l.now
	for id, s := range l.st.sessions {
		if !s.live() {
			continue
		}
		at, until := l.cfg.Door.Asked(s.workload())
		s.AskedAt, s.Holds = max(s.AskedAt, at), max(s.Holds, until)
		if frozen(&s.desired, &s.observed, l.now) {
			l.touch(id)
		}
	}
}

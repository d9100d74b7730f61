package spoke

import (
	"time"

	"github.com/nave-dev/nave/api"
)

// observed is what this process saw of a session. A restart begins it anew. Times are of the boot-time clock.
type observed struct {
	// Of the last list of the runtime that succeeded, set before each plan.
	Known  bool       // the last list succeeded; while it is false nothing is started or stopped
	List   uint64     // number of that list, given when it began
	Listed []Workload // of this session, of any epoch and attempt

	// Evidence is the number of the last list that had begun when an operation on a workload of the session returned: only a
	// later list can tell that something does not exist.
	Evidence  uint64
	Starting  bool                    // Start of the present attempt has not returned
	StartErr  string                  // Start of the present attempt returned this: nothing runs
	Withdrawn bool                    // StartErr is of ours: the runtime was not asked
	Stops     map[WorkloadID]stopCall // asked of the runtime, until a list is without the workload

	Attached bool // the harness of the present attempt is connected
	Heard    bool // it was, at least once
	EndedAt  time.Duration
	EndSeen  bool // EndedAt holds: the workload was first listed as ended, and its harness was still connected

	RetryAt time.Duration // not before this the next attempt
	Busy    bool          // there was work at the last look
	IdleAt  time.Duration // since when there is none

	// The right to act: see [right].
	Right         right
	Since         time.Duration // when the connection began on which the epoch came, or this process if that held it at its start
	Confirmed     bool          // the hub named the epoch in this process
	Begun         bool          // this process began an attempt of the epoch
	NextSince     time.Duration // the same of the epoch that waits
	NextConfirmed bool
	Leased        time.Duration // told to the door for the present attempt
	Holds         time.Duration // until when its harness was told at most that its agent may act; 0: not that we know
	AskedAt       time.Duration // when it asked last

	Said     said // what the hub said last of the present epoch
	NextSaid said // and of the one that waits

	Refusal  string // what the runtime says that it cannot honour
	Room     int    // workloads of the flavor that fit still
	RoomSeen bool   // the capacity is known

	Connected bool      // to the hub
	Sent      bool      // every event is queued on the present connection
	Reported  *api.Held // queued on the present connection
	Told      *Orders   // given to the door for the present attempt
	Turned    bool      // the runtime was told whether a turn of the present attempt runs
	TurnTold  bool      // what it was told
}

// said is what the hub tells of a session's epoch besides its signals. It is a level: each update that names the epoch
// replaces it. It is not journaled, because the hub says it anew with each connection.
type said struct {
	Cancelled api.Cancellation
	Answers   []api.ApprovalAnswer
}

type stopCall struct {
	Running bool // Stop has not returned
	Traces  bool // it was for what an ended workload left
	At      time.Duration
	By      time.Duration // when what runs still is killed
}

// again reports that a workload that exists still is to be stopped once more: it takes its time, only traces of it are left,
// or it has less time than it was given.
func (c stopCall) again(w Workload, grace, now time.Duration) bool {
	return !c.Running && (now >= c.At+stopAgain || w.State == WorkloadEnded && !c.Traces || w.State == WorkloadRunning && now+grace < c.By)
}

// renew forgets what is of one epoch and keeps what is of the session's workloads.
func (o *observed) renew() {
	*o = observed{Known: o.Known, List: o.List, Listed: o.Listed, Evidence: o.Evidence, Stops: o.Stops, Connected: o.Connected,
		Right: o.Right, Since: o.NextSince, Confirmed: o.NextConfirmed, Said: o.NextSaid}
}

// note keeps since when there is no work. It is called after every change.
func (s *session) note(now time.Duration) {
	working := s.working()
	if !working && s.Busy || s.IdleAt == 0 {
		s.IdleAt = max(now, 1)
	}
	s.Busy = working
}

// did keeps what an action that plan decided makes of the observed part.
func (s *session) did(a action, now time.Duration) {
	switch a := a.(type) {
	case start:
		s.fresh()
		s.Starting, s.Begun = true, true
	case stop:
		if s.Stops == nil {
			s.Stops = map[WorkloadID]stopCall{}
		}
		c := stopCall{Running: true, Traces: a.Traces, At: now, By: now + a.Grace}
		if old, ok := s.Stops[a.ID]; ok {
			c.By = min(c.By, old.By)
		}
		s.Stops[a.ID] = c
	case end:
		s.fresh()
		if pause := retryPause(&s.desired, a); pause > 0 || a.Outcome == api.OutcomeFailed {
			s.RetryAt = now + pause
		}
	case linger:
		s.EndSeen, s.EndedAt = true, now
	case tell:
		s.Told = &a.Orders
	case lease:
		s.Leased = a.Until
	case busy:
		s.Turned, s.TurnTold = true, a.Turn
	case report:
		s.Reported = &a.Held
	}
}

// fresh forgets what is of one attempt.
func (o *observed) fresh() {
	o.StartErr, o.Withdrawn, o.Attached, o.Heard, o.EndSeen, o.Told = "", false, false, false, false, nil
	o.Leased, o.Holds, o.AskedAt, o.Turned, o.TurnTold = 0, 0, 0, false, false
}

// started keeps the outcome of Start.
func (s *session) started(id WorkloadID, list uint64, err error) {
	if s.workload() != id {
		return
	}
	s.Starting, s.Evidence = false, max(s.Evidence, list)
	if err != nil {
		s.StartErr = err.Error()
	}
}

// stopped keeps the outcome of Stop. After an error it is asked again later.
func (s *session) stopped(id WorkloadID, list uint64) {
	if c, ok := s.Stops[id]; ok {
		c.Running = false
		s.Stops[id] = c
	}
	s.Evidence = max(s.Evidence, list)
}

// listed keeps what a list says.
func (s *session) listed(list uint64, known bool, of []Workload) {
	s.Known = known
	if !known {
		return
	}
	s.List, s.Listed = list, of
	for id, c := range s.Stops {
		if _, ok := find(of, id); !ok && !c.Running && list > s.Evidence {
			delete(s.Stops, id)
		}
	}
}

func find(ws []Workload, id WorkloadID) (Workload, bool) {
	for _, w := range ws {
		if w.ID == id {
			return w, true
		}
	}
	return Workload{}, false
}

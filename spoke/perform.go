package spoke

import (
	"slices"

	"github.com/nave-dev/nave/api"
)

// planAll plans the sessions that were touched, in a fixed order: admission depends on it.
func (l *loop) planAll() {
	ids := sortedKeys(l.dirty)
	clear(l.dirty)
	for _, id := range ids {
		for range 16 {
			if !l.planOne(id) {
				break
			}
		}
		delete(l.dirty, id)
		if s := l.st.sessions[id]; s != nil {
			if at := due(&s.desired, &s.observed, l.now); at > 0 && (l.wake == 0 || at < l.wake) {
				l.wake = at
			}
		}
	}
}

// planOne plans one session and takes the actions over; true when they changed it, so that it is to be planned again.
func (l *loop) planOne(id api.SessionID) (again bool) {
	s := l.st.sessions[id]
	if s == nil {
		return false
	}
	l.see(s)
	for _, a := range plan(&s.desired, &s.observed, l.now) {
		s.did(a, l.now)
		switch a := a.(type) {
		case change:
			before := s.Epoch
			l.change(a.Record)
			if s.Epoch != before {
				l.check(s)
			}
			again = true
		case end:
			l.end(s, a)
			again = true
		case start:
			l.metrics.attempts.Inc()
			l.log.Info("workload starts", "workload", a.Spec.ID.String(), "agent", a.Spec.Revision.AgentName)
			l.effects = append(l.effects, func() { l.queue = append(l.queue, Call{Start: &a.Spec}) })
			again = true // its orders
		case stop:
			l.log.Info("workload stops", "workload", a.ID.String())
			l.effects = append(l.effects, func() { l.queue = append(l.queue, Call{Stop: a.ID, Grace: a.Grace}) })
		case tell:
			l.effects = append(l.effects, func() { l.cfg.Door.Tell(a.ID, a.Orders) })
		case lease:
			l.effects = append(l.effects, func() { l.cfg.Door.Lease(a.ID, a.Until) })
		case busy:
			if r, ok := l.cfg.Runtime.(Disruptable); ok {
				l.effects = append(l.effects, func() { r.Busy(a.ID, a.Turn) })
			}
		case report:
			l.held = append(l.held, a.Held)
		case forget:
			if !slices.ContainsFunc(l.held, func(h api.Held) bool { return h.Session == id }) { // it is queued already
				l.change(a.Record)
			}
		}
	}
	return again
}

// see sets what plan is to see of what the sessions share.
func (l *loop) see(s *session) {
	s.listed(l.lastList, l.known, l.listed[s.Session])
	s.Right = l.right
	s.Connected, s.Sent = l.connected, l.st.allSent(s.Session)
	s.RoomSeen = l.capacity != nil
	if s.RoomSeen && s.Verdict == undecided {
		s.Room = l.room(flavorOf(s.Revision))
		if l.st.bytes > l.cfg.MaxKept {
			s.Room = 0
		}
	}
}

// room is how many sessions of a flavor can be admitted still. A session holds its place until it is gone, whether its
// workload runs or not; one that lapsed and is gone waits for the hub's word alone.
func (l *loop) room(flavor string) int {
	room := 0
	for _, f := range l.capacity.Flavors {
		if f.Flavor == flavor {
			room = f.Total
		}
	}
	return room - l.used(flavor)
}

func (l *loop) used(flavor string) int {
	n := 0
	for _, s := range l.st.sessions {
		if s.Verdict == admitted && (s.live() || !s.Lapsed) && flavorOf(s.Revision) == flavor {
			n++
		}
	}
	return n
}

// end adds what the harness could not report any more, numbered after its last event, and journals that the attempt is over.
func (l *loop) end(s *session, a end) {
	var events []api.Event
	event := func(e api.Event) {
		e.Session, e.Source, e.Time = s.Session, a.ID.Source(), l.cfg.Wall().UTC()
		events = append(events, e)
	}
	if s.TurnOpen {
		event(api.Event{Type: api.EventTurnDone, Outcome: a.Outcome, Signals: s.Turn, Text: "the workload ended during the turn: " + a.Reason})
	}
	first := uint64(1)
	if o := l.st.find(s.Session, a.ID.Source()); o != nil {
		first = o.last() + 1
	}
	if !s.Closed {
		e := api.Event{Type: api.EventEnded, Text: a.Reason}
		if a.Failure != "" {
			e.Attributes = map[string]string{api.AttrFailure: string(a.Failure)}
		}
		event(e)
	}
	for i := range events {
		events[i].SourceNumber = first + uint64(i)
	}
	if len(events) > 0 {
		l.change(eventsRecord{s.Session, a.ID.Source(), first, events})
	}
	reason := a.Reason
	if a.Outcome == api.OutcomeCut && !a.Restart {
		reason = ""
	}
	l.change(endedRecord{s.Session, a.ID.Source(), reason, a.Failure, a.Restart})
	l.log.Info("workload ended", "workload", a.ID.String(), "reason", a.Reason, "start_failures", s.StartFailures, "failures", s.Failures)
	l.effects = append(l.effects, func() { l.cfg.Door.Forget(a.ID) })
}

// dispatch hands out operations as far as workers are free, and begins a list when it is time. A start that its session has
// no right to any more is withdrawn.
func (l *loop) dispatch() {
	for len(l.queue) > 0 && l.free > 0 {
		c := l.queue[0]
		l.queue = l.queue[1:]
		if c.Start != nil && !l.wants(c.Start.ID) {
			l.withdraw(c.Start.ID)
			continue
		}
		l.calls = append(l.calls, c)
		l.free--
	}
	if !l.listing && l.now >= l.listAt {
		l.listing = true
		l.lists++
		l.calls = append(l.calls, Call{List: l.lists})
	}
}

func (l *loop) wants(id WorkloadID) bool {
	s, err := l.present(id)
	return err == nil && !s.stopping() && mayAct(&s.desired, &s.observed, l.now)
}

func (l *loop) withdraw(id WorkloadID) {
	if s, err := l.present(id); err == nil {
		s.Starting, s.StartErr, s.Withdrawn = false, "it was withdrawn before it began", true
		l.touch(id.Session)
	}
}

// did takes the outcome of an operation.
func (l *loop) did(c Call, err error) {
	l.free++
	id := c.workload()
	if err != nil {
		l.log.Warn("operation of the runtime", "workload", id.String(), "start", c.Start != nil, "error", err)
	}
	l.listAt = min(l.listAt, l.now+observeSoon)
	if o, ok := l.orphans[id]; ok {
		o.Running = false
		l.orphans[id] = o
	}
	s := l.st.sessions[id.Session]
	if s == nil {
		return
	}
	if c.Start != nil {
		s.started(id, l.lists, err)
	} else {
		s.stopped(id, l.lists)
	}
	l.touch(id.Session)
}

// list takes a list of the runtime.
func (l *loop) list(n uint64, list []Workload, err error) {
	l.listing = false
	l.listAt = l.now + l.cfg.ObserveEvery
	l.known = err == nil
	if err != nil {
		l.log.Warn("list of the runtime is unknown", "error", err)
	} else {
		l.lastList = n
		l.listed = map[api.SessionID][]Workload{}
		for _, w := range list {
			l.listed[w.ID.Session] = append(l.listed[w.ID.Session], w)
		}
		l.stopOrphans()
	}
	l.touchAll()
	for _, s := range l.st.sessions {
		if s.stopping() || s.Starting || len(s.Stops) > 0 {
			l.listAt = min(l.listAt, l.now+observeSoon)
		}
	}
}

func (l *loop) stopOrphans() {
	for id := range l.orphans {
		if _, ok := find(l.listed[id.Session], id); !ok && !l.orphans[id].Running {
			delete(l.orphans, id)
		}
	}
	known := func(id api.SessionID) bool { return l.st.sessions[id] != nil }
	heard := func(shard api.Shard) bool { return l.heard[shard] }
	for _, a := range planOrphans(l.listed, known, heard, l.orphans, l.now) {
		l.log.Warn("workload that nobody wants is stopped", "workload", a.ID.String())
		l.orphans[a.ID] = stopCall{Running: true, Traces: a.Traces, At: l.now, By: l.now + a.Grace}
		l.effects = append(l.effects, func() { l.queue = append(l.queue, Call{Stop: a.ID, Grace: a.Grace}) })
	}
}

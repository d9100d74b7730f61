package spoke

import (
	"context"
	"slices"
	"time"

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
	l.look(s)
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
			l.s.metrics.attempts.Inc()
			l.log.Info("workload starts", "workload", a.Spec.ID.String(), "agent", a.Spec.Revision.AgentName)
			l.effects = append(l.effects, func() { l.queue = append(l.queue, op{start: &a.Spec}) })
			again = true // its orders
		case stop:
			l.log.Info("workload stops", "workload", a.ID.String())
			l.effects = append(l.effects, func() { l.queue = append(l.queue, op{stop: a.ID, grace: a.Grace}) })
		case tell:
			l.effects = append(l.effects, func() { l.cfg.Door.Tell(a.ID, a.Orders) })
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

// look sets what plan is to see of what the sessions share.
func (l *loop) look(s *session) {
	s.listed(l.lastList, l.known, l.listed[s.Session])
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
// workload runs or not.
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
		if s.Verdict == admitted && flavorOf(s.Revision) == flavor {
			n++
		}
	}
	return n
}

// end adds what the harness could not report any more, numbered after its last event, and journals that the attempt is over.
func (l *loop) end(s *session, a end) {
	var events []api.Event
	event := func(e api.Event) {
		e.Session, e.Source, e.Time = s.Session, a.ID.Source(), time.Now().UTC()
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
		event(api.Event{Type: api.EventEnded, Text: a.Reason})
	}
	for i := range events {
		events[i].SourceNumber = first + uint64(i)
	}
	if len(events) > 0 {
		l.change(eventsRecord{s.Session, a.ID.Source(), first, events})
	}
	reason := a.Reason
	if a.Outcome == api.OutcomeCut {
		reason = ""
	}
	l.change(endedRecord{s.Session, a.ID.Source(), reason})
	l.log.Info("workload ended", "workload", a.ID.String(), "reason", a.Reason, "failures", s.Failures)
	l.effects = append(l.effects, func() { l.cfg.Door.Forget(a.ID) })
}

// op is one operation of the runtime.
type op struct {
	start *WorkloadSpec
	stop  WorkloadID
	grace time.Duration
}

// dispatch hands operations to free workers and begins a list when it is time.
func (l *loop) dispatch() {
	for l.free > 0 && len(l.queue) > 0 {
		l.ops <- l.queue[0]
		l.queue = l.queue[1:]
		l.free--
	}
	if !l.listing && l.now >= l.listAt {
		l.listing = true
		l.lists++
		l.observes <- l.lists
	}
}

// work performs operations, one at a time per worker, so that a slow runtime does not hold up the loop.
func (l *loop) work(ctx context.Context) error {
	for {
		var o op
		select {
		case <-ctx.Done():
			return ctx.Err()
		case o = <-l.ops:
		}
		c, cancel := context.WithTimeout(ctx, callTimeout)
		var err error
		if o.start != nil {
			err = l.cfg.Runtime.Start(c, *o.start)
		} else {
			err = l.cfg.Runtime.Stop(c, o.stop, o.grace)
		}
		cancel()
		if err := l.post(ctx, func(l *loop) { l.did(o, err) }); err != nil {
			return err
		}
	}
}

// observe makes lists.
func (l *loop) observe(ctx context.Context) error {
	for {
		var n uint64
		select {
		case <-ctx.Done():
			return ctx.Err()
		case n = <-l.observes:
		}
		c, cancel := context.WithTimeout(ctx, callTimeout)
		list, listErr := l.cfg.Runtime.List(c)
		capacity, capErr := l.cfg.Runtime.Capacity(c)
		cancel()
		err := l.post(ctx, func(l *loop) {
			l.list(n, list, listErr)
			if capErr != nil {
				l.log.Warn("capacity of the runtime is unknown", "error", capErr)
			} else {
				l.capacity, l.recount = &capacity, true
			}
		})
		if err != nil {
			return err
		}
	}
}

func (l *loop) post(ctx context.Context, f func(l *loop)) error {
	select {
	case l.s.in <- input{func(l *loop) func(error) { f(l); return func(error) {} }}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// did takes the outcome of an operation.
func (l *loop) did(o op, err error) {
	l.free++
	id := o.stop
	if o.start != nil {
		id = o.start.ID
	}
	if err != nil {
		l.log.Warn("operation of the runtime", "workload", id.String(), "start", o.start != nil, "error", err)
	}
	l.listAt = min(l.listAt, l.now+observeSoon)
	if c, ok := l.orphans[id]; ok {
		c.Running = false
		l.orphans[id] = c
	}
	s := l.st.sessions[id.Session]
	if s == nil {
		return
	}
	if o.start != nil {
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
		l.orphans[a.ID] = stopCall{Running: true, Traces: a.Traces, At: l.now}
		l.effects = append(l.effects, func() { l.queue = append(l.queue, op{stop: a.ID, grace: a.Grace}) })
	}
}

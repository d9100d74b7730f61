package hub

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/nave-dev/nave/api"
)

// machine is the memory of one shard. It changes only in step and its helpers; it does no I/O and reads no clock.
//
// A session's phase follows [api.PhaseTransitions]; setPhase panics on any other change.
type machine struct {
	shard    api.Shard
	head     api.Head // of the last durable batch; set by the loop
	limits   Limits
	sessions map[api.SessionID]*session
	keys     map[sessionKey]api.SessionID
	idem     map[KeyScope]*api.Signal // idempotency keys of pending signals
	writing  bool                     // an append to the archive is in flight
	queue    []Append                 // what goes into the next append, one per organization

	assignedTo map[api.ClusterID]int // sessions per cluster
}

// sessionKey is what a session is unique by.
type sessionKey struct {
	org   api.OrgID
	agent api.ObjectID
	key   string
}

// session is one session in memory: its record and what belongs to it.
type session struct {
	api.Session
	pending  []api.Signal // unsettled, by sequence
	revision *api.ResolvedRevision
	placing  bool // a decision was asked for and has not come back
	refused  map[api.ClusterID]string
	refusals int               // in a row; they make the pause longer after which the clusters that refused are asked again
	askAgain time.Time         // when that pause ends
	admitted bool              // the spoke may have something of the present epoch
	gone     bool              // the spoke has nothing any more; its last events are on their way to the archive
	idle     *api.Held         // sleep was proposed while signals were on their way to the archive
	failing  map[uint64]uint32 // failures of signals in turn records that are on their way to the archive, by sequence
	settling map[uint64]bool   // sequences whose settled rows are on their way to the archive
	log      sessionLog
}

// sessionLog is how far the log reaches: what was given a number, and what the archive has.
type sessionLog struct {
	number  uint64                // last number given
	kept    uint64                // last number that the archive has: it stays, whoever owns the shard
	taken   map[api.Source]uint64 // last source number that was given a number, per source
	settled map[api.Source]uint64 // last source number that the archive has, per source
}

// Limits bound what a hub accepts.
type Limits struct {
	PendingPerSession int // unsettled signals of one session
	PendingPerOrg     int // unsettled signals of one organization, on this replica
	Window            int // signals handed to a spoke at a time, per session
	WindowBytes       int // bytes of their payloads
}

// DefaultLimits are the documented defaults.
func DefaultLimits() Limits {
	return Limits{PendingPerSession: api.MaxPendingPerSession, PendingPerOrg: api.MaxPendingPerOrg, Window: 64, WindowBytes: 512 << 10}
}

// withDefaults fills the zero fields.
func (l Limits) withDefaults() Limits {
	d := DefaultLimits()
	return Limits{PendingPerSession: cmp.Or(l.PendingPerSession, d.PendingPerSession), PendingPerOrg: cmp.Or(l.PendingPerOrg, d.PendingPerOrg),
		Window: cmp.Or(l.Window, d.Window), WindowBytes: cmp.Or(l.WindowBytes, d.WindowBytes)}
}

// event is an input of step.
type event interface{ isEvent() }

type (
	// evSignal is a validated signal at the door. Ids were made by the caller; settled is what the archive knows of its key.
	evSignal struct {
		signal    api.Signal // Sequence and Session are step's to fill in
		newID     api.SessionID
		org       api.OrgID
		agent     api.ObjectID
		agentName string
		key       string
		settled   *SettledSignal
		unknown   error // the archive did not answer: the key may have been used
		dryRun    bool
		orgFull   bool               // the organization is at its limit of unsettled signals
		reply     chan<- signalReply // buffered; answered once
	}
	// evPlaced is the answer to effPlace.
	evPlaced struct {
		session  api.SessionID
		decision api.Decision
		revision *api.ResolvedRevision // nil with err
		err      error                 // nothing could be decided; the session waits with this reason
	}
	// evAssigned tells how the commit of an assignment ended.
	evAssigned struct {
		record api.Session // as committed
		rev    *api.ResolvedRevision
		placed OutboxItem // that reports it
		ok     bool
	}
	// evAttach is a spoke's new link: it gets everything of this shard. held are the sessions that it says it has.
	evAttach struct {
		cluster   api.ClusterID
		held      map[api.SessionID]api.Held
		positions map[api.Shard]api.Head
	}
	// evHeld is what a spoke reports of one session.
	evHeld struct {
		cluster api.ClusterID
		held    api.Held
	}
	// evEvents is a batch of events from a spoke.
	evEvents struct {
		cluster  api.ClusterID
		batch    api.EventBatch
		archived uint64 // how far the archive has the source, where memory does not know it
	}
	// evArchived tells that the appends in flight are in the archive.
	evArchived struct{ appends []Append }
	// evFacts tells that a fact changed that may have kept sessions from being placed.
	evFacts struct{}
	// evHealth tells that a cluster was lost, or is heard again.
	evHealth struct {
		cluster api.ClusterID
		health  api.Health
	}
)

func (evSignal) isEvent()   {}
func (evPlaced) isEvent()   {}
func (evAssigned) isEvent() {}
func (evAttach) isEvent()   {}
func (evHeld) isEvent()     {}
func (evEvents) isEvent()   {}
func (evArchived) isEvent() {}
func (evFacts) isEvent()    {}
func (evHealth) isEvent()   {}

// signalReply answers evSignal.
type signalReply struct {
	accepted api.Accepted
	err      error
}

// effect is an output of step that is performed after the batch is durable.
type effect interface{ isEffect() }

type (
	// effReply answers a caller.
	effReply struct {
		to    chan<- signalReply
		reply signalReply
	}
	// effPlace asks for a decision.
	effPlace struct{ request placeRequest }
	// effAppend hands events to the archive. One is in flight per shard.
	effAppend struct{ appends []Append }
	// effSend tells a spoke what is wanted.
	effSend struct {
		cluster  api.ClusterID
		full     bool
		sessions []api.Desired
	}
	// effAck tells a spoke what it may forget.
	effAck struct {
		cluster api.ClusterID
		ack     api.Ack
	}
	// effPending tells how many more unsettled signals an organization has.
	effPending struct {
		org api.OrgID
		n   int
	}
	// effNotify tells readers that a session's log has grown.
	effNotify struct{ session api.SessionID }
	// effUnplace tells that a decision came to nothing: the room that was kept for it is free. Dead: the cluster was not alive.
	effUnplace struct {
		cluster api.ClusterID
		session api.SessionID
		dead    bool
	}
	// effGap tells that a spoke left numbers out: its link must begin anew.
	effGap struct {
		cluster api.ClusterID
		err     error
	}
	// effStale tells that a spoke sent what is not of the present epoch.
	effStale struct {
		cluster api.ClusterID
		session api.SessionID
		epoch   api.Epoch
	}
)

func (effReply) isEffect()   {}
func (effPlace) isEffect()   {}
func (effAppend) isEffect()  {}
func (effSend) isEffect()    {}
func (effAck) isEffect()     {}
func (effPending) isEffect() {}
func (effNotify) isEffect()  {}
func (effUnplace) isEffect() {}
func (effGap) isEffect()     {}
func (effStale) isEffect()   {}

// placeRequest is what the placer needs to decide.
type placeRequest struct {
	session api.SessionID
	org     api.OrgID
	agent   api.ObjectID
	name    string // of the agent
	last    api.ClusterID
	refused map[api.ClusterID]string
}

// output is what one event leads to. With a guard the mutations are committed alone and their outcome comes back as
// evAssigned: memory has not changed yet.
type output struct {
	mutations []Mutation
	effects   []effect
	guard     *guard
	loose     bool // the mutations do not depend on each other: they may be committed in pieces
}

// guard makes a commit depend on a cluster being alive.
type guard struct {
	cluster  api.ClusterID
	assigned evAssigned // what comes back, but for ok
}

func (o *output) put(s api.Session)  { o.mutate(s.Org, Mutation{PutSession: &s}) }
func (o *output) effect(e ...effect) { o.effects = append(o.effects, e...) }

func (o *output) mutate(org api.OrgID, m Mutation) {
	m.Org = org
	o.mutations = append(o.mutations, m)
}

// step is the shard's machine: it changes memory and returns what is to be made durable and what is to be done after that.
func (m *machine) step(now time.Time, ev event) output {
	var o output
	switch ev := ev.(type) {
	case evSignal:
		m.signal(&o, now, ev)
	case evPlaced:
		m.placed(&o, now, ev)
	case evAssigned:
		m.assigned(&o, ev)
	case evAttach:
		m.attachHeld(&o, ev.cluster, ev.held)
	case evResync:
		m.resync(&o, ev.cluster)
	case evFence:
		m.fence(&o, now, ev)
	case evHeld:
		m.held(&o, now, ev.cluster, ev.held)
	case evEvents:
		m.events(&o, now, ev.cluster, ev.batch, ev.archived)
	case evArchived:
		m.archived(&o, now, ev.appends)
	case evFacts:
		for _, s := range m.ordered() {
			s.forgive(now)
			m.place(&o, s)
		}
	case evHealth:
		m.health(&o, ev.cluster, ev.health)
	default:
		panic(fmt.Sprintf("shard %d: unknown event %T", m.shard, ev))
	}
	m.flush(&o)
	return o
}

// ordered returns the sessions by id, so that map order does not leak into behaviour.
func (m *machine) ordered() []*session {
	out := make([]*session, 0, len(m.sessions))
	for _, s := range m.sessions {
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b *session) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	return out
}

// setPhase changes the phase; a change that is not in the table is a broken invariant.
func (s *session) setPhase(to api.Phase, reason string) {
	if s.Phase != to && !slices.Contains(api.PhaseTransitions[s.Phase], to) {
		panic(fmt.Sprintf("session %s: phase %s cannot become %s", s.ID, s.Phase, to))
	}
	s.Phase, s.Reason = to, reason[:min(len(reason), 1024)]
}

// assign changes the assignment; nil ends it.
func (m *machine) assign(s *session, a *api.Assignment) {
	s.idle = nil
	if s.Assignment != nil {
		if m.assignedTo[s.Assignment.Cluster]--; m.assignedTo[s.Assignment.Cluster] == 0 {
			delete(m.assignedTo, s.Assignment.Cluster)
		}
	}
	if s.Assignment = a; a != nil {
		m.assignedTo[a.Cluster]++
	}
}

// report writes an event of the hub's own: into the outbox with the change that it reports, and into the queue for the
// archive.
func (m *machine) report(o *output, s *session, now time.Time, ev api.Event, d *api.Decision) {
	s.HubNumber++
	ev.Session, ev.Source, ev.SourceNumber, ev.Time = s.ID, api.HubSource, s.HubNumber, now
	item := OutboxItem{Event: ev, Decision: d}
	o.mutate(s.Org, Mutation{PutOutbox: &item})
	m.enqueue(s, ev, d)
}

// enqueue numbers an event and puts it into the next append.
func (m *machine) enqueue(s *session, ev api.Event, d *api.Decision) *Append {
	s.log.number++
	ev.Number = s.log.number
	s.log.taken[ev.Source] = ev.SourceNumber
	i := len(m.queue) - 1
	for i >= 0 && m.queue[i].Org != s.Org {
		i--
	}
	if i < 0 || m.queue[i].rows() >= appendRows {
		i = len(m.queue)
		m.queue = append(m.queue, Append{Shard: m.shard, Org: s.Org})
	}
	a := &m.queue[i]
	a.Events = append(a.Events, ev)
	if d != nil {
		a.Decisions = append(a.Decisions, *d)
	}
	return a
}

// appendRows bounds what goes to the archive at a time: what an append changes in the store once it is there must fit one
// batch, however long the archive was away.
const appendRows = 32

// eventsPerRow is how many events that change nothing in the store count as one that does.
const eventsPerRow = 16

// rows is about how many records of the store change when the append is archived.
func (a Append) rows() int {
	n := len(a.Events) / eventsPerRow
	for _, ev := range a.Events {
		switch {
		case ev.Source == api.HubSource:
			n++
		case ev.Type == api.EventTurnDone:
			n += 1 + len(ev.Signals)
		}
	}
	return n
}

// flush hands the head of the queue to the archive unless an append is in flight.
func (m *machine) flush(o *output) {
	if m.writing || len(m.queue) == 0 {
		return
	}
	m.writing = true
	n, rows := 1, m.queue[0].rows()
	for n < len(m.queue) && rows+m.queue[n].rows() <= appendRows {
		rows += m.queue[n].rows()
		n++
	}
	appends := m.queue[:n:n]
	for i := range appends {
		appends[i].Generation = m.head.Generation
	}
	o.effect(effAppend{appends})
	m.queue = m.queue[n:]
}

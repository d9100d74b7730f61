package hub

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nave-dev/nave/api"
)

// machine is the memory of one shard. It changes only in step and its helpers; it does no I/O and reads no clock.
//
// What it knows comes in three degrees, one after the other: taken (given a number, on its way to the archive), archived,
// and durable in the store. A change that a spoke's event leads to is decided when the event is taken, and made when the
// archive has it.
type machine struct {
	shard    api.Shard
	head     api.Head // of the last durable batch; set by the loop
	limits   Limits
	sessions map[api.SessionID]*session
	keys     map[sessionKey]api.SessionID // of the sessions that are not terminated
	idem     map[KeyScope]*api.Signal     // idempotency keys of pending signals
	writing  bool                         // an append to the archive is in flight
	calm     bool                         // and nobody waits for it
	queue    []queued                     // what goes into the next appends

	assigned map[api.ClusterID]map[api.SessionID]*session
	asking   map[api.SessionID]*session  // that have approvals
	waiting  map[api.SessionID]*session  // whom a fact can help: not placed though there is work, or with failed starts
	silent   map[api.ClusterID]stillness // clusters whose lease is gone, as they were last told of
}

// sessionKey is what a session is unique by.
type sessionKey struct {
	org   api.OrgID
	agent api.ObjectID
	key   string
}

// session is one session in memory: its record and what belongs to it. Its phase follows [api.PhaseTransitions]; setPhase
// panics on any other change. The slices of the record are replaced, never changed in place.
type session struct {
	api.Session
	pending   []*api.Signal  // unsettled, by sequence; what they point to is never changed, since batches under way have it too
	approvals []api.Approval // by id
	revision  *api.ResolvedRevision
	placing   bool // a decision was asked for and has not come back
	refused   map[api.ClusterID]string
	refusals  int       // in a row; they make the pause longer after which the clusters that refused are asked again
	askAgain  time.Time // when that pause ends
	admitted  bool      // the spoke may have something of the present epoch
	gone      *api.Held // the spoke has nothing any more; its last events are on their way to the archive
	idle      *api.Held // sleep was proposed; it is decided when the archive has everything that came before
	ending    bool      // terminated and over: its last rows are on their way to the archive
	starts    starts

	failing  map[uint64]uint32 // failures of signals in turn records that were taken and are not archived, by sequence
	settling map[uint64]bool   // sequences whose settled rows are on their way to the archive
	marks    map[uint64]mark   // the turn record that consumed a signal, as taken, by sequence; of the present epoch
	applied  moment            // the last event that was taken and bears on the inbox
	log      sessionLog
}

// sessionLog is how far the log reaches: what was given a number, and what the archive has.
type sessionLog struct {
	number  uint64                // last number given
	kept    uint64                // last number that the archive has: it stays, whoever owns the shard
	taken   map[api.Source]uint64 // last source number that was given a number, per source
	settled map[api.Source]uint64 // last source number that the archive has, per source
}

// moment is a place in the life of a session: an event of one of its sources.
type moment struct {
	source api.Source
	number uint64
}

// mark is the turn record that consumed a signal.
type mark struct {
	moment
	outcome api.Outcome
}

// after reports whether a moment is later than another one: by epoch, attempt, number.
func (a moment) after(b moment) bool {
	c := a.source.Epoch.Compare(b.source.Epoch)
	return c > 0 || c == 0 && (a.source.Attempt > b.source.Attempt || a.source.Attempt == b.source.Attempt && a.number > b.number)
}

func newMachine(shard api.Shard, head api.Head, limits Limits) *machine {
	return &machine{shard: shard, head: head, limits: limits, sessions: map[api.SessionID]*session{}, keys: map[sessionKey]api.SessionID{},
		idem: map[KeyScope]*api.Signal{}, assigned: map[api.ClusterID]map[api.SessionID]*session{},
		waiting: map[api.SessionID]*session{}, asking: map[api.SessionID]*session{}, silent: map[api.ClusterID]stillness{}}
}

// add puts a session into memory.
func (m *machine) add(rec api.Session) *session {
	s := &session{Session: rec, failing: map[uint64]uint32{}, settling: map[uint64]bool{}, marks: map[uint64]mark{},
		applied: moment{rec.TurnSource, rec.TurnNumber}, log: sessionLog{taken: map[api.Source]uint64{}, settled: map[api.Source]uint64{}}}
	m.sessions[s.ID] = s
	if s.Intent != api.IntentTerminated {
		m.keys[sessionKey{s.Org, s.Agent, s.Key}] = s.ID
	}
	return s
}

// step is the shard's machine: it changes memory and returns what is to be made durable and what is to be done after that.
func (m *machine) step(now time.Time, ev event) output {
	var o output
	switch ev := ev.(type) {
	case *evSignal:
		m.signal(&o, now, ev)
	case evIntent:
		m.intent(&o, now, ev)
	case evCancel:
		m.cancel(&o, now, ev)
	case evAnswer:
		m.answerApproval(&o, now, ev)
	case evTend:
		if s := m.sessions[ev.session]; s != nil {
			m.tend(&o, s, now)
			m.bury(&o, s, now)
		}
	case evDeltas:
		m.deltas(&o, ev)
	case evPlaced:
		m.placed(&o, now, ev)
	case evAssigned:
		m.committed(&o, ev)
	case evRevised:
		m.revised(&o, now, ev)
	case evAttach:
		m.attach(&o, ev)
	case evResync:
		m.everything(&o, ev.cluster)
	case evHeld:
		m.held(&o, now, ev)
	case evEvents:
		m.events(&o, now, ev)
	case evArchived:
		m.archived(&o, now, ev.appends)
	case evFacts:
		for _, s := range inOrder(m.waiting) {
			s.forgive(now)
			m.place(&o, s)
			m.revise(&o, s)
		}
		for _, s := range inOrder(m.asking) {
			if s.owed(now) {
				o.next = append(o.next, evTend{s.ID})
			}
		}
	case evComplete:
		m.complete(&o, now, ev.session)
	case evSilent:
		m.silence(&o, now, ev)
	case evHealth:
		m.audible(ev)
	default:
		panic(fmt.Sprintf("shard %d: unknown event %T", m.shard, ev))
	}
	m.flush(&o)
	return o
}

// inOrder returns sessions by id, so that map order does not leak into behaviour.
func inOrder(sessions map[api.SessionID]*session) []*session {
	return slices.SortedFunc(maps.Values(sessions), func(a, b *session) int { return strings.Compare(string(a.ID), string(b.ID)) })
}

// put makes the record durable.
func (m *machine) put(o *output, s *session) {
	rec := s.Session
	o.mutate(s.Org, Mutation{PutSession: &rec})
	m.watch(s)
}

// watch keeps the set of those whom a change of facts can help.
func (m *machine) watch(s *session) {
	if s.wants() || s.StartFailures > 0 && s.Intent != api.IntentTerminated {
		m.waiting[s.ID] = s
	} else {
		delete(m.waiting, s.ID)
	}
}

// wants reports whether the session is to be placed: nobody has it, it may run, and there is work.
func (s *session) wants() bool {
	return s.Assignment == nil && s.Intent == api.IntentActive && len(s.pending) > 0
}

// setPhase changes the phase; a change that is not in the table is a broken invariant.
func (s *session) setPhase(to api.Phase, reason string) {
	if s.Phase != to && !slices.Contains(api.PhaseTransitions[s.Phase], to) {
		panic(fmt.Sprintf("session %s: phase %s cannot become %s", s.ID, s.Phase, to))
	}
	s.Phase, s.Reason = to, brief(reason)
}

// brief cuts a text to what a record may hold of it.
func brief(text string) string { return strings.ToValidUTF8(text[:min(len(text), 1024)], "") }

// assign changes the assignment; nil ends it.
func (m *machine) assign(s *session, a *api.Assignment) {
	s.idle = nil
	if s.Assignment != nil {
		of := m.assigned[s.Assignment.Cluster]
		if delete(of, s.ID); len(of) == 0 {
			delete(m.assigned, s.Assignment.Cluster)
		}
	}
	if s.Assignment = a; a != nil {
		if m.assigned[a.Cluster] == nil {
			m.assigned[a.Cluster] = map[api.SessionID]*session{}
		}
		m.assigned[a.Cluster][s.ID] = s
	}
}

// at reports whether the session is assigned to a cluster in an epoch: a spoke is believed about nothing else.
func (s *session) at(cluster api.ClusterID, epoch api.Epoch) bool {
	return s != nil && s.Assignment != nil && s.Assignment.Cluster == cluster && (s.Assignment.Epoch == epoch || oldEpochAccepted())
}

package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/nave-dev/nave/api"
)

// memory is the store, the archive and the bucket of one shard, in memory. It notes in broken what no owner may do.
type memory struct {
	head      api.Head
	fence     api.Generation // of the archive
	sessions  map[api.SessionID]api.Session
	signals   map[SignalKey]api.Signal
	outbox    map[OutboxKey]OutboxItem
	approvals map[api.ApprovalID]api.Approval
	log       map[api.SessionID][]api.Event
	settled   map[api.SignalID]SettledSignal
	ended     map[api.SessionID]api.Session
	decisions map[api.SessionID][]api.Decision
	side      map[api.SessionID]map[api.Source][]api.Event
	bucket    map[api.CheckpointID]bool
	dead      map[api.ClusterID]bool // clusters without a lease
	sideAway  bool
	broken    error

	fuse  int       // outside calls until the owner dies; 0: it lives
	after bool      // it dies behind its last commit, not before
	died  bool      // nothing of the present owner arrives any more
	lose  []outcome // of the next commits
}

// outcome is what becomes of a commit.
type outcome int

const (
	applied outcome = iota
	unheard         // applied, without an answer
	unmade          // not applied, without an answer
)

var errDied = errors.New("the owner died")

func newMemory() *memory {
	return &memory{sessions: map[api.SessionID]api.Session{}, signals: map[SignalKey]api.Signal{}, outbox: map[OutboxKey]OutboxItem{},
		approvals: map[api.ApprovalID]api.Approval{},
		log:       map[api.SessionID][]api.Event{}, settled: map[api.SignalID]SettledSignal{}, ended: map[api.SessionID]api.Session{},
		decisions: map[api.SessionID][]api.Decision{}, side: map[api.SessionID]map[api.Source][]api.Event{},
		bucket: map[api.CheckpointID]bool{}, dead: map[api.ClusterID]bool{}, head: api.Head{Generation: api.Generation{Incarnation: 1}}}
}

// burn counts an outside call and reports whether the owner is dead.
func (m *memory) burn() bool {
	if m.fuse > 0 {
		if m.fuse--; m.fuse == 0 {
			m.died = true
		}
	}
	return m.died
}

func (m *memory) breaks(format string, args ...any) error {
	var err error = api.Errorf(api.CodeInternal, format, args...)
	m.broken = cmp.Or(m.broken, err)
	return err
}

func (m *memory) Claim(context.Context, api.Shard) (api.Head, error) {
	m.head.Generation.N++
	return m.head, nil
}

func (m *memory) Head(context.Context, api.Shard) (api.Head, error) {
	if m.died {
		return api.Head{}, errDied
	}
	return m.head, nil
}

func (m *memory) Load(context.Context, api.Shard) (c ShardContents, err error) {
	for _, id := range slices.Sorted(maps.Keys(m.sessions)) {
		c.Sessions = append(c.Sessions, m.sessions[id])
	}
	c.Signals = slices.SortedFunc(maps.Values(m.signals), func(a, b api.Signal) int {
		return cmp.Or(strings.Compare(string(a.Session), string(b.Session)), cmp.Compare(a.Sequence, b.Sequence))
	})
	c.Outbox = slices.SortedFunc(maps.Values(m.outbox), func(a, b OutboxItem) int {
		return cmp.Or(strings.Compare(string(a.Event.Session), string(b.Event.Session)), cmp.Compare(a.Event.SourceNumber, b.Event.SourceNumber))
	})
	for _, id := range slices.Sorted(maps.Keys(m.approvals)) {
		c.Approvals = append(c.Approvals, m.approvals[id])
	}
	return c, nil
}

func (m *memory) Commit(_ context.Context, batches []Batch) error {
	if m.burn() && !m.after {
		return errDied
	}
	what := applied
	if len(m.lose) > 0 {
		what, m.lose = m.lose[0], m.lose[1:]
	}
	if what == unmade {
		return errors.New("no answer")
	}
	b := batches[0]
	if l := m.Limits(); len(b.Mutations)+1 > l.Ops || b.size() > l.Bytes {
		return m.breaks("a batch of %d mutations and %d bytes, more than the store takes", len(b.Mutations), b.size())
	}
	if b.From != m.head {
		return api.Errorf(api.CodeConflict, "head is %v, not %v", m.head, b.From)
	}
	for _, c := range b.Alive {
		if m.dead[c] {
			return api.Errorf(api.CodeConflict, "%s has no lease", c)
		}
	}
	for _, mu := range b.Mutations {
		m.apply(mu)
	}
	m.head = b.Next()
	if m.died || what == unheard {
		m.after = false
		return errors.New("no answer")
	}
	return nil
}

func (m *memory) apply(mu Mutation) {
	switch {
	case mu.PutSession != nil:
		m.sessions[mu.PutSession.ID] = *mu.PutSession
	case mu.PutSignal != nil:
		m.signals[SignalKey{mu.PutSignal.Session, mu.PutSignal.Sequence}] = *mu.PutSignal
	case mu.DeleteSignal != nil:
		delete(m.signals, *mu.DeleteSignal)
	case mu.PutOutbox != nil:
		m.outbox[OutboxKey{mu.PutOutbox.Event.Session, mu.PutOutbox.Event.SourceNumber}] = *mu.PutOutbox
	case mu.DeleteOutbox != nil:
		delete(m.outbox, *mu.DeleteOutbox)
	case mu.PutApproval != nil:
		m.approvals[mu.PutApproval.ID] = *mu.PutApproval
	case mu.DeleteApproval != "":
		delete(m.approvals, mu.DeleteApproval)
	case mu.DeleteSession != "":
		delete(m.sessions, mu.DeleteSession)
	}
}

func (m *memory) Raise(_ context.Context, _ api.Shard, g api.Generation) error {
	m.fence = g
	return nil
}

func (m *memory) Positions(context.Context, api.Shard) (map[api.SessionID]LogPosition, error) {
	out := map[api.SessionID]LogPosition{}
	for id, log := range m.log {
		p := LogPosition{Number: uint64(len(log)), Sources: map[api.Source]uint64{}}
		for _, ev := range log {
			p.Sources[ev.Source] = ev.SourceNumber
		}
		out[id] = p
	}
	return out, nil
}

// Append is what the writer of the archive does, all or nothing.
func (m *memory) Append(_ context.Context, appends []Append) error {
	for _, a := range appends {
		if a.Generation != m.fence {
			return api.Errorf(api.CodeConflict, "generation %s at %s", a.Generation, m.fence)
		}
	}
	for _, a := range appends {
		for _, ev := range a.Events {
			log := m.log[ev.Session]
			if ev.Number <= uint64(len(log)) {
				if !reflect.DeepEqual(log[ev.Number-1], ev) {
					return m.breaks("P5: session %s: event %d is there with another content", ev.Session, ev.Number)
				}
				continue
			}
			if ev.Number != uint64(len(log)+1) {
				return m.breaks("P5: session %s: event %d after %d", ev.Session, ev.Number, len(log))
			}
			if last := lastOf(log, ev.Source); ev.SourceNumber != last+1 {
				return m.breaks("P5: session %s source %s: event %d after %d", ev.Session, ev.Source, ev.SourceNumber, last)
			}
			m.log[ev.Session] = append(log, ev)
		}
		for _, row := range a.Settled {
			if _, ok := m.settled[row.Signal.ID]; !ok {
				m.settled[row.Signal.ID] = row
			}
		}
		for _, d := range a.Decisions {
			m.decisions[d.Session] = append(m.decisions[d.Session], d)
		}
		for _, s := range a.Terminated {
			if _, ok := m.ended[s.ID]; !ok {
				m.ended[s.ID] = s
			}
		}
	}
	return nil
}

func lastOf(log []api.Event, src api.Source) (n uint64) {
	for _, ev := range log {
		if ev.Source == src {
			n = ev.SourceNumber
		}
	}
	return n
}

func (m *memory) Keys(_ context.Context, _ api.OrgID, keys []KeyScope) (map[KeyScope]SettledSignal, error) {
	out := map[KeyScope]SettledSignal{}
	for _, row := range m.settled {
		if slices.Contains(keys, row.Scope) {
			out[row.Scope] = row
		}
	}
	return out, nil
}

func (m *memory) Settled(_ context.Context, ids []api.SignalID) (map[api.SignalID]bool, error) {
	out := map[api.SignalID]bool{}
	for _, id := range ids {
		if _, ok := m.settled[id]; ok {
			out[id] = true
		}
	}
	return out, nil
}

func (m *memory) Branch(_ context.Context, id api.SessionID, src api.Source) (Branch, error) {
	for _, d := range m.decisions[id] {
		if d.Epoch == src.Epoch && d.Cluster != "" {
			return Branch{Org: api.DefaultOrg, Cluster: d.Cluster, Log: lastOf(m.log[id], src), Side: lastOf(m.side[id][src], src)}, nil
		}
	}
	return Branch{}, api.Errorf(api.CodeNotFound, "never placed")
}

func (m *memory) Ended(context.Context, api.ClusterID, []api.SessionID) ([]api.SessionID, error) {
	return nil, nil // no shard asks
}

func (m *memory) LastEpochs(_ context.Context, cluster api.ClusterID, sessions []api.SessionID) (map[api.SessionID]api.Epoch, error) {
	out := map[api.SessionID]api.Epoch{}
	for _, id := range sessions {
		for _, d := range m.decisions[id] {
			if d.Cluster == cluster {
				out[id] = d.Epoch
			}
		}
	}
	return out, nil
}

func (m *memory) EndedEpochs(context.Context, api.ClusterID, []SessionEpoch) (map[SessionEpoch]api.OrgID, error) {
	return nil, nil // nothing ends here
}

func (m *memory) AppendSide(_ context.Context, _ api.OrgID, b api.EventBatch, _ api.ClusterID, _ time.Time) error {
	if m.sideAway {
		return api.Errorf(api.CodeUnavailable, "away")
	}
	last := max(lastOf(m.log[b.Session], b.Source), lastOf(m.side[b.Session][b.Source], b.Source))
	if m.side[b.Session] == nil {
		m.side[b.Session] = map[api.Source][]api.Event{}
	}
	for _, ev := range b.Events {
		if ev.SourceNumber <= last {
			continue
		}
		if ev.Source = b.Source; ev.SourceNumber != last+1 {
			return api.Errorf(api.CodeConflict, "event %d after %d", ev.SourceNumber, last)
		}
		m.side[b.Session][b.Source], last = append(m.side[b.Session][b.Source], ev), ev.SourceNumber
	}
	return nil
}

func (m *memory) Events(_ context.Context, _ api.OrgID, id api.SessionID, from uint64, limit int) ([]api.Event, error) {
	log := m.log[id]
	if from > uint64(len(log)) {
		return nil, nil
	}
	log = log[from-1:]
	return slices.Clone(log[:min(len(log), limit)]), nil
}

func (m *memory) HasCheckpoint(_ context.Context, _ api.OrgID, _ api.SessionID, id api.CheckpointID) (bool, error) {
	return m.bucket[id], nil
}

// revisionAt resolves everything to the same revision.
type revisionAt struct{ Resolver }

func (revisionAt) ResolveAt(context.Context, api.OrgID, api.ObjectID, api.Assignment) (*api.ResolvedRevision, error) {
	return testRevision(), nil
}

func testRevision() *api.ResolvedRevision {
	return &api.ResolvedRevision{AgentID: worldAgent, AgentName: "a", AgentRevision: 1, EnvironmentRevision: 1,
		Agent: &api.AgentSpec{MaxDeliveries: 2, StopAfter: worldStop, ApprovalExpiry: worldExpiry}, Environment: &api.EnvironmentSpec{}}
}

// checkpointID makes the id of a checkpoint from a number.
func checkpointID(n int) api.CheckpointID { return api.CheckpointID(fmt.Sprintf("%064x", n)) }

// Limits implements ShardStore.
func (*memory) Limits() CommitLimits { return CommitLimits{Ops: 128, Bytes: 1 << 20} }

package sim

import (
	"context"
	"reflect"
	"slices"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
)

// Archive is the archive in memory. Each method is one transaction.
type Archive struct {
	owners     map[api.Shard]api.Generation
	logs       map[api.SessionID]*log
	settled    map[api.SignalID]settledRow
	keys       map[scope]api.SignalID
	decisions  map[api.SessionID][]api.Decision
	orgs       map[api.SessionID]api.OrgID
	terminated map[api.SessionID]api.Session
	side       map[api.SessionID][]hub.SideEvent
	sideLast   map[branchKey]uint64
}

type log struct {
	org     api.OrgID
	events  []api.Event
	sources map[api.Source]uint64
}

type settledRow struct {
	hub.SettledSignal
	org api.OrgID
}

type scope struct {
	org api.OrgID
	hub.KeyScope
}

type branchKey struct {
	session api.SessionID
	source  api.Source
}

// NewArchive makes an empty archive.
func NewArchive() *Archive {
	return &Archive{owners: map[api.Shard]api.Generation{}, logs: map[api.SessionID]*log{}, settled: map[api.SignalID]settledRow{},
		keys: map[scope]api.SignalID{}, decisions: map[api.SessionID][]api.Decision{}, orgs: map[api.SessionID]api.OrgID{},
		terminated: map[api.SessionID]api.Session{}, side: map[api.SessionID][]hub.SideEvent{}, sideLast: map[branchKey]uint64{}}
}

// Raise implements [hub.Archive].
func (a *Archive) Raise(_ context.Context, shard api.Shard, g api.Generation) error {
	if g.Compare(a.owners[shard]) < 0 {
		return api.Errorf(api.CodeConflict, "generation %v of shard %d was passed", g, shard)
	}
	a.owners[shard] = g
	return nil
}

// Positions implements [hub.Archive].
func (a *Archive) Positions(_ context.Context, shard api.Shard) (map[api.SessionID]hub.LogPosition, error) {
	out := map[api.SessionID]hub.LogPosition{}
	for id, l := range a.logs {
		if s, _ := id.Shard(); s != shard {
			continue
		}
		p := hub.LogPosition{Number: uint64(len(l.events)), Sources: map[api.Source]uint64{}}
		for src, n := range l.sources {
			p.Sources[src] = n
		}
		out[id] = p
	}
	return out, nil
}

// Append implements [hub.Archive].
func (a *Archive) Append(_ context.Context, appends []hub.Append) error {
	var stale []int
	for i, ap := range appends {
		owner := a.owners[ap.Shard]
		switch c := ap.Generation.Compare(owner); {
		case c < 0:
			stale = append(stale, i)
		case c > 0 || owner == (api.Generation{}):
			return api.Errorf(api.CodeInternal, "generation %v of shard %d was never raised", ap.Generation, ap.Shard)
		}
	}
	if len(stale) > 0 {
		return &api.Error{Code: api.CodeConflict, Op: "append", Err: &hub.StaleError{Indexes: stale}}
	}
	undo := a.copyOf(appends)
	for _, ap := range appends {
		if err := a.append(ap); err != nil {
			undo()
			return err
		}
	}
	return nil
}

// copyOf returns what puts back what the appends change.
func (a *Archive) copyOf(appends []hub.Append) func() {
	logs, decisions := map[api.SessionID]*log{}, map[api.SessionID][]api.Decision{}
	for _, ap := range appends {
		for _, ev := range ap.Events {
			if l := a.logs[ev.Session]; l != nil {
				c := &log{l.org, slices.Clip(l.events), map[api.Source]uint64{}}
				for src, n := range l.sources {
					c.sources[src] = n
				}
				logs[ev.Session] = c
			} else {
				logs[ev.Session] = nil
			}
		}
		for _, d := range ap.Decisions {
			decisions[d.Session] = slices.Clip(a.decisions[d.Session])
		}
	}
	var settled []api.SignalID
	var keys []scope
	for _, ap := range appends {
		for _, s := range ap.Settled {
			if _, ok := a.settled[s.Signal.ID]; !ok {
				settled, keys = append(settled, s.Signal.ID), append(keys, scope{ap.Org, s.Scope})
			}
		}
	}
	return func() {
		for id, l := range logs {
			if a.logs[id] = l; l == nil {
				delete(a.logs, id)
			}
		}
		for id, ds := range decisions {
			a.decisions[id] = ds
		}
		for i, id := range settled {
			if delete(a.settled, id); a.keys[keys[i]] == id {
				delete(a.keys, keys[i])
			}
		}
	}
}

func (a *Archive) append(ap hub.Append) error {
	for _, ev := range ap.Events {
		if shard, err := ev.Session.Shard(); err != nil || shard != ap.Shard {
			return api.Errorf(api.CodeInternal, "session %s does not belong to shard %d", ev.Session, ap.Shard)
		}
		l := a.logs[ev.Session]
		if l == nil {
			l = &log{org: ap.Org, sources: map[api.Source]uint64{}}
			a.logs[ev.Session] = l
		}
		switch n := uint64(len(l.events)); {
		case ev.Number != 0 && ev.Number <= n:
			if !sameEvent(l.events[ev.Number-1], ev) || l.org != ap.Org {
				return api.Errorf(api.CodeInternal, "event %d of session %s is there with another content", ev.Number, ev.Session)
			}
			continue
		case ev.Number != n+1:
			return api.Errorf(api.CodeInternal, "event %d of session %s does not continue its log, which reaches %d", ev.Number, ev.Session, n)
		case ev.SourceNumber != l.sources[ev.Source]+1:
			return api.Errorf(api.CodeInternal, "event %d of session %s has source number %d and source %v reaches %d", ev.Number, ev.Session, ev.SourceNumber, ev.Source, l.sources[ev.Source])
		}
		l.events = append(l.events, ev)
		l.sources[ev.Source] = ev.SourceNumber
	}
	for _, s := range ap.Settled {
		if is, ok := a.settled[s.Signal.ID]; ok {
			_ = is // the first one counts
			continue
		}
		k := scope{ap.Org, s.Scope}
		if s.Scope.Key != "" {
			if other, ok := a.keys[k]; ok && other != s.Signal.ID {
				return api.Errorf(api.CodeInternal, "the idempotency key of signal %s was settled with signal %s", s.Signal.ID, other)
			}
			a.keys[k] = s.Signal.ID
		}
		a.settled[s.Signal.ID] = settledRow{s, ap.Org}
	}
	for _, d := range ap.Decisions {
		a.decisions[d.Session] = append(slices.Clip(a.decisions[d.Session]), d)
		a.orgs[d.Session] = ap.Org
	}
	for _, s := range ap.Terminated {
		if _, ok := a.terminated[s.ID]; !ok {
			a.terminated[s.ID] = cloneSession(s)
		}
	}
	return nil
}

func sameEvent(a, b api.Event) bool {
	return reflect.DeepEqual(a, b)
}

// Keys implements [hub.Archive].
func (a *Archive) Keys(_ context.Context, org api.OrgID, keys []hub.KeyScope) (map[hub.KeyScope]hub.SettledSignal, error) {
	out := map[hub.KeyScope]hub.SettledSignal{}
	for _, k := range keys {
		if id, ok := a.keys[scope{org, k}]; ok {
			out[k] = a.settled[id].SettledSignal
		}
	}
	return out, nil
}

// Settled implements [hub.Archive].
func (a *Archive) Settled(_ context.Context, signals []api.SignalID) (map[api.SignalID]bool, error) {
	out := map[api.SignalID]bool{}
	for _, id := range signals {
		if _, ok := a.settled[id]; ok {
			out[id] = true
		}
	}
	return out, nil
}

// Branch implements [hub.Archive].
func (a *Archive) Branch(_ context.Context, session api.SessionID, source api.Source) (hub.Branch, error) {
	for _, d := range a.decisions[session] {
		if d.Epoch != source.Epoch || d.Cluster == "" {
			continue
		}
		b := hub.Branch{Org: a.orgs[session], Cluster: d.Cluster, Side: a.sideLast[branchKey{session, source}]}
		if l := a.logs[session]; l != nil {
			b.Log = l.sources[source]
		}
		return b, nil
	}
	return hub.Branch{}, api.Errorf(api.CodeNotFound, "no decision placed session %s in epoch %v", session, source.Epoch)
}

// Ended implements [hub.Archive].
func (a *Archive) Ended(_ context.Context, cluster api.ClusterID, sessions []api.SessionID) ([]api.SessionID, error) {
	var out []api.SessionID
	for _, id := range sessions {
		if a.terminated[id].ID != "" && slices.ContainsFunc(a.decisions[id], func(d api.Decision) bool { return d.Cluster == cluster }) {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out, nil
}

// LastEpochs implements [hub.Archive].
func (a *Archive) LastEpochs(_ context.Context, cluster api.ClusterID, sessions []api.SessionID) (map[api.SessionID]api.Epoch, error) {
	out := map[api.SessionID]api.Epoch{}
	for _, id := range sessions {
		for _, d := range a.decisions[id] {
			if d.Cluster != "" && d.Cluster == cluster && out[id].Compare(d.Epoch) < 0 {
				out[id] = d.Epoch
			}
		}
	}
	return out, nil
}

// EndedEpochs implements [hub.Archive].
func (a *Archive) EndedEpochs(_ context.Context, cluster api.ClusterID, epochs []hub.SessionEpoch) (map[hub.SessionEpoch]api.OrgID, error) {
	out := map[hub.SessionEpoch]api.OrgID{}
	for _, e := range epochs {
		placed := slices.IndexFunc(a.decisions[e.Session], func(d api.Decision) bool { return d.Epoch == e.Epoch && d.Cluster != "" })
		if placed >= 0 && a.decisions[e.Session][placed].Cluster == cluster && a.terminated[e.Session].ID != "" {
			out[e] = a.orgs[e.Session]
		}
	}
	return out, nil
}

// AppendSide implements [hub.Archive].
func (a *Archive) AppendSide(_ context.Context, org api.OrgID, batch api.EventBatch, cluster api.ClusterID, at time.Time) error {
	if _, err := batch.Session.Shard(); err != nil {
		return api.Errorf(api.CodeInvalid, "session %q is no id of a session", batch.Session)
	}
	k := branchKey{batch.Session, batch.Source}
	last := a.sideLast[k]
	if l := a.logs[batch.Session]; l != nil {
		last = max(last, l.sources[batch.Source])
	}
	var add []hub.SideEvent
	for _, ev := range batch.Events {
		if ev.SourceNumber <= last {
			continue
		}
		if ev.SourceNumber != last+1 {
			return api.Errorf(api.CodeConflict, "event %d of source %v does not continue its side branch, which reaches %d", ev.SourceNumber, batch.Source, last)
		}
		ev.Session, ev.Source, ev.Cluster, ev.Number = batch.Session, batch.Source, cluster, 0
		add, last = append(add, hub.SideEvent{Event: ev, ReceivedAt: at}), ev.SourceNumber
	}
	if a.orgs[batch.Session] == "" {
		a.orgs[batch.Session] = org
	}
	a.side[batch.Session] = append(a.side[batch.Session], add...)
	a.sideLast[k] = last
	return nil
}

// Events reads a log.
func (a *Archive) Events(_ context.Context, org api.OrgID, session api.SessionID, from uint64, limit int) ([]api.Event, error) {
	l := a.logs[session]
	if l == nil || l.org != org || from > uint64(len(l.events)) {
		return nil, nil
	}
	evs := l.events[max(from, 1)-1:]
	return slices.Clone(evs[:min(len(evs), limit)]), nil
}

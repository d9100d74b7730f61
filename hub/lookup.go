package hub

import (
	"context"
	"slices"

	"github.com/nave-dev/nave/api"
)

// lookUp completes events with what memory does not have, before the machine takes them.
func (l *loop) lookUp(ctx context.Context, events []event) {
	l.lookUpKeys(ctx, events)
	l.lookUpEnds(ctx, events)
	for i, ev := range events {
		switch ev := ev.(type) {
		case evEvents:
			events[i] = l.lookUpCheckpoints(ctx, ev)
		case evHealth:
			if ev.health == api.HealthLost {
				events[i] = evSilent{cluster: ev.cluster, name: l.ports.name(ev.cluster)}
			}
		case evFence:
			events[i] = evSilent{cluster: ev.cluster, name: l.ports.name(ev.cluster), gone: ev.gone, forget: ev.forget}
		}
	}
}

// lookUpKeys asks the archive for the idempotency keys that memory does not know, and for all of them when what was archived
// leaves memory in the same turn. The loop is the only one who moves a key from memory to the archive, so that a key is
// always found in one of them. Without an answer the signal is refused: it may have been accepted before.
func (l *loop) lookUpKeys(ctx context.Context, events []event) {
	scopes, leaving := map[api.OrgID][]KeyScope{}, false
	for _, ev := range events {
		if _, ok := ev.(evArchived); ok {
			leaving = true
		}
		if s, ok := ev.(*evSignal); ok && s.signal.IdempotencyKey != "" {
			scope := KeyScope{s.agent, s.key, s.signal.IdempotencyKey}
			if leaving || l.m.idem[scope] == nil {
				scopes[s.org] = append(scopes[s.org], scope)
			}
		}
	}
	for org, keys := range scopes {
		found, err := l.ports.Archive.Keys(ctx, org, keys)
		for _, ev := range events {
			s, ok := ev.(*evSignal)
			if !ok || s.org != org || s.signal.IdempotencyKey == "" {
				continue
			}
			if row, ok := found[KeyScope{s.agent, s.key, s.signal.IdempotencyKey}]; ok {
				s.settled = &row
			}
			if err != nil {
				s.unknown = &api.Error{Code: api.CodeUnavailable, Op: "look up idempotency key", Err: err}
			}
		}
	}
}

// lookUpEnds asks the archive which of the sessions that spokes report, and memory does not have, were terminated while the
// spoke's cluster had them: once for all reports of a cluster. Without an answer nothing is said of them now.
func (l *loop) lookUpEnds(ctx context.Context, events []event) {
	var clusters []api.ClusterID // in the order in which they report
	unknown, ended := map[api.ClusterID][]SessionEpoch{}, map[api.ClusterID]map[SessionEpoch]api.OrgID{}
	each := func(cluster api.ClusterID, h api.Held) {
		if shard, err := h.Session.Shard(); err != nil || shard != l.shard || l.m.sessions[h.Session] != nil {
			return
		}
		if unknown[cluster] == nil {
			clusters = append(clusters, cluster)
		}
		unknown[cluster] = append(unknown[cluster], SessionEpoch{h.Session, h.Epoch})
	}
	for _, ev := range events {
		switch ev := ev.(type) {
		case evHeld:
			each(ev.cluster, ev.held)
		case evAttach:
			for _, h := range ev.held {
				each(ev.cluster, h)
			}
		}
	}
	for _, c := range clusters {
		slices.SortFunc(unknown[c], SessionEpoch.compare) // a hello names what was reported before it
		ended[c], _ = l.ports.Archive.EndedEpochs(ctx, c, slices.Compact(unknown[c]))
	}
	for i, ev := range events {
		switch ev := ev.(type) {
		case evHeld:
			ev.ended = ended[ev.cluster][SessionEpoch{ev.held.Session, ev.held.Epoch}]
			events[i] = ev
		case evAttach:
			for id, h := range ev.held {
				if org, ok := ended[ev.cluster][SessionEpoch{id, h.Epoch}]; ok {
					if ev.ended == nil {
						ev.ended = map[api.SessionID]api.OrgID{}
					}
					ev.ended[id] = org
				}
			}
			events[i] = ev
		}
	}
}

// lookUpCheckpoints asks the bucket for the checkpoints that a batch says are saved: a signal must not be settled by one that
// is not there.
func (l *loop) lookUpCheckpoints(ctx context.Context, ev evEvents) evEvents {
	s := l.m.sessions[ev.batch.Session]
	if s == nil || l.ports.Vault == nil {
		return ev
	}
	for _, e := range ev.batch.Events {
		id := checkpointOf(e)
		if e.Type != api.EventSaved || e.SourceNumber <= s.log.taken[ev.batch.Source] || !id.Valid() {
			continue
		}
		has, err := s.Checkpoint() == id, error(nil) // the last durable one was asked for when it became that, and is never removed
		if !has {
			has, err = l.ports.Vault.HasCheckpoint(ctx, s.Org, s.ID, id)
		}
		if err != nil {
			ev.unknown = &api.Error{Code: api.CodeUnavailable, Op: "look up checkpoint", Err: err}
			break
		}
		if !has {
			l.ports.Logger.Warn("checkpoint is not in the bucket", "session", s.ID, "cluster", ev.cluster, "checkpoint", id)
			continue
		}
		if ev.saved == nil {
			ev.saved = map[api.CheckpointID]bool{}
		}
		ev.saved[id] = true
	}
	return ev
}

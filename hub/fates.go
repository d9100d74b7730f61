package hub

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/nave-dev/nave/api"
)

// memoryWait bounds how long the answer waits for the shards of the sessions: one that is being loaded says nothing of its own.
const memoryWait = 3 * time.Second

// Fates tells a spoke what became of sessions whose state it keeps still. Only such that were placed in its cluster are named; of
// the others nothing is said, and that says nothing.
//
// Ended are those that were terminated: nothing acts for them any more, and the archive has the end.
//
// Moved are those that were placed elsewhere later, and of which a checkpoint is durable that was taken in the epoch that was issued
// last. That it was issued means that nobody acts under those before it.
func (a *Attachment) Fates(ctx context.Context, sessions []api.SessionID) (api.Fates, error) {
	if a.ctx.Err() != nil {
		return api.Fates{}, a.reason()
	}
	if len(sessions) > api.MaxFates {
		return api.Fates{}, api.Invalid("sessions", "%d: at most %d are allowed", len(sessions), api.MaxFates)
	}
	if len(sessions) == 0 {
		return api.Fates{}, nil
	}
	ended, err := a.h.cfg.Archive.Ended(ctx, a.cluster, sessions)
	if err != nil {
		return api.Fates{}, err
	}
	rest := slices.DeleteFunc(slices.Clone(sessions), func(id api.SessionID) bool { return slices.Contains(ended, id) })
	moved, err := movedFrom(ctx, a.h.cfg.Archive, a.cluster, a.savedElsewhere(ctx, rest))
	if err != nil {
		return api.Fates{}, err
	}
	return api.Fates{Ended: ended, Moved: moved}, nil
}

// movedFrom are those of the sessions, which memory has in another cluster and saved in their last epochs, that were in the cluster
// before. What memory says is older than what is read here: the archive has every decision before a checkpoint of which memory knows.
func movedFrom(ctx context.Context, archive Archive, cluster api.ClusterID, saved map[api.SessionID]api.Epoch) ([]api.SessionID, error) {
	if len(saved) == 0 {
		return nil, nil
	}
	here, err := archive.LastEpochs(ctx, cluster, slices.Sorted(maps.Keys(saved)))
	if err != nil {
		return nil, err
	}
	var out []api.SessionID
	for _, id := range slices.Sorted(maps.Keys(here)) {
		if here[id].Compare(saved[id]) < 0 {
			out = append(out, id)
		}
	}
	return out, nil
}

// savedElsewhere returns the last epochs of the sessions that the present owner has in another cluster, and of which it has a durable
// checkpoint of that epoch. Of the sessions of a shard that does not answer soon nothing is said.
func (a *Attachment) savedElsewhere(ctx context.Context, sessions []api.SessionID) map[api.SessionID]api.Epoch {
	of := map[api.Shard][]api.SessionID{}
	for _, id := range sessions {
		if shard, err := id.Shard(); err == nil {
			of[shard] = append(of[shard], id)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, memoryWait)
	defer cancel()
	out := map[api.SessionID]api.Epoch{}
	for _, shard := range slices.Sorted(maps.Keys(of)) {
		found := make(chan map[api.SessionID]api.Epoch, 1)
		err := a.h.queryShard(ctx, shard, func(m *machine) { found <- m.savedElsewhere(a.cluster, of[shard]) })
		if err != nil {
			break
		}
		maps.Copy(out, <-found)
	}
	return out
}

// savedElsewhere returns the last epochs of those of the sessions that are in another cluster, and of which a checkpoint of that epoch
// is durable. With one of an earlier epoch there may be a later one of the cluster that the archive does not have yet.
func (m *machine) savedElsewhere(cluster api.ClusterID, sessions []api.SessionID) map[api.SessionID]api.Epoch {
	out := map[api.SessionID]api.Epoch{}
	for _, id := range sessions {
		s := m.sessions[id]
		if s == nil || s.SavedIn != s.Epoch || s.SavedIn == (api.Epoch{}) {
			continue
		}
		is := s.LastCluster
		if s.Assignment != nil {
			is = s.Assignment.Cluster
		}
		if is != "" && is != cluster {
			out[id] = s.SavedIn
		}
	}
	return out
}

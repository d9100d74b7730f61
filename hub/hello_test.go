package hub_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
)

// askedArchive counts how often the archive is asked for epochs that ended.
type askedArchive struct {
	hub.Archive
	questions atomic.Int64
}

func (c *askedArchive) EndedEpochs(ctx context.Context, cluster api.ClusterID, epochs []hub.SessionEpoch) (map[hub.SessionEpoch]api.OrgID, error) {
	c.questions.Add(1)
	return c.Archive.EndedEpochs(ctx, cluster, epochs)
}

// A spoke comes back with sessions that no shard knows: the archive is asked once for each shard at most. What was terminated
// while this cluster had it is released; of the others nothing is said.
func TestTheSessionsOfAHelloAreLookedUpTogether(t *testing.T) {
	const each = 4 // sessions of a shard
	w := newBrains(t)
	here, elsewhere := w.cluster("aws"), w.cluster("gcp")
	archive := &askedArchive{}
	b := w.start(func(c *hub.Config) { archive.Archive, c.Archive = c.Archive, archive })
	epoch := api.Epoch{Incarnation: 1, N: 1}
	var held []api.Held
	for i := range each * api.Shards {
		id := api.NewSessionID(time.Now(), api.Shard(i%api.Shards), [10]byte{byte(i >> 8), byte(i)})
		held = append(held, api.Held{Session: id, Epoch: epoch, Attempt: 1, State: api.HeldRunning, Number: 1})
	}
	end := func(id api.SessionID, at api.ClusterID) {
		t.Helper()
		shard, err := id.Shard()
		must(t, err)
		head, err := w.store.Head(t.Context(), shard)
		must(t, err)
		must(t, w.archive.Append(t.Context(), []hub.Append{{Shard: shard, Generation: head.Generation, Org: api.DefaultOrg,
			Decisions:  []api.Decision{{Session: id, Epoch: epoch, Cluster: at, Time: time.Now()}},
			Terminated: []api.Session{{ID: id, Org: api.DefaultOrg}}}}))
	}
	over := map[api.SessionID]bool{held[3].Session: true, held[3+api.Shards].Session: true, held[9].Session: true}
	for id := range over {
		end(id, here)
	}
	end(held[4].Session, elsewhere)
	s := b.attach("aws", 4, held...)
	for id := range over {
		s.released(id)
	}
	eventually(t, "the link has begun", func() string { return atLeast(s.fulls(), api.Shards) })
	if n := archive.questions.Load(); n == 0 || n > api.Shards {
		t.Errorf("%d sessions were looked up by %d questions, want at most one for each of %d shards", len(held), n, api.Shards)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, d := range s.wanted {
		if !over[id] || d.Epoch != epoch {
			t.Errorf("the spoke is told %+v of a session that is not over here", d)
		}
	}
}

// A hello that names what is no session is refused whole.
func TestAHelloThatNamesNoSessionIsRefused(t *testing.T) {
	w := newBrains(t)
	w.cluster("aws")
	b := w.start()
	hello := b.hello("aws", 1)
	hello.Held = []api.Held{{Session: "x", Epoch: api.Epoch{Incarnation: 1, N: 1}}}
	if _, _, err := b.Attach(t.Context(), "aws", hello); api.CodeOf(err) != api.CodeInvalid || api.FieldOf(err) != "held.session" {
		t.Errorf("Attach = %v, want CodeInvalid about held.session", err)
	}
}

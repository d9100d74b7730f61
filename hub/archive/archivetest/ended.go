package archivetest

import (
	"testing"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
)

// testEnded: a cluster is told of sessions that ended and that were placed there, wherever they ended, and of nothing else.
func testEnded(t *testing.T, db Database) {
	ctx := t.Context()
	a := raised(t, db)
	here, elsewhere, moved, lives := session(shard, 1), session(shard, 2), session(shard, 3), session(shard, 4)
	ap := of(shard, first)
	ap.Decisions = []api.Decision{decision(here, 1), decision(elsewhere, 1), decision(moved, 1), decision(moved, 2), decision(lives, 1)}
	ap.Decisions[1].Cluster, ap.Decisions[3].Cluster = "other", "other"
	must(t, "Append", a.Append(ctx, []hub.Append{ap}))
	all := []api.SessionID{lives, moved, elsewhere, here, session(shard, 9), "no session"}
	for n := range 900 { // more than one statement takes
		all = append(all, session(shard, 100+n))
	}
	ended := func(cluster api.ClusterID, want ...api.SessionID) {
		t.Helper()
		got, err := a.Ended(ctx, cluster, all)
		must(t, "Ended", err)
		wantSame(t, "ended in "+string(cluster), got, want)
	}
	ended("c")
	ap = of(shard, first)
	ap.Terminated = []api.Session{{ID: here, Org: org}, {ID: elsewhere, Org: org}, {ID: moved, Org: org, LastCluster: "other"}}
	must(t, "Append", a.Append(ctx, []hub.Append{ap}))
	for range 2 {
		ended("c", here, moved)
		ended("other", elsewhere, moved)
		ended("third")
		a = db.Open(t)
	}
}

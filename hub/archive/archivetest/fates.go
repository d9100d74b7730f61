package archivetest

import (
	"math"
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

// testEndedEpochs: a cluster is told of the epochs that were placed there and whose session ended, and of no other epoch of the
// same session.
func testEndedEpochs(t *testing.T, db Database) {
	ctx := t.Context()
	a := raised(t, db)
	here, moved, waited, lives := session(shard, 1), session(shard, 2), session(shard, 3), session(shard, 4)
	at := func(id api.SessionID, n uint64) hub.SessionEpoch {
		return hub.SessionEpoch{Session: id, Epoch: api.Epoch{Incarnation: 1, N: n}}
	}
	ap := of(shard, first)
	ap.Decisions = []api.Decision{decision(here, 1), decision(moved, 1), decision(moved, 2), decision(waited, 1), decision(lives, 1)}
	ap.Decisions[2].Cluster, ap.Decisions[3].Cluster = "other", ""
	must(t, "Append", a.Append(ctx, []hub.Append{ap}))
	all := []hub.SessionEpoch{at(lives, 1), at(here, 1), at(here, 2), at(here, 0), at(moved, 1), at(moved, 2), at(waited, 1), at(session(shard, 9), 1), at("no session", 1),
		at(here, math.MaxUint64), {Session: here, Epoch: api.Epoch{Incarnation: 2, N: 1}}}
	for n := range 900 { // more than one statement takes
		all = append(all, at(session(shard, 100+n), 1))
	}
	ended := func(cluster api.ClusterID, asked []hub.SessionEpoch, want ...hub.SessionEpoch) {
		t.Helper()
		got, err := a.EndedEpochs(ctx, cluster, asked)
		must(t, "EndedEpochs", err)
		wanted := map[hub.SessionEpoch]api.OrgID{}
		for _, e := range want {
			wanted[e] = org
		}
		wantSame(t, "ended in "+string(cluster), got, wanted)
	}
	ended("c", all)
	ended("c", nil)
	ended("c", []hub.SessionEpoch{at("no session", 1)})
	end := of(shard, first)
	for _, id := range []api.SessionID{here, moved, waited} {
		end.Terminated = append(end.Terminated, api.Session{ID: id, Org: org})
	}
	must(t, "Append", a.Append(ctx, []hub.Append{end}))
	for range 2 {
		ended("c", all, at(here, 1), at(moved, 1))
		ended("other", all, at(moved, 2))
		ended("third", all)
		a = db.Open(t)
	}
}

// testLastEpochs: a cluster's last epoch of a session is the highest that a decision placed there, in whatever order they came, and
// however often the session was placed elsewhere since.
func testLastEpochs(t *testing.T, db Database) {
	ctx := t.Context()
	a := raised(t, db)
	here, moved, waited, elsewhere := session(shard, 1), session(shard, 2), session(shard, 3), session(shard, 4)
	at := func(incarnation uint32, n uint64) api.Epoch { return api.Epoch{Incarnation: incarnation, N: n} }
	ap := of(shard, first)
	add := func(id api.SessionID, cluster api.ClusterID, epochs ...api.Epoch) {
		for _, e := range epochs {
			d := decision(id, int(e.N))
			d.Cluster, d.Epoch = cluster, e
			ap.Decisions = append(ap.Decisions, d)
		}
	}
	add(here, "c", at(1, 10), at(1, 9), at(1, 2))
	add(moved, "c", at(1, 7), at(2, 3), at(1, 8)) // the hub was restored between: a later incarnation comes after any number
	add(moved, "other", at(2, 4), at(2, 5), at(1, 1))
	add(waited, "", at(1, 1))
	add(elsewhere, "other", at(1, 1))
	must(t, "Append", a.Append(ctx, []hub.Append{ap}))
	all := []api.SessionID{elsewhere, waited, moved, here, session(shard, 9), "no session"}
	for n := range 900 { // more than one statement takes
		all = append(all, session(shard, 100+n))
	}
	last := func(cluster api.ClusterID, asked []api.SessionID, want map[api.SessionID]api.Epoch) {
		t.Helper()
		got, err := a.LastEpochs(ctx, cluster, asked)
		must(t, "LastEpochs", err)
		wantSame(t, "last in "+string(cluster), got, want)
	}
	for range 2 {
		last("c", all, map[api.SessionID]api.Epoch{here: at(1, 10), moved: at(2, 3)})
		last("c", []api.SessionID{moved, moved}, map[api.SessionID]api.Epoch{moved: at(2, 3)})
		last("other", all, map[api.SessionID]api.Epoch{moved: at(2, 5), elsewhere: at(1, 1)})
		last("third", all, map[api.SessionID]api.Epoch{})
		last("", all, map[api.SessionID]api.Epoch{})
		last("c", nil, map[api.SessionID]api.Epoch{})
		a = db.Open(t)
	}
}

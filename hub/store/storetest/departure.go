package storetest

import (
	"testing"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
)

func wantField(t *testing.T, what string, err error, code api.Code, field string) {
	t.Helper()
	wantCode(t, what, err, code)
	if api.FieldOf(err) != field {
		t.Fatalf("%s: field = %q, want %q", what, api.FieldOf(err), field)
	}
}

func testDeleteComparesPlacements(t *testing.T, s Stores) {
	ctx := t.Context()
	c, other := register(t, s.One, 1), register(t, s.One, 2)
	for _, x := range []api.Cluster{c, other} {
		must(t, "Take", s.One.Take(ctx, x.ID, holder("b", "j"), time.Minute))
	}
	before, err := s.Other.Placements(ctx, c.ID)
	must(t, "Placements", err)
	b := putSession(7, claim(t, s.One, 7), 1)
	b.Alive = []api.ClusterID{c.ID}
	must(t, "an assignment", s.One.Commit(ctx, []hub.Batch{b}))
	wantCode(t, "a delete with the mark before the assignment", s.Other.DeleteCluster(ctx, c.ID, c.Etag, before), api.CodeConflict)
	mark, err := s.Other.Placements(ctx, c.ID)
	must(t, "Placements", err)
	if mark == before {
		t.Fatal("the assignment did not change the mark")
	}
	b = putSession(7, b.Next(), 2)
	b.Alive = []api.ClusterID{other.ID}
	must(t, "an assignment to the other cluster", s.One.Commit(ctx, []hub.Batch{b}))
	must(t, "a delete with the present mark", s.Other.DeleteCluster(ctx, c.ID, c.Etag, mark))
	b = putSession(7, b.Next(), 3)
	b.Alive = []api.ClusterID{c.ID}
	wantCode(t, "an assignment to the removed cluster", s.One.Commit(ctx, []hub.Batch{b}), api.CodeConflict)
	wantCode(t, "Take of the removed cluster", s.One.Take(ctx, c.ID, holder("b", "j"), time.Minute), api.CodeNotFound)
}

func testRejoin(t *testing.T, s Stores) {
	ctx := t.Context()
	c := register(t, s.One, 1)
	_, old := cluster(1)
	c.Identity = "first"
	c, err := s.One.UpdateCluster(ctx, c)
	must(t, "UpdateCluster", err)
	first := hub.LeaseHolder{Boot: "b", Journal: "j", Fingerprint: "f", Identity: "first"}
	must(t, "Take", s.One.Take(ctx, c.ID, first, time.Minute))

	next := c
	next.Identity, next.Fence = "", 90*time.Second
	token := api.JoinToken{Hash: [32]byte{77}, Cluster: c.ID, Org: c.Org, ExpiresAt: began.Add(time.Hour)}
	stale := next
	stale.Etag = "1"
	_, err = s.Other.RejoinCluster(ctx, stale, token)
	wantCode(t, "an old etag", err, api.CodeConflict)
	_, err = s.Other.BindToken(ctx, token.Hash, []byte("k"), began)
	wantCode(t, "the token of a refused rejoin", err, api.CodeDenied)
	stored, err := s.Other.RejoinCluster(ctx, next, token)
	must(t, "RejoinCluster", err)
	wantSame(t, "what rejoin returned", stored, next, ignoreClusterEtag)
	all, err := s.One.Clusters(ctx)
	must(t, "Clusters", err)
	wantSame(t, "clusters", all, []api.Cluster{stored})

	_, err = s.One.BindToken(ctx, old.Hash, []byte("k"), began)
	wantCode(t, "the former token", err, api.CodeDenied)
	wantField(t, "the former spoke", s.One.Take(ctx, c.ID, first, time.Minute), api.CodeDenied, "identity")
	wantHolders(t, s.One, map[api.ClusterID]hub.LeaseHolder{c.ID: holder("b", "j")}) // it runs out by itself
	_, err = s.One.BindToken(ctx, token.Hash, []byte("k"), began)
	must(t, "the new token", err)
	stored.Identity, stored.Fence = "second", 0
	_, err = s.One.UpdateCluster(ctx, stored)
	must(t, "UpdateCluster", err)
	must(t, "the new spoke, which stands elsewhere", s.One.Take(ctx, c.ID, hub.LeaseHolder{Boot: "b2", Journal: "j", Fingerprint: "g", Identity: "second"}, time.Minute))
}

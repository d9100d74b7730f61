package storetest

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
	"github.com/nave-dev/nave/internal/run"
)

func cluster(n int) (api.Cluster, api.JoinToken) {
	c := api.Cluster{ID: api.ClusterID(id(n)), Org: org, Name: fmt.Sprintf("c%d", n), Labels: map[string]string{"cloud": "aws"},
		Taints: []api.Taint{{Key: "k", Value: "v", Effect: api.EffectNoSchedule}}, Cordoned: true, CreatedAt: began, UpdatedAt: began}
	return c, api.JoinToken{Hash: [32]byte{byte(n), 1}, Cluster: c.ID, Org: c.Org, ExpiresAt: began.Add(time.Hour)}
}

func register(t *testing.T, r Replica, n int) api.Cluster {
	t.Helper()
	c, token := cluster(n)
	stored, err := r.CreateCluster(t.Context(), c, token)
	must(t, "CreateCluster", err)
	return stored
}

func holder(boot, journal string) hub.LeaseHolder {
	return hub.LeaseHolder{Boot: boot, Journal: journal, Fingerprint: "f"}
}

var ignoreClusterEtag = cmpopts.IgnoreFields(api.Cluster{}, "Etag")

func testClusterLife(t *testing.T, s Stores) {
	ctx := t.Context()
	c, token := cluster(1)
	created := register(t, s.One, 1)
	wantSame(t, "what create returned", created, c, ignoreClusterEtag)
	other := register(t, s.One, 2)
	all, err := s.Other.Clusters(ctx)
	must(t, "Clusters", err)
	wantSame(t, "clusters", all, []api.Cluster{created, other})

	twin, twinToken := cluster(3)
	twin.Name = c.Name
	_, err = s.One.CreateCluster(ctx, twin, twinToken)
	wantCode(t, "a name that is taken", err, api.CodeExists)
	if api.FieldOf(err) != "name" {
		t.Fatalf("field = %q, want name", api.FieldOf(err))
	}

	changed := created
	changed.Cordoned, changed.Identity, changed.Labels = false, "identity", nil
	changed.Fence = 61500 * time.Millisecond
	updated, err := s.Other.UpdateCluster(ctx, changed)
	must(t, "UpdateCluster", err)
	wantSame(t, "what update returned", updated, changed, ignoreClusterEtag)
	if updated.Etag == created.Etag {
		t.Fatal("the etag did not change")
	}
	_, err = s.One.UpdateCluster(ctx, changed)
	wantCode(t, "an update with the old etag", err, api.CodeConflict)

	renamed := updated
	renamed.Name = other.Name
	_, err = s.One.UpdateCluster(ctx, renamed)
	wantCode(t, "a rename to a name that is taken", err, api.CodeExists)
	renamed.Name = "renamed"
	renamed, err = s.One.UpdateCluster(ctx, renamed)
	must(t, "rename", err)
	all, err = s.Other.Clusters(ctx)
	must(t, "Clusters", err)
	wantSame(t, "clusters after the rename", all, []api.Cluster{renamed, other})
	twin, err = s.One.CreateCluster(ctx, twin, twinToken)
	must(t, "create with the name that became free", err)

	wantCode(t, "a delete with an old etag", s.One.DeleteCluster(ctx, c.ID, created.Etag, 0), api.CodeConflict)
	must(t, "DeleteCluster", s.One.DeleteCluster(ctx, c.ID, renamed.Etag, 0))
	wantCode(t, "a delete again", s.One.DeleteCluster(ctx, c.ID, renamed.Etag, 0), api.CodeNotFound)
	_, err = s.One.UpdateCluster(ctx, renamed)
	wantCode(t, "an update of the removed cluster", err, api.CodeNotFound)
	_, err = s.One.BindToken(ctx, token.Hash, []byte("key"), began)
	wantCode(t, "the token of the removed cluster", err, api.CodeDenied)
	all, err = s.Other.Clusters(ctx)
	must(t, "Clusters", err)
	wantSame(t, "clusters in the end", all, []api.Cluster{other, twin})
	c.Name = "renamed"
	_, err = s.One.CreateCluster(ctx, c, token)
	must(t, "create again under the name of the removed one", err)
}

func testTokenBinds(t *testing.T, s Stores) {
	ctx := t.Context()
	register(t, s.One, 1)
	_, token := cluster(1)
	bind := func(hash [32]byte, key string, at time.Time) (api.JoinToken, error) {
		return s.Other.BindToken(ctx, hash, []byte(key), at)
	}
	_, err := bind([32]byte{200}, "key", began)
	wantCode(t, "an unknown token", err, api.CodeDenied)
	_, err = bind(token.Hash, "", began)
	wantCode(t, "no key", err, api.CodeDenied)
	_, err = bind(token.Hash, "key", token.ExpiresAt)
	wantCode(t, "an expired token", err, api.CodeDenied)
	want := token
	want.Key = []byte("key")
	for range 2 {
		got, err := bind(token.Hash, "key", began)
		must(t, "bind", err)
		wantSame(t, "token", got, want)
	}
	_, err = bind(token.Hash, "other", began)
	wantCode(t, "another key", err, api.CodeDenied)
	got, err := bind(token.Hash, "key", began)
	must(t, "bind after the refusal", err)
	wantSame(t, "token after the refusal", got, want)
}

func testConcurrentBind(t *testing.T, s Stores) {
	register(t, s.One, 1)
	_, token := cluster(1)
	var bound atomic.Int32
	g := run.NewGroup(t.Context())
	for i := range 10 {
		g.Go("bind", func(ctx context.Context) error {
			_, err := []Replica{s.One, s.Other}[i%2].BindToken(ctx, token.Hash, []byte{byte(i + 1)}, began)
			if err == nil {
				bound.Add(1)
			} else if api.CodeOf(err) != api.CodeDenied {
				return err
			}
			return nil
		})
	}
	must(t, "binds", g.Wait())
	if bound.Load() != 1 {
		t.Fatalf("%d keys were bound, want 1", bound.Load())
	}
}

package storetest

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
	"github.com/nave-dev/nave/internal/run"
)

func wantHolders(t *testing.T, r Replica, want map[api.ClusterID]hub.LeaseHolder) {
	t.Helper()
	got, err := r.Holders(t.Context())
	must(t, "Holders", err)
	wantSame(t, "holders", got, want)
}

func testLeaseTake(t *testing.T, s Stores) {
	ctx := t.Context()
	c := register(t, s.One, 1).ID
	wantHolders(t, s.One, nil)
	wantCode(t, "a renewal of what nobody holds", s.One.Renew(ctx, c, "b"), api.CodeConflict)
	must(t, "Take", s.One.Take(ctx, c, holder("b", "j"), time.Minute))
	wantHolders(t, s.Other, map[api.ClusterID]hub.LeaseHolder{c: holder("b", "j")})
	for _, r := range []Replica{s.One, s.Other, s.Other} {
		must(t, "Renew", r.Renew(ctx, c, "b"))
	}
	wantCode(t, "a renewal of another boot", s.One.Renew(ctx, c, "b2"), api.CodeConflict)
	must(t, "Take by the same boot", s.Other.Take(ctx, c, holder("b", "j"), time.Minute))
	must(t, "Renew where the lease was replaced by another replica", s.One.Renew(ctx, c, "b"))
	wantCode(t, "Take for an unknown cluster", s.One.Take(ctx, "unknown", holder("b", "j"), time.Minute), api.CodeNotFound)
	wantCode(t, "Take without a fingerprint", s.One.Take(ctx, c, hub.LeaseHolder{Boot: "b", Journal: "j"}, time.Minute), api.CodeInvalid)
}

func testLeaseTakeover(t *testing.T, s Stores) {
	ctx := t.Context()
	c := register(t, s.One, 1).ID
	must(t, "Take", s.One.Take(ctx, c, holder("b1", "j"), time.Minute))
	wantCode(t, "another boot with another journal", s.Other.Take(ctx, c, holder("b2", "j2"), time.Minute), api.CodeConflict)
	wantHolders(t, s.One, map[api.ClusterID]hub.LeaseHolder{c: holder("b1", "j")})
	must(t, "another boot with the journal", s.Other.Take(ctx, c, holder("b2", "j"), time.Minute))
	wantHolders(t, s.One, map[api.ClusterID]hub.LeaseHolder{c: holder("b2", "j")})
	wantCode(t, "a renewal of the former boot", s.One.Renew(ctx, c, "b1"), api.CodeConflict)
	must(t, "a renewal of the new boot", s.One.Renew(ctx, c, "b2"))
	wantHolders(t, s.One, map[api.ClusterID]hub.LeaseHolder{c: holder("b2", "j")})
}

func testLeaseFingerprint(t *testing.T, s Stores) {
	ctx := t.Context()
	c := register(t, s.One, 1)
	must(t, "Take", s.One.Take(ctx, c.ID, holder("b", "j"), time.Second))
	copied := holder("b2", "j") // the journal was copied too
	copied.Fingerprint = "g"
	wantCode(t, "another fingerprint", s.Other.Take(ctx, c.ID, copied, time.Minute), api.CodeDenied)
	wantHolders(t, s.One, map[api.ClusterID]hub.LeaseHolder{c.ID: holder("b", "j")})
	eventually(t, "the lease runs out", 15*time.Second, func() bool {
		h, err := s.One.Holders(ctx)
		return err == nil && len(h) == 0
	})
	wantCode(t, "another fingerprint after the lease", s.Other.Take(ctx, c.ID, copied, time.Minute), api.CodeDenied)
	c.Identity = "enrolled anew"
	_, err := s.One.UpdateCluster(ctx, c)
	must(t, "UpdateCluster", err)
	wantField(t, "the former identity", s.Other.Take(ctx, c.ID, copied, time.Minute), api.CodeDenied, "identity")
	copied.Identity = c.Identity
	must(t, "another fingerprint with a new identity", s.Other.Take(ctx, c.ID, copied, time.Minute))
}

func testLeaseExpiry(t *testing.T, s Stores) {
	ctx := t.Context()
	short, renewed := register(t, s.One, 1).ID, register(t, s.One, 2).ID
	const ttl = 2 * time.Second
	begin := time.Now()
	must(t, "Take", s.One.Take(ctx, short, holder("b", "j"), ttl))
	must(t, "Take", s.One.Take(ctx, renewed, holder("b", "j"), ttl))
	eventually(t, "the lease that nobody renews runs out", 15*time.Second, func() bool {
		must(t, "Renew", s.One.Renew(ctx, renewed, "b"))
		h, err := s.One.Holders(ctx)
		must(t, "Holders", err)
		_, held := h[short]
		return !held
	})
	if d := time.Since(begin); d < ttl {
		t.Fatalf("the lease of %v ended after %v", ttl, d)
	}
	wantHolders(t, s.Other, map[api.ClusterID]hub.LeaseHolder{renewed: holder("b", "j")})
	wantCode(t, "a renewal of the lease that ran out", s.One.Renew(ctx, short, "b"), api.CodeConflict)
	must(t, "Take by another journal", s.Other.Take(ctx, short, holder("b2", "j2"), ttl))
	wantCode(t, "a renewal of the first holder", s.One.Renew(ctx, short, "b"), api.CodeConflict)
}

func testConcurrentTake(t *testing.T, s Stores) {
	c := register(t, s.One, 1).ID
	var taken atomic.Int32
	g := run.NewGroup(t.Context())
	for i := range 8 {
		g.Go("take", func(ctx context.Context) error {
			err := []Replica{s.One, s.Other}[i%2].Take(ctx, c, holder(fmt.Sprint("b", i), fmt.Sprint("j", i)), time.Minute)
			if err == nil {
				taken.Add(1)
			} else if api.CodeOf(err) != api.CodeConflict {
				return err
			}
			return nil
		})
	}
	must(t, "takes", g.Wait())
	if taken.Load() != 1 {
		t.Fatalf("%d spokes took the lease, want 1", taken.Load())
	}
}

func testLeaseEndsWithCluster(t *testing.T, s Stores) {
	ctx := t.Context()
	c := register(t, s.One, 1)
	must(t, "Take", s.One.Take(ctx, c.ID, holder("b", "j"), time.Minute))
	must(t, "DeleteCluster", s.Other.DeleteCluster(ctx, c.ID, c.Etag, 0))
	wantHolders(t, s.One, nil)
	wantCode(t, "a renewal after the removal", s.One.Renew(ctx, c.ID, "b"), api.CodeConflict)
	wantCode(t, "Take after the removal", s.One.Take(ctx, c.ID, holder("b", "j"), time.Minute), api.CodeNotFound)
}

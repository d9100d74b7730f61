//go:build kindtests

package kindtests

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/spoke"
)

// testMoved: of a session that goes on elsewhere its state is deleted and nothing else, by the hub's word and not while it is here;
// who comes back while it is deleted waits for it.
func testMoved(ctx context.Context, t *testing.T, b *apiBench) {
	moved, stays, busy := session(), session(), session()
	c := b.config(b.spoke)
	c.TidyEvery = 20 * time.Millisecond
	var mu sync.Mutex
	asked := map[api.SessionID]bool{}
	c.Fates = func(_ context.Context, ids []api.SessionID) (api.Fates, error) {
		mu.Lock()
		defer mu.Unlock()
		for _, id := range ids {
			asked[id] = true
		}
		return api.Fates{Moved: []api.SessionID{moved.ID.Session, busy.ID.Session}}, nil
	}
	rt := b.ready(ctx, b.config(b.spoke))
	for _, w := range []*spoke.WorkloadSpec{&moved, &stays, &busy} {
		w.Revision.Environment.Volumes = []api.Volume{{Name: "data", Mount: "/data", SizeBytes: 1 << 20}, {Name: "state", Mount: "/nave/state", SizeBytes: 1 << 20}}
		b.startWorkload(ctx, rt, *w)
		if w == &busy {
			continue
		}
		if err := b.Client.CoreV1().Pods(b.namespace).Delete(ctx, w.ID.String(), metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		b.awaitState(ctx, rt, w.ID, spoke.WorkloadEnded)
		if err := rt.Stop(ctx, w.ID, 0); err != nil {
			t.Fatal(err)
		}
		b.awaitState(ctx, rt, w.ID, "")
	}
	claims := b.Client.CoreV1().PersistentVolumeClaims(b.namespace)
	volume := func(w spoke.WorkloadSpec, name string) *corev1.PersistentVolumeClaim {
		v, err := claims.Get(ctx, strings.ToLower(string(w.ID.Session))+"-"+name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	rt = b.ready(ctx, c)
	await(ctx, t, "its state is being deleted", func() bool { return volume(moved, "state").DeletionTimestamp != nil })
	mu.Lock()
	if volume(moved, "data").DeletionTimestamp != nil || !asked[moved.ID.Session] {
		t.Error("what is in no checkpoint is deleted too")
	}
	if volume(stays, "state").DeletionTimestamp != nil || !asked[stays.ID.Session] {
		t.Error("the state of a session that nobody said has moved is deleted, or was not asked about")
	}
	if volume(busy, "state").DeletionTimestamp != nil || asked[busy.ID.Session] {
		t.Error("the state of a session with a workload is deleted, or was asked about")
	}
	mu.Unlock()

	// It comes back: nobody takes the finalizer away here, so the test does when the start has waited.
	was := volume(moved, "state")
	back := moved
	back.ID.Epoch.N++
	g := run.NewGroup(ctx)
	g.Go("start", func(ctx context.Context) error { return rt.Start(ctx, back) })
	await(ctx, t, "the claim of the workload is there", func() bool {
		_, err := b.Client.CoreV1().ConfigMaps(b.namespace).Get(ctx, back.ID.String(), metav1.GetOptions{})
		return err == nil
	})
	if _, err := b.Client.CoreV1().Pods(b.namespace).Get(ctx, back.ID.String(), metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("its pod was made on a volume that is being deleted: %v", err)
	}
	if _, err := claims.Patch(ctx, was.Name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if is := volume(back, "state"); is.UID == was.UID || is.DeletionTimestamp != nil {
		t.Errorf("the session that came back has the volume %v", is.ObjectMeta)
	}
}

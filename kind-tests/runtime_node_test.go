//go:build kindtests

package kindtests

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/internal/testcluster"
	"github.com/nave-dev/nave/spoke"
	"github.com/nave-dev/nave/spoke/kube"
)

// TestRuntimeAndNode shows what becomes of workloads that a real scheduler, kubelet and controller manager have their way with.
func TestRuntimeAndNode(t *testing.T) {
	ctx := limited(t)
	b := newRuntimeBed(ctx, t)
	c, authority := b.kube(t, kube.DeliveryAuto)
	c.Settings.Pods.PullPolicy = "IfNotPresent"
	c.Settings.StartLimit = kube.Duration(90 * time.Second)
	c.Settings.Flavors["giant"] = kube.Flavor{CPU: quantity("1000"), Memory: quantity("128Mi"), Count: 1}
	var asked requests
	c.Rest.Wrap(asked.wrap)
	rt := b.runtime(ctx, t, c)
	d := newDoor(t, c, authority, rt)
	n := &node{b, t, rt, &harnesses{attached: map[spoke.WorkloadID]bool{}}}
	g := run.NewGroup(context.Background())
	g.Go("door", func(ctx context.Context) error { return d.Run(ctx, n.h) })
	t.Cleanup(func() {
		g.Stop()
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
	})

	// They are given up while the others are looked at.
	noImage, noNode := n.spec(), n.spec()
	noImage.Revision.Environment.Image = testcluster.Registry + "/nave/nowhere:1"
	noNode.Revision.Environment.Flavor = "giant"
	for _, w := range []spoke.WorkloadSpec{noImage, noNode} {
		if err := rt.Start(ctx, w); err != nil {
			t.Fatal(err)
		}
	}
	n.waits(ctx, noImage.ID, "ErrImagePull", "connection refused")
	n.waits(ctx, noNode.ID, "Unschedulable", "Insufficient cpu")

	// A life takes four writes.
	w := n.running(ctx)
	if err := rt.Stop(ctx, w.ID, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if got := n.await(ctx, w.ID, spoke.WorkloadEnded); got.Exit != "stopped" || got.Failure != "" {
		t.Errorf("stopped: %+v", got)
	}
	if err := rt.Stop(ctx, w.ID, 0); err != nil {
		t.Fatal(err)
	}
	n.await(ctx, w.ID, "")
	wrote := asked.of(func(q *http.Request) bool {
		return writes(q) && (strings.HasSuffix(q.URL.Path, "/"+w.ID.String()) || q.Method == http.MethodPost)
	})
	wrote = wrote[4:] // of the two before
	pods, claims := "/api/v1/namespaces/"+sessions+"/pods", "/api/v1/namespaces/"+sessions+"/configmaps"
	if want := []string{"POST " + claims, "POST " + pods, "DELETE " + pods + "/" + w.ID.String(), "DELETE " + claims + "/" + w.ID.String()}; !slices.Equal(wrote, want) {
		t.Errorf("a life wrote\n%s\nwant\n%s", strings.Join(wrote, "\n"), strings.Join(want, "\n"))
	}

	// Who has the right to evict evicts, and that is no failed start.
	evict := func(id spoke.WorkloadID) error {
		return b.Client.CoreV1().Pods(sessions).EvictV1(ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: id.String()}})
	}
	w = n.running(ctx)
	if err := evict(w.ID); err != nil {
		t.Fatal(err)
	}
	if got := n.await(ctx, w.ID, spoke.WorkloadEnded); !strings.HasPrefix(got.Exit, "evicted: ") || got.Failure != "" {
		t.Errorf("evicted: %+v", got)
	}

	// The tool server beside an agent ends with it.
	w = n.spec()
	w.Revision.Agent.Harness = api.HarnessSpec{Protocol: api.ProtocolACP, Command: []string{"/bin/cat"}}
	w.Revision.Agent.MCPServers = []api.MCPServer{{Name: "tools", Image: agentImage, Port: 8080, Command: []string{"/bin/sh", "-c", "trap 'exit 0' TERM; while true; do sleep 0.1; done"}}}
	if err := rt.Start(ctx, w); err != nil {
		t.Fatal(err)
	}
	n.h.await(ctx, t, w.ID)
	if err := rt.Stop(ctx, w.ID, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	n.await(ctx, w.ID, spoke.WorkloadEnded)

	if got := n.await(ctx, noImage.ID, spoke.WorkloadEnded); got.Failure != api.StartFailureImage || !strings.Contains(got.Exit, "/nave/nowhere:1") {
		t.Errorf("no image: %+v", got)
	}
	if got := n.await(ctx, noNode.ID, spoke.WorkloadEnded); got.Failure != api.StartFailureRuntime || !strings.Contains(got.Exit, "Insufficient cpu") {
		t.Errorf("no node: %+v", got)
	}

	// A node that falls silent: nobody can tell, until it is back.
	w = n.running(ctx)
	if err := b.KillKubelet(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	got := n.awaitLong(ctx, w.ID, spoke.WorkloadLost)
	t.Logf("lost after %v: %+v", time.Since(began).Round(time.Second), got)
	if got.ObservedAt.IsZero() || !strings.Contains(got.Exit, b.Node()) {
		t.Errorf("lost: %+v", got)
	}
	if err := b.StartKubelet(ctx); err != nil {
		t.Fatal(err)
	}
	n.awaitLong(ctx, w.ID, spoke.WorkloadRunning)
	if err := rt.Stop(ctx, w.ID, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	n.await(ctx, w.ID, spoke.WorkloadEnded)
}

// node is a runtime on a cluster with one.
type node struct {
	*runtimeBed
	t  *testing.T
	rt *kube.Runtime
	h  *harnesses
}

func (n *node) spec() spoke.WorkloadSpec {
	w := session()
	w.Revision.Agent.Harness = api.HarnessSpec{Protocol: api.ProtocolCommand, Command: []string{"/bin/true"}}
	w.Revision.Environment.Image = agentImage
	return w
}

// running is a workload whose harness is attached.
func (n *node) running(ctx context.Context) spoke.WorkloadSpec {
	n.t.Helper()
	w := n.spec()
	if err := n.rt.Start(ctx, w); err != nil {
		n.t.Fatal(err)
	}
	n.h.await(ctx, n.t, w.ID)
	await(ctx, n.t, "the workload runs", func() bool { got := n.of(ctx, w.ID); return got.State == spoke.WorkloadRunning && got.Waiting == "" })
	return w
}

func (n *node) of(ctx context.Context, id spoke.WorkloadID) spoke.Workload {
	n.t.Helper()
	ws, err := n.rt.List(ctx)
	if err != nil {
		n.t.Fatalf("List: %v", err)
	}
	if i := slices.IndexFunc(ws, func(w spoke.Workload) bool { return w.ID == id }); i >= 0 {
		return ws[i]
	}
	return spoke.Workload{}
}

func (n *node) waits(ctx context.Context, id spoke.WorkloadID, parts ...string) {
	n.t.Helper()
	await(ctx, n.t, "the workload waits for "+strings.Join(parts, ", "), func() bool {
		got := n.of(ctx, id)
		return got.State == spoke.WorkloadRunning && !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(got.Waiting, p) })
	})
}

func (n *node) await(ctx context.Context, id spoke.WorkloadID, want spoke.WorkloadState) (got spoke.Workload) {
	n.t.Helper()
	await(ctx, n.t, "the workload is "+string(want), func() bool { got = n.of(ctx, id); return got.State == want })
	return got
}

// awaitLong waits as long as it takes to notice that a node is silent.
func (n *node) awaitLong(ctx context.Context, id spoke.WorkloadID, want spoke.WorkloadState) (got spoke.Workload) {
	n.t.Helper()
	deadline := time.Now().Add(3 * time.Minute)
	tick := time.NewTicker(waitLook)
	defer tick.Stop()
	for got = n.of(ctx, id); got.State != want; got = n.of(ctx, id) {
		if time.Now().After(deadline) || ctx.Err() != nil {
			n.t.Fatalf("the workload is %+v, not %s", got, want)
		}
		<-tick.C
	}
	return got
}

// harnesses takes what harnesses say and keeps who was attached.
type harnesses struct {
	mu       sync.Mutex
	attached map[spoke.WorkloadID]bool
}

func (h *harnesses) await(ctx context.Context, t testing.TB, id spoke.WorkloadID) {
	t.Helper()
	await(ctx, t, "the harness is attached", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.attached[id]
	})
}

// Attached implements [spoke.DoorHandler].
func (h *harnesses) Attached(_ context.Context, id spoke.WorkloadID) (uint64, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.attached[id] = true
	return 0, nil
}

// Events implements [spoke.DoorHandler].
func (h *harnesses) Events(context.Context, spoke.WorkloadID, []api.Event) error { return nil }

// Deltas implements [spoke.DoorHandler].
func (h *harnesses) Deltas(spoke.WorkloadID, []api.Delta, int) {}

// Detached implements [spoke.DoorHandler].
func (h *harnesses) Detached(spoke.WorkloadID) {}

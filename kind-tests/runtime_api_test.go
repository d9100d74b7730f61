//go:build kindtests

package kindtests

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/testcluster"
	"github.com/nave-dev/nave/spoke"
	"github.com/nave-dev/nave/spoke/kube"
)

// TestRuntimeAndAPIServer shows what the runtime asks of an API server and makes of its answers. No pod runs: the tests say in
// the place of a kubelet what becomes of them.
func TestRuntimeAndAPIServer(t *testing.T) {
	ctx := limited(t)
	t.Setenv("HTTP2_READ_IDLE_TIMEOUT_SECONDS", "2") // the client library asks a silent API server after 30 s, and waits 15 s
	t.Setenv("HTTP2_PING_TIMEOUT_SECONDS", "2")
	bed, err := testcluster.StartControlPlane(ctx, testcluster.Config{Bin: programs(ctx, t), Log: logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, bed) })
	n := 0
	for _, tt := range []struct {
		name string
		test func(context.Context, *testing.T, *apiBench)
	}{
		{"the restricted standard admits pods", testAdmitted},
		{"a life takes four writes", testWrites},
		{"a quota refuses", testQuota},
		{"no service account", testNoServiceAccount},
		{"no right to list", testNoList},
		{"no right to make pods", testNoPods},
		{"a claim of something else", testForeignClaim},
		{"a pod that is not ours", testForeignPod},
		{"a pod that somebody deletes", testDeletedPod},
		{"a pod without its labels", testStripped},
		{"an evicted pod", testEvicted},
		{"turns", testTurns},
		{"an image that cannot be had", testGivenUp},
		{"a tag that moves", testPinned},
		{"volumes of sessions that are over", testTidy},
		{"volumes of sessions that go on elsewhere", testMoved},
		{"namespaces that are made", testManaged},
		{"answers that are lost", testLost},
		{"an API server that is away", testAway},
		{"an API server that does not answer", testSilent},
	} {
		n++
		ns, cluster := fmt.Sprintf("sessions-%d", n), fmt.Sprintf("01API%d", n)
		t.Run(tt.name, func(t *testing.T) { tt.test(ctx, t, newAPIBench(ctx, t, bed.Clusters[0], ns, cluster)) })
	}
}

func testAdmitted(ctx context.Context, t *testing.T, b *apiBench) {
	c := b.config(b.spoke)
	for _, d := range []kube.Delivery{kube.DeliveryAuto, kube.DeliveryInit, kube.DeliveryVolume} {
		c.Settings.Harness.Delivery = d
		rt := b.ready(ctx, c)
		w := session()
		w.Revision.Agent.MCPServers = []api.MCPServer{{Name: "search", Image: "registry.example/search:1", Port: 8931}}
		w.Revision.Environment.Volumes = []api.Volume{
			{Name: "state", Mount: "/nave/state", SizeBytes: 1 << 30, Class: "by-hand"}, {Name: "scratch", Mount: "/scratch", SizeBytes: 1 << 20, Ephemeral: true},
		}
		b.startWorkload(ctx, rt, w)
		b.startWorkload(ctx, rt, w)
		p := b.pod(ctx, w.ID)
		if byVolume := p.Spec.Volumes[0].Image != nil; byVolume != (d != kube.DeliveryInit) {
			t.Errorf("%s: the harness comes from %+v", d, p.Spec.Volumes[0])
		}
		if ns, name, uid, ok := rt.Pod(w.ID); !ok || ns != b.namespace || name != p.Name || uid != p.UID {
			t.Errorf("Pod is %s/%s %s, %v", ns, name, uid, ok)
		}
		d, err := rt.Describe(ctx, w.ID)
		if err != nil || d.Id != w.ID.String() || d.Cluster != b.cluster || d.McpServers[0].Url == "" {
			t.Errorf("Describe: %v, %v", d, err)
		}
		other := session().ID
		if _, err := rt.Describe(ctx, other); api.CodeOf(err) != api.CodeNotFound {
			t.Errorf("Describe of nothing: %v", err)
		}
	}
}

func testWrites(ctx context.Context, t *testing.T, b *apiBench) {
	rt := b.ready(ctx, b.config(b.spoke))
	w := session()
	b.startWorkload(ctx, rt, w)
	b.become(ctx, w.ID, corev1.PodStatus{Phase: corev1.PodSucceeded, ContainerStatuses: []corev1.ContainerStatus{{Name: "harness", State: corev1.ContainerState{
		Terminated: &corev1.ContainerStateTerminated{Reason: "Completed", Message: `{"reason":"stopped"}`}}}}})
	if got := b.awaitState(ctx, rt, w.ID, spoke.WorkloadEnded); got.Exit != "stopped" || got.Failure != "" {
		t.Errorf("%+v", got)
	}
	if err := rt.Stop(ctx, w.ID, time.Minute); err != nil {
		t.Fatal(err)
	}
	b.awaitState(ctx, rt, w.ID, "")
	b.nothingLeft(ctx, w.ID)
	pods, claims := "/api/v1/namespaces/"+b.namespace+"/pods", "/api/v1/namespaces/"+b.namespace+"/configmaps"
	name := "/" + w.ID.String()
	got, want := b.requests.of(writes), []string{"POST " + claims, "POST " + pods, "DELETE " + pods + name, "DELETE " + claims + name}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("the writes are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	t.Logf("%d requests, of which write:\n%s", b.requests.count(), strings.Join(got, "\n"))
	// Every list and watch of what it makes is of its own alone.
	lists := b.requests.of(func(q *http.Request) bool {
		return q.Method == http.MethodGet && (q.URL.Path == pods || q.URL.Path == claims)
	})
	others := b.requests.of(func(q *http.Request) bool {
		return q.Method == http.MethodGet && (q.URL.Path == pods || q.URL.Path == claims) && q.URL.Query().Get("labelSelector") != kube.LabelCluster+"="+strings.ToLower(b.cluster)
	})
	if len(lists) < 4 || len(others) > 0 {
		t.Errorf("%d lists and watches, of which these select nothing: %v", len(lists), others)
	}
}

func testQuota(ctx context.Context, t *testing.T, b *apiBench) {
	one := corev1.ResourceList{corev1.ResourcePods: *quantity("1")}
	q, err := b.Client.CoreV1().ResourceQuotas(b.namespace).Create(ctx, &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "q"}, Spec: corev1.ResourceQuotaSpec{Hard: one}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	q.Status = corev1.ResourceQuotaStatus{Hard: one, Used: corev1.ResourceList{corev1.ResourcePods: *quantity("0")}} // as its controller would
	if _, err := b.Client.CoreV1().ResourceQuotas(b.namespace).UpdateStatus(ctx, q, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	rt := b.ready(ctx, b.config(b.spoke))
	capacity, err := rt.Capacity(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range capacity.Flavors {
		if f.Total != 1 || f.Used != 0 {
			t.Errorf("flavor %s: %d of %d, want none of the one that the quota allows", f.Flavor, f.Used, f.Total)
		}
	}
	first, second := session(), session()
	await(ctx, t, "the quota is known to the API server", func() bool { err = rt.Start(ctx, first); return err == nil })
	err = rt.Start(ctx, second)
	if err == nil || !strings.Contains(err.Error(), "exceeded quota") || api.CodeOf(err) != api.CodeFailed {
		t.Fatalf("beyond the quota: %v (code %s)", err, api.CodeOf(err))
	}
	b.nothingLeft(ctx, second.ID)
	b.awaitState(ctx, rt, second.ID, "")
}

func testNoServiceAccount(ctx context.Context, t *testing.T, b *apiBench) {
	c := b.config(b.spoke)
	c.Settings.Pods.ServiceAccount = "nobody"
	rt, w := b.ready(ctx, c), session()
	if err := rt.Start(ctx, w); err == nil || !strings.Contains(err.Error(), `"nobody" not found`) {
		t.Errorf("Start: %v", err)
	}
	b.nothingLeft(ctx, w.ID)
	c = b.config(b.Rest) // who may do everything learns that the namespace is missing
	c.Settings.Namespaces.Organizations = map[api.OrgID]string{api.DefaultOrg: "nowhere"}
	if err := b.ready(ctx, c).Start(ctx, w); err == nil || !strings.Contains(err.Error(), "is the namespace missing?") {
		t.Errorf("Start without a namespace: %v", err)
	}
	w.Org = "other"
	if err := rt.Start(ctx, w); api.CodeOf(err) != api.CodeUnsupported || api.FieldOf(err) != "organization" {
		t.Errorf("Start of an organization without a place: %v", err)
	}
}

func testNoList(ctx context.Context, t *testing.T, b *apiBench) {
	rt := b.start(b.config(b.as(ctx, "poor", allow("configmaps", "list watch create delete"))))
	var err error
	await(ctx, t, "the runtime says which right it lacks", func() bool {
		_, err = rt.List(ctx)
		return api.CodeOf(err) == api.CodeDenied && strings.Contains(err.Error(), `"list" on "pods"`) // the right to the other comes a moment late
	})
	if !strings.Contains(err.Error(), b.namespace) {
		t.Errorf("%v does not say in which namespace", err)
	}
	if err := rt.Start(ctx, session()); err == nil {
		t.Error("Start without knowing what runs")
	}
}

func testNoPods(ctx context.Context, t *testing.T, b *apiBench) {
	rt, w := b.ready(ctx, b.config(b.as(ctx, "poor", allow("configmaps", "get list watch create delete"), allow("pods", "get list watch")))), session()
	err := rt.Start(ctx, w)
	if api.CodeOf(err) != api.CodeDenied || !strings.Contains(err.Error(), `"create" on "pods"`) || !strings.Contains(err.Error(), b.namespace) {
		t.Errorf("Start: %v", err)
	}
	b.nothingLeft(ctx, w.ID)
}

func testForeignClaim(ctx context.Context, t *testing.T, b *apiBench) {
	rt, w := b.ready(ctx, b.config(b.spoke)), session()
	b.startWorkload(ctx, rt, w)
	other := w
	other.Key = "another key"
	if err := rt.Start(ctx, other); api.CodeOf(err) != api.CodeExists || !strings.Contains(err.Error(), w.ID.String()) {
		t.Errorf("Start of another workload by the same id: %v", err)
	}
	second := b.ready(ctx, b.config(b.spoke))
	if err := second.Start(ctx, w); err != nil {
		t.Errorf("Start by another value: %v", err)
	}
	if got := b.workload(ctx, second, w.ID); got.State != spoke.WorkloadRunning {
		t.Errorf("another value sees %+v", got)
	}
}

func testForeignPod(ctx context.Context, t *testing.T, b *apiBench) {
	rt, w := b.ready(ctx, b.config(b.spoke)), session()
	theirs := probe(w.ID.String(), "http://x")
	theirs.Namespace = b.namespace
	theirs.Spec.ServiceAccountName = "nave-session"
	if _, err := b.Client.CoreV1().Pods(b.namespace).Create(ctx, theirs, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := rt.Start(ctx, w); err == nil || !strings.Contains(err.Error(), "does not own") {
		t.Errorf("Start over a pod of somebody else: %v", err)
	}
	if err := rt.Stop(ctx, w.ID, 0); err != nil {
		t.Errorf("Stop: %v", err)
	}
	if p := b.pod(ctx, w.ID); p.DeletionTimestamp != nil {
		t.Error("a pod of somebody else was deleted")
	}
	if _, err := b.Client.CoreV1().ConfigMaps(b.namespace).Get(ctx, w.ID.String(), metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the claim is left: %v", err)
	}
}

func testDeletedPod(ctx context.Context, t *testing.T, b *apiBench) {
	rt, w := b.ready(ctx, b.config(b.spoke)), session()
	b.startWorkload(ctx, rt, w)
	if err := b.Client.CoreV1().Pods(b.namespace).Delete(ctx, w.ID.String(), metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := b.awaitState(ctx, rt, w.ID, spoke.WorkloadEnded); got.Exit != "its pod was deleted" || got.Failure != "" {
		t.Errorf("%+v", got)
	}
	if err := rt.Start(ctx, w); err != nil {
		t.Errorf("a second start: %v", err)
	}
	if got := b.workload(ctx, rt, w.ID); got.State != spoke.WorkloadEnded {
		t.Errorf("a second start revived it: %+v", got)
	}
	if err := rt.Stop(ctx, w.ID, time.Minute); err != nil {
		t.Fatal(err)
	}
	b.awaitState(ctx, rt, w.ID, "")
	b.nothingLeft(ctx, w.ID)
	fresh := b.requests.of(func(q *http.Request) bool {
		return q.Method == http.MethodGet && strings.HasSuffix(q.URL.Path, "/pods/"+w.ID.String())
	})
	if len(fresh) == 0 {
		t.Error("nobody asked for the pod by its name")
	}
}

func testStripped(ctx context.Context, t *testing.T, b *apiBench) {
	rt, w := b.ready(ctx, b.config(b.spoke)), session()
	b.startWorkload(ctx, rt, w)
	p := b.pod(ctx, w.ID)
	p.Labels = nil
	if _, err := b.Client.CoreV1().Pods(b.namespace).Update(ctx, p, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	await(ctx, t, "the pod is not shown and was asked for by its name", func() bool {
		got := b.workload(ctx, rt, w.ID)
		asked := b.requests.of(func(q *http.Request) bool {
			return q.Method == http.MethodGet && strings.HasSuffix(q.URL.Path, "/pods/"+w.ID.String())
		})
		return got.Waiting != "" && len(asked) > 0
	})
	if got := b.workload(ctx, rt, w.ID); got.State != spoke.WorkloadRunning {
		t.Errorf("a pod that exists is %+v", got)
	}
	if err := rt.Stop(ctx, w.ID, 0); err == nil || !strings.Contains(err.Error(), kube.LabelCluster) {
		t.Errorf("Stop: %v", err)
	}
}

func testEvicted(ctx context.Context, t *testing.T, b *apiBench) {
	rt, w := b.ready(ctx, b.config(b.spoke)), session()
	b.startWorkload(ctx, rt, w)
	b.become(ctx, w.ID, corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted", Message: "The node was low on resource: memory."})
	got := b.awaitState(ctx, rt, w.ID, spoke.WorkloadEnded)
	if got.Failure != "" || got.Exit != "evicted by its node: The node was low on resource: memory." {
		t.Errorf("%+v", got)
	}
	// It still says so when the object is deleted by somebody.
	if err := b.Client.CoreV1().Pods(b.namespace).Delete(ctx, w.ID.String(), metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	await(ctx, t, "the pod is not shown", func() bool { _, _, _, ok := rt.Pod(w.ID); return !ok })
	if again := b.workload(ctx, rt, w.ID); again != got {
		t.Errorf("%+v became %+v", got, again)
	}
}

func testGivenUp(ctx context.Context, t *testing.T, b *apiBench) {
	rt, w := b.ready(ctx, b.config(b.spoke)), session()
	b.startWorkload(ctx, rt, w)
	b.become(ctx, w.ID, corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: []corev1.ContainerStatus{{Name: "harness", State: corev1.ContainerState{
		Waiting: &corev1.ContainerStateWaiting{Reason: "InvalidImageName", Message: "couldn't parse image"}}}}})
	got := b.awaitState(ctx, rt, w.ID, spoke.WorkloadEnded)
	if got.Failure != api.StartFailureImage || !strings.Contains(got.Exit, "couldn't parse image") {
		t.Errorf("%+v", got)
	}
	// Another value, which saw nothing of it, knows why: the claim says so.
	if again := b.awaitState(ctx, b.ready(ctx, b.config(b.spoke)), w.ID, spoke.WorkloadEnded); again != got {
		t.Errorf("another value says %+v, want %+v", again, got)
	}
}

func testTidy(ctx context.Context, t *testing.T, b *apiBench) {
	over, lives, kept, busy := session(), session(), session(), session()
	c := b.config(b.spoke)
	var mu sync.Mutex
	asked := map[api.SessionID]bool{}
	c.Fates = func(_ context.Context, ids []api.SessionID) (api.Fates, error) {
		mu.Lock()
		defer mu.Unlock()
		for _, id := range ids {
			asked[id] = true
		}
		return api.Fates{Ended: []api.SessionID{over.ID.Session, lives.ID.Session, busy.ID.Session}}, nil
	}
	rt := b.ready(ctx, b.config(b.spoke))
	for i, w := range []*spoke.WorkloadSpec{&over, &lives, &kept, &busy} {
		live := time.Duration(0)
		if i == 1 {
			live = time.Hour
		}
		w.Revision.Environment.Volumes = []api.Volume{{Name: "data", Mount: "/data", SizeBytes: 1 << 20, TimeToLive: live}}
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
	b.ready(ctx, c) // it alone asks
	volume := func(w spoke.WorkloadSpec) *corev1.PersistentVolumeClaim {
		v, err := b.Client.CoreV1().PersistentVolumeClaims(b.namespace).Get(ctx, strings.ToLower(string(w.ID.Session))+"-data", metav1.GetOptions{})
		if apierrors.IsNotFound(err) || err == nil && v.DeletionTimestamp != nil { // nobody takes its finalizer away here
			return nil
		}
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	await(ctx, t, "the volume of a session that is over is deleted", func() bool { return volume(over) == nil })
	await(ctx, t, "one with a time to live has its end noted", func() bool { v := volume(lives); return v != nil && v.Annotations["nave.dev/ended"] != "" })
	mu.Lock()
	defer mu.Unlock()
	if volume(kept) == nil || !asked[kept.ID.Session] {
		t.Error("the volume of a session that nobody called over is deleted, or was not asked about")
	}
	if volume(busy) == nil || asked[busy.ID.Session] {
		t.Error("the volume of a session with a workload is deleted, or was asked about")
	}
}

func testManaged(ctx context.Context, t *testing.T, b *apiBench) {
	c := b.config(b.Rest) // the rights in a namespace come with it
	c.Settings.Namespaces = kube.Namespaces{Manage: true, Prefix: b.namespace + "-"}
	made := 0
	c.Tenant = func(ctx context.Context, org api.OrgID, namespace string) error {
		if made++; made == 1 {
			return errors.New("not now")
		}
		_, err := b.Client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
			Name: namespace, Labels: map[string]string{kube.LabelCluster: strings.ToLower(b.cluster), "organization": string(org)},
		}}, metav1.CreateOptions{})
		if err == nil {
			_, err = b.Client.CoreV1().ServiceAccounts(namespace).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "nave-session"}}, metav1.CreateOptions{})
		}
		return err
	}
	rt, w := b.ready(ctx, c), session()
	w.Org = "Acme"
	if err := rt.Start(ctx, w); err == nil || !strings.Contains(err.Error(), "not now") {
		t.Errorf("Start where the namespace is not made: %v", err)
	}
	b.startWorkload(ctx, rt, w)
	next := w
	next.ID.Attempt++
	b.startWorkload(ctx, rt, next)
	if made != 2 {
		t.Errorf("the namespace was made %d times", made-1)
	}
	ns, _, _, ok := rt.Pod(w.ID)
	if want := b.namespace + "-acme"; !ok || ns != want {
		t.Errorf("the pod is in %q (%v), want %q", ns, ok, want)
	}
	// Another value finds the namespace by its label.
	again := b.ready(ctx, c)
	if got := b.workload(ctx, again, w.ID); got.State != spoke.WorkloadRunning {
		t.Errorf("another value sees %+v", got)
	}
	if err := again.Stop(ctx, w.ID, 0); err != nil {
		t.Error(err)
	}
	b.awaitState(ctx, rt, w.ID, spoke.WorkloadEnded)
}

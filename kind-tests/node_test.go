//go:build kindtests

package kindtests

import (
	"context"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/nave-dev/nave/internal/testcluster"
)

// asks is the address under which a hub counts questions of who.
func (h *hub) asks(who string) string {
	return "http://" + net.JoinHostPort(testcluster.HubName, h.port) + "/" + who
}

// probes finds the processes of the probe that asks as who.
func probes(c *testcluster.Cluster, who string) []int {
	return c.Processes(func(_, cmdline []string) bool {
		return len(cmdline) == 2 && cmdline[0] == "/probe" && strings.HasSuffix(cmdline[1], "/"+who)
	})
}

// condition is a pod's condition; nothing when it has none of that type.
func condition(p *corev1.Pod, of corev1.PodConditionType) corev1.PodCondition {
	for _, c := range p.Status.Conditions {
		if c.Type == of {
			return c
		}
	}
	return corev1.PodCondition{}
}

// nodeIs is the status of a node's condition Ready, and whether pods are let onto the node.
func nodeIs(ctx context.Context, t testing.TB, c *testcluster.Cluster, name string) (ready corev1.ConditionStatus, cordoned bool) {
	t.Helper()
	node, err := c.Client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			ready = c.Status
		}
	}
	return ready, node.Spec.Unschedulable
}

func TestADrainRespectsBudgets(t *testing.T) {
	ctx := limited(t)
	bed := start(ctx, t, 1)
	c, h := bed.Clusters[0], listen(t, bed.HubAddress())
	pods := watch(ctx, t, c)
	budgets := c.Client.PolicyV1().PodDisruptionBudgets(metav1.NamespaceDefault)
	one := intstr.FromInt32(1)
	if _, err := budgets.Create(ctx, &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: "stays"},
		Spec:       policyv1.PodDisruptionBudgetSpec{MinAvailable: &one, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "guarded"}}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	guarded := probe("guarded", h.asks("guarded"))
	guarded.Labels = map[string]string{"app": "guarded"}
	pods.run(ctx, t, guarded)
	pods.run(ctx, t, probe("free", h.asks("free")))

	short, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err := c.Drain(short)
	if err == nil || !strings.Contains(err.Error(), "default/guarded (a budget forbids it)") || strings.Contains(err.Error(), "default/free") {
		t.Errorf("a drain against a budget: %v", err)
	}
	await(ctx, t, "the free pod is gone", func() bool { return pods.seen("free") == nil })
	if left := probes(c, "free"); len(left) > 0 {
		t.Errorf("processes %v of the evicted pod are left", left)
	}
	if guarded := pods.seen("guarded"); guarded == nil || guarded.DeletionTimestamp != nil {
		t.Errorf("the guarded pod was evicted: %v", guarded)
	}
	if _, cordoned := nodeIs(ctx, t, c, c.Node()); !cordoned {
		t.Error("the node is not cordoned")
	}
	h.grows(ctx, t, "guarded")

	// What comes meanwhile gets no node.
	if _, err := c.Client.CoreV1().Pods(metav1.NamespaceDefault).Create(ctx, probe("later", h.asks("later")), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	await(ctx, t, "the later pod is refused", func() bool {
		p := pods.seen("later")
		return p != nil && condition(p, corev1.PodScheduled).Reason == corev1.PodReasonUnschedulable
	})
	if err := budgets.Delete(ctx, "stays", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := c.Drain(ctx); err != nil {
		t.Fatal(err)
	}
	if left := probes(c, "guarded"); len(left) > 0 {
		t.Errorf("processes %v of the evicted pod are left", left)
	}
	if err := c.Uncordon(ctx); err != nil {
		t.Fatal(err)
	}
	h.grows(ctx, t, "later")
}

func TestARebootEndsThePodsOfItsNode(t *testing.T) {
	ctx := limited(t)
	bed := start(ctx, t, 2)
	c, other, h := bed.Clusters[0], bed.Clusters[1], listen(t, bed.HubAddress())
	here, there := watch(ctx, t, c), watch(ctx, t, other)
	once := probe("once", h.asks("once"))
	once.Spec.RestartPolicy = corev1.RestartPolicyNever
	here.run(ctx, t, once)
	again := here.run(ctx, t, probe("again", h.asks("again")))
	untouched := there.run(ctx, t, probe("other", h.asks("other")))
	was := slices.Concat(probes(c, "once"), probes(c, "again"))
	if len(was) != 2 {
		t.Fatalf("the pods are processes %v, want two", was)
	}

	if err := c.KillNode(ctx); err != nil {
		t.Fatal(err)
	}
	for _, pid := range was {
		if err := syscall.Kill(pid, 0); err == nil {
			t.Errorf("process %d lives without power", pid)
		}
	}
	if all := c.Processes(func(_, _ []string) bool { return true }); len(all) > 0 {
		t.Errorf("processes %v of pods live without power", all)
	}
	if got := here.seen("once").Status.Phase; got != corev1.PodRunning {
		t.Errorf("nobody can know that the pod has ended, and its phase is %s", got)
	}
	began := time.Now()
	if err := c.StartNode(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("the node is back after %v", time.Since(began).Round(time.Millisecond))
	await(ctx, t, "the pod that is not restarted has failed", func() bool { return here.seen("once").Status.Phase == corev1.PodFailed })
	t.Logf("its container: %+v", here.seen("once").Status.ContainerStatuses[0].State.Terminated)
	h.grows(ctx, t, "again")
	await(ctx, t, "the other pod is restarted", func() bool { return containerOf(here.seen("again")).Restarts == 1 })
	if now := containerOf(here.seen("again")); now.ID == containerOf(again).ID {
		t.Error("the restarted pod has the container that it had")
	}
	if len(probes(c, "once")) > 0 {
		t.Error("the failed pod has processes")
	}
	here.run(ctx, t, probe("after", h.asks("after")))
	h.grows(ctx, t, "after")
	h.grows(ctx, t, "other")
	if diff := cmp.Diff(containerOf(untouched), containerOf(there.seen("other"))); diff != "" {
		t.Errorf("the reboot touched the other cluster (-before +after):\n%s", diff)
	}
	if err := c.RestartNode(ctx); err != nil {
		t.Fatal(err)
	}
	await(ctx, t, "all is there after a second reboot", func() bool { return containerOf(here.seen("again")).Restarts == 2 })
}

func TestAFrozenProcessIsSilentAndLooksWell(t *testing.T) {
	ctx := limited(t)
	bed := start(ctx, t, 1)
	c, h := bed.Clusters[0], listen(t, bed.HubAddress())
	pods := watch(ctx, t, c)
	before := pods.run(ctx, t, probe("frozen", h.asks("frozen")))
	pods.run(ctx, t, probe("clock", h.asks("clock")))
	found := probes(c, "frozen")
	if len(found) != 1 {
		t.Fatalf("the pod is processes %v, want one", found)
	}
	h.grows(ctx, t, "frozen")
	if err := c.Freeze(found[0]); err != nil {
		t.Fatal(err)
	}
	// The other pod asks every 200 ms: what was on its way is over after a few of its questions.
	ticks := func(n int) {
		from := h.count("clock")
		await(ctx, t, "the other pod asks on", func() bool { return h.count("clock") >= from+n })
	}
	ticks(3)
	heard := h.count("frozen")
	ticks(20)
	if now := h.count("frozen"); now != heard {
		t.Errorf("a frozen process asked %d times", now-heard)
	}
	if p := pods.seen("frozen"); condition(p, corev1.PodReady).Status != corev1.ConditionTrue || containerOf(p) != containerOf(before) {
		t.Errorf("the cluster noticed: %+v", p.Status)
	}
	if err := c.Thaw(found[0]); err != nil {
		t.Fatal(err)
	}
	h.grows(ctx, t, "frozen")
	if err := c.Signal(syscall.Getpid(), syscall.SIGCONT); err == nil {
		t.Error("a process that is in no pod was signalled")
	}
}

func TestPodsLiveOnWithoutTheAPIServer(t *testing.T) {
	ctx := limited(t)
	bed := start(ctx, t, 1)
	c, h := bed.Clusters[0], listen(t, bed.HubAddress())
	pods := watch(ctx, t, c)
	before := pods.run(ctx, t, probe("probe", h.asks("probe")))
	if err := c.KillAPIServer(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Client.CoreV1().Pods(metav1.NamespaceDefault).Get(ctx, "probe", metav1.GetOptions{}); err == nil {
		t.Error("a dead API server answers")
	}
	h.grows(ctx, t, "probe")
	if err := c.StartAPIServer(ctx); err != nil {
		t.Fatal(err)
	}
	pods.run(ctx, t, probe("after", h.asks("after")))
	h.grows(ctx, t, "after")
	if diff := cmp.Diff(containerOf(before), containerOf(pods.seen("probe"))); diff != "" {
		t.Errorf("the pod's container changed over a crash of the API server (-before +after):\n%s", diff)
	}
}

// TestALostNodeIsUnknownSoon has a node whose kubelet is dead, and which the controllers give up after six seconds. Its pods are not
// deleted, although they tolerate that only for two: it is the only node, and the controllers take themselves for cut off.
func TestALostNodeIsUnknownSoon(t *testing.T) {
	ctx := limited(t)
	const grace = 6 * time.Second
	bed := startWith(ctx, t, testcluster.Config{Clusters: 1, NodeGrace: grace, Toleration: 2 * time.Second})
	c, h := bed.Clusters[0], listen(t, bed.HubAddress())
	pods := watch(ctx, t, c)
	before := pods.run(ctx, t, probe("probe", h.asks("probe")))
	if err := c.KillKubelet(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	await(ctx, t, "the node is unknown", func() bool {
		ready, _ := nodeIs(ctx, t, c, c.Node())
		return ready == corev1.ConditionUnknown
	})
	t.Logf("the node is unknown after %v", time.Since(began).Round(time.Millisecond))
	await(ctx, t, "the pod is not ready", func() bool { return condition(pods.seen("probe"), corev1.PodReady).Status == corev1.ConditionFalse })
	over := time.Now().Add(8 * time.Second)
	await(ctx, t, "its toleration is over", func() bool { return time.Now().After(over) })
	if at := pods.seen("probe").DeletionTimestamp; at != nil {
		t.Errorf("the pod is deleted at %v, for want of the only node", at)
	}
	h.grows(ctx, t, "probe") // it lives
	if err := c.StartKubelet(ctx); err != nil {
		t.Fatal(err)
	}
	await(ctx, t, "the pod is ready again", func() bool { return condition(pods.seen("probe"), corev1.PodReady).Status == corev1.ConditionTrue })
	if diff := cmp.Diff(containerOf(before), containerOf(pods.seen("probe"))); diff != "" {
		t.Errorf("the pod's container changed while its node was lost (-before +after):\n%s", diff)
	}
}

// TestALostNodeOfAFleetKeepsItsPods has one node of three that nobody answers for: its pods are deleted, and do not go.
func TestALostNodeOfAFleetKeepsItsPods(t *testing.T) {
	ctx := limited(t)
	c := fleet(ctx, t, testcluster.Config{Nodes: 3, NodeGrace: 5 * time.Second, Toleration: 2 * time.Second}).Clusters[0]
	pods := watch(ctx, t, c)
	for _, node := range []string{"f1", "f2"} {
		p := fake("on-"+node, testcluster.Fate{})
		p.Spec.NodeSelector = map[string]string{corev1.LabelHostname: node}
		if _, err := c.Client.CoreV1().Pods(p.Namespace).Create(ctx, p, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		await(ctx, t, p.Name+" runs", func() bool { p := pods.seen(p.Name); return p != nil && p.Status.Phase == corev1.PodRunning })
	}
	if err := c.LoseNode(ctx, "f1"); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	await(ctx, t, "the pod of the lost node is being deleted", func() bool { return pods.seen("on-f1").DeletionTimestamp != nil })
	t.Logf("deleted after %v", time.Since(began).Round(time.Millisecond))
	if ready, _ := nodeIs(ctx, t, c, "f1"); ready != corev1.ConditionUnknown {
		t.Errorf("the lost node's condition Ready is %s", ready)
	}
	// Nobody ends it, as long as nobody answers: not even after the time that it had to end.
	over := pods.seen("on-f1").DeletionTimestamp.Add(3 * time.Second)
	await(ctx, t, "its time is over", func() bool { return time.Now().After(over) })
	if p := pods.seen("on-f1"); p == nil || p.Status.Phase != corev1.PodRunning {
		t.Errorf("the pod of the lost node is %v", p)
	}
	if p := pods.seen("on-f2"); p == nil || p.DeletionTimestamp != nil {
		t.Errorf("the pod of another node is %v", p)
	}
	if err := c.FindNode(ctx, "f1"); err != nil {
		t.Fatal(err)
	}
	await(ctx, t, "the pod is gone", func() bool { return pods.seen("on-f1") == nil })
	await(ctx, t, "the node is ready", func() bool { ready, _ := nodeIs(ctx, t, c, "f1"); return ready == corev1.ConditionTrue })

	if err := c.DrainNode(ctx, "f2"); err != nil {
		t.Fatal(err)
	}
	await(ctx, t, "the drained node has no pod", func() bool { return pods.seen("on-f2") == nil })
}

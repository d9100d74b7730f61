//go:build kindtests

package kindtests

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/testcluster"
)

// TestFaultsOfPods does to pods of sessions in the middle of a turn what a cluster and a machine do to them, before the same witness as
// TestFaultsOfNodesAndLinks. The spoke lives on the host.
func TestFaultsOfPods(t *testing.T) {
	ctx := limited(t)
	w := &witnessed{federated: federateOn(ctx, t, testcluster.Config{Clusters: 1, NodeGrace: 12 * time.Second}, "--lease", "4s"), sessions: map[string]string{}}
	w.witness = testify(t, w.bed.HubAddress())
	c := w.bed.Clusters[0]
	w.outside(c)
	w.live(c)
	w.scenarios(t, []faultGroup{{"spoke outside", c, []scenario{
		{"preempted", "120s", (*witnessed).preempted},
		{"stuck", "120s", (*witnessed).stuck},
		{"woken", "8s", (*witnessed).woken},
	}}})
}

// high is a pod of more importance than those of sessions.
const high = "high"

// preempted makes room for a pod of a higher priority where there is none: the session's pod goes in the middle of its turn, the session
// says for what it waits, and goes on when there is room again.
func (w *witnessed) preempted(c *testcluster.Cluster) {
	session := w.sessions["preempted"]
	w.begin("preempted", "second")
	was := w.onlyPod(c, session)
	_, err := c.Client.SchedulingV1().PriorityClasses().Create(w.ctx, &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: high}, Value: 1000}, metav1.CreateOptions{})
	w.must(err)
	pods := c.Client.CoreV1().Pods(metav1.NamespaceDefault)
	began, now := time.Now(), int64(0)
	_, err = pods.Create(w.ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: high},
		Spec: corev1.PodSpec{PriorityClassName: high, TerminationGracePeriodSeconds: new(int64), Containers: []corev1.Container{{
			Name: high, Image: imageOfAgents, ImagePullPolicy: corev1.PullNever, Command: []string{"/bin/sleep", "600"},
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: w.allBut(c, was)}},
		}}},
	}, metav1.CreateOptions{})
	w.must(err)
	w.await("the session's pod is gone, and the other one runs", func() (bool, error) {
		pod, err := pods.Get(w.ctx, high, metav1.GetOptions{})
		return err == nil && pod.Status.Phase == corev1.PodRunning, fmt.Errorf("%v: %v", err, pod.Status)
	})
	w.t.Logf("preempted: the other pod runs %v after it was made", time.Since(began).Round(time.Millisecond))
	var shown string
	w.await("people see why it waits", func() (ok bool, err error) {
		shown, err = w.Quiet(w.ctx, "sessions", "get", session)
		return err == nil && saysAll(shown, []string{"Unschedulable", "Insufficient cpu"}), fmt.Errorf("%v: they see:\n%s", err, shown)
	})
	w.t.Logf("preempted: seen %v after:\n%s", time.Since(began).Round(time.Millisecond), shown)
	w.tookAway("preempted", "preempted by a pod of higher priority: ")
	w.must(pods.Delete(w.ctx, high, metav1.DeleteOptions{GracePeriodSeconds: &now}))
	room := time.Now()
	w.anotherActs("preempted", began)
	w.t.Logf("preempted: the session goes on %v after there is room", time.Since(room).Round(time.Millisecond))
	w.absent(c, was)
	w.release("second")
	w.settled("preempted", "second", 1)
	w.judge("preempted", "first", "second", "second")
}

// allBut is the processor time of the node that a pod can ask for only when another one is gone.
func (w *witnessed) allBut(c *testcluster.Cluster, other corev1.Pod) resource.Quantity {
	w.t.Helper()
	node, err := c.Client.CoreV1().Nodes().Get(w.ctx, c.Node(), metav1.GetOptions{})
	w.must(err)
	all, err := c.Client.CoreV1().Pods("").List(w.ctx, metav1.ListOptions{})
	w.must(err)
	free := node.Status.Allocatable.Cpu().DeepCopy()
	for _, p := range all.Items {
		if p.Spec.NodeName != c.Node() || p.UID == other.UID {
			continue
		}
		for _, x := range p.Spec.Containers {
			free.Sub(*x.Resources.Requests.Cpu())
		}
	}
	return free
}

// stuck stops the agent, and not the harness, as a program that hangs does for ever: the turn ends by its time limit, which counts, and is done
// by the next delivery in the same pod.
func (w *witnessed) stuck(c *testcluster.Cluster) {
	session, limit := w.sessions["stuck"], 8*time.Second
	w.applyWitnessed(c, "stuck", "120s", map[string]any{"turn_limit": limit.String(), "max_deliveries": 2})
	w.begin("stuck", "second")
	pids := w.agents(c, "stuck")
	if len(pids) == 0 {
		w.t.Fatal("the kernel has no process of the agent that acts: this test sees nothing")
	}
	for _, pid := range pids {
		_ = c.Freeze(pid) // it may have ended, as the shells of pipes do
	}
	began, acts := time.Now(), len(w.of("stuck/second"))
	w.ended(session, "[1] done", "[2] failed")
	took := time.Since(began)
	w.t.Logf("stuck: the turn has ended %v after its agent was stopped", took.Round(time.Millisecond))
	if took > limit+4*time.Second {
		w.t.Errorf("the turn ended %v after its agent was stopped, its limit is %v", took, limit)
	}
	for _, pid := range pids {
		if err := c.Thaw(pid); err == nil {
			w.t.Errorf("process %d of the agent is there to wake", pid)
		}
	}
	w.release("second")
	w.settled("stuck", "second", 1)
	log := w.log(session)
	turns := log.of(api.EventTurnDone)
	if why := turns[1].GetText(); !strings.Contains(why, "longer than its limit of "+limit.String()) {
		w.t.Errorf("the turn ended for the reason %q", why)
	}
	if got := log.outcomes(); !slices.Equal(got, []string{"[1] done", "[2] failed", "[2] done"}) {
		w.t.Errorf("turns ended as %q:\n%s", got, log)
	}
	done := 0
	for i, a := range w.of("stuck/second") {
		if a.done {
			done++
		}
		if want := 2; i < acts && a.turn != want {
			w.t.Errorf("act %d before the agent was stopped was of turn %d, want %d", i+1, a.turn, want)
		}
		if want := 3; i > acts && a.turn != want { // one may have been on its way
			w.t.Errorf("act %d after the agent was stopped was of turn %d, want %d", i+1, a.turn, want)
		}
	}
	if n := len(log.of(api.EventDead)); done != 1 || n != 0 {
		w.t.Errorf("the signal was done %d times, and there are %d dead letters:\n%s", done, n, log)
	}
}

// woken stops the harness on a node whose kubelet is gone too, so that nobody can end its pod. The attempt is over without it, and the next
// one waits for the node. Then the harness wakes, in a pod that is there still: it ends its agent at once, the door does not let it in, and the
// next attempt goes on alone.
func (w *witnessed) woken(c *testcluster.Cluster) {
	session := w.sessions["woken"]
	w.begin("woken", "second")
	was := w.onlyPod(c, session)
	pid := w.harness(c, was.Name)
	w.must(c.KillKubelet())
	w.must(c.Freeze(pid))
	began := time.Now()
	w.await("the attempt is over without its harness", func() (bool, error) {
		log := w.log(session)
		return len(log.of(api.EventEnded)) > 1, fmt.Errorf("the log:\n%s", log)
	})
	w.t.Logf("woken: the attempt is over %v after its harness was stopped", time.Since(began).Round(time.Millisecond))
	if len(w.agents(c, "woken")) == 0 {
		w.t.Fatal("the agent has ended by itself: this test sees nothing")
	}
	w.must(c.Thaw(pid))
	awake := time.Now()
	took := w.agentEnds(c, "woken", awake)
	w.t.Logf("woken: the agent has ended %v after its harness woke", took.Round(time.Millisecond))
	if took > 3*time.Second {
		w.t.Errorf("the agent ended %v after its harness woke", took)
	}
	last := len(w.of("woken"))
	w.await("the door does not let the harness in", func() (bool, error) {
		text := w.sayings(c, was)
		_, after, ok := strings.Cut(text, "the harness stood still")
		return ok && strings.Contains(after, "not attached"), fmt.Errorf("the harness says:\n%s", text)
	})
	if now := len(w.of("woken")); now != last {
		w.t.Errorf("the witness heard %d acts after the agent had ended", now-last)
	}
	w.must(c.StartKubelet(w.ctx))
	w.anotherActs("woken", began)
	w.absent(c, was)
	w.release("second")
	w.settled("woken", "second", 1)
	w.judge("woken", "first", "second", "second")
}

// sayings is the log of a pod's harness, as its node keeps it.
func (w *witnessed) sayings(c *testcluster.Cluster, pod corev1.Pod) string {
	w.t.Helper()
	files, err := filepath.Glob(filepath.Join(c.Dir, "pods", fmt.Sprintf("%s_%s_%s", pod.Namespace, pod.Name, pod.UID), "harness", "*.log"))
	w.must(err)
	var all strings.Builder
	for _, f := range files {
		text, err := os.ReadFile(f)
		w.must(err)
		all.Write(text)
	}
	return all.String()
}

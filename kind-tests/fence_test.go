//go:build kindtests

package kindtests

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/testcluster"
)

// agents are the processes of a session's agent, which is not who tells: the kernel is.
func (w *witnessed) agents(c *testcluster.Cluster, agent string) []int {
	return c.Processes(func(_, cmdline []string) bool {
		return len(cmdline) > 2 && strings.HasSuffix(cmdline[0], "sh") && strings.Contains(cmdline[2], "agent="+agent+"&")
	})
}

// agentEnds waits until the kernel has no process of an agent, and says how long that took.
func (w *witnessed) agentEnds(c *testcluster.Cluster, agent string, since time.Time) time.Duration {
	w.t.Helper()
	w.await("no process of the agent runs", func() (bool, error) {
		left := w.agents(c, agent)
		return len(left) == 0, fmt.Errorf("%v run", left)
	})
	return time.Since(since)
}

// lapsed cuts the link for longer than the agent may go on without the hub: it has ended before, whatever the witness can hear of it, and
// the session goes on with its state when the link is back.
func (w *witnessed) lapsed(c *testcluster.Cluster) {
	w.begin("lapsed", "second")
	was := w.onlyPod(c, w.sessions["lapsed"])
	if len(w.agents(c, "lapsed")) == 0 {
		w.t.Fatal("the kernel has no process of the agent that acts: this test sees nothing")
	}
	w.must(c.Cut(w.ctx))
	began := time.Now()
	took := w.agentEnds(c, "lapsed", began)
	w.t.Logf("lapsed: the agent has ended %v after the cut", took.Round(time.Millisecond))
	if took > 8*time.Second {
		w.t.Errorf("the agent ended %v after the cut, later than its stop_after", took)
	}
	w.await("the fence is over", func() (bool, error) { return time.Since(began) > 20*time.Second, nil })
	if left := w.agents(c, "lapsed"); len(left) > 0 {
		w.t.Errorf("the agent acts without the hub: %v", left)
	}
	w.must(c.Heal(w.ctx))
	healed := time.Now()
	w.anotherActs("lapsed", began)
	w.t.Logf("lapsed: the session goes on %v after the link is back", time.Since(healed).Round(time.Millisecond))
	w.absent(c, was)
	w.release("second")
	w.settled("lapsed", "second", 1)
	w.judge("lapsed", "first", "second", "second")
}

// absent waits until a pod does not exist.
func (w *witnessed) absent(c *testcluster.Cluster, was corev1.Pod) {
	w.t.Helper()
	w.await("the former pod is gone", func() (bool, error) {
		all, err := c.Client.CoreV1().Pods(was.Namespace).List(w.ctx, metav1.ListOptions{})
		return err == nil && !slices.ContainsFunc(all.Items, func(p corev1.Pod) bool { return p.UID == was.UID }), err
	})
}

// harness is the process of a session's harness.
func (w *witnessed) harness(c *testcluster.Cluster, pod string) int {
	w.t.Helper()
	pids := c.Processes(func(environ, cmdline []string) bool {
		return len(cmdline) == 2 && strings.HasSuffix(cmdline[0], "/nave-harness") && cmdline[1] == "pod" && slices.Contains(environ, "NAVE_WORKLOAD="+pod)
	})
	if len(pids) != 1 {
		w.t.Fatalf("the harness of %s is %v", pod, pids)
	}
	return pids[0]
}

// frozen stops the harness for longer than its lease: it cannot end its agent, so the pod is ended, and only then the session goes on. Who
// wakes does nothing any more.
func (w *witnessed) frozen(c *testcluster.Cluster) {
	w.begin("frozen", "second")
	pod := w.onlyPod(c, w.sessions["frozen"])
	pid := w.harness(c, pod.Name)
	w.must(c.Freeze(pid))
	began := time.Now()
	w.anotherActs("frozen", began)
	if err := c.Thaw(pid); err == nil {
		w.t.Errorf("the harness that was frozen was there to wake while the session had gone on")
	}
	w.acts("frozen", 10)
	w.absent(c, pod)
	w.release("second")
	w.settled("frozen", "second", 1)
	w.judge("frozen", "first", "second", "second")
}

// lost silences a node and cuts its pods off from the spoke, which is elsewhere: the pod is lost, its harness ends the agent by itself, the
// turn is cut when its lease is over, and the session goes on when there is a node.
func (w *witnessed) lost(c *testcluster.Cluster) {
	session := w.sessions["lost"]
	w.begin("lost", "second")
	pod := w.onlyPod(c, session)
	w.must(c.KillKubelet())
	w.must(c.Cut(w.ctx))
	began := time.Now()
	took := w.agentEnds(c, "lost", began)
	w.t.Logf("lost: the agent has ended %v after its node was lost", took.Round(time.Millisecond))
	if took > 8*time.Second {
		w.t.Errorf("the agent ended %v after its node was lost, later than its stop_after", took)
	}
	w.await("the turn is cut", func() (bool, error) {
		log := w.log(session)
		ended := log.of(api.EventEnded)
		return len(ended) > 1, fmt.Errorf("the log:\n%s", log)
	})
	w.t.Logf("lost: the turn is cut %v after its node was lost", time.Since(began).Round(time.Millisecond))
	ended := w.log(session).of(api.EventEnded)
	if why := ended[len(ended)-1].GetText(); !strings.Contains(why, c.Node()) {
		w.t.Errorf("the attempt ended for the reason %q, which does not name the node", why)
	}
	w.must(c.Heal(w.ctx))
	w.must(c.StartKubelet(w.ctx))
	w.anotherActs("lost", began)
	w.absent(c, pod)
	w.release("second")
	w.settled("lost", "second", 1)
	w.judge("lost", "first", "second", "second")
}

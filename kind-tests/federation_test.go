//go:build kindtests

package kindtests

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/testcluster"
)

// TestASessionIsAPod takes a session through its life: a signal makes a pod, the pod's events come back, the session sleeps and the
// pod is gone, and the next signal wakes it with its state.
func TestASessionIsAPod(t *testing.T) {
	w := federate(limited(t), t, 1)
	c := w.bed.Clusters[0]
	w.outside(c)
	w.live(c)
	w.apply("counter", imageOfAgents, "small", nil)
	w.life(c, "counter")
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.spokes[c.Name].ID()))
	w.must(err)
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, "VmRSS") || strings.HasPrefix(line, "RssAnon") {
			t.Logf("the spoke, at rest: %s", strings.Join(strings.Fields(line), " "))
		}
	}
}

// TestTwoCloudsRunTheirSessions has the spoke in each of two clusters, as its operator would: everything between hub and spoke goes over
// OpenZiti, and everything between spoke and pods inside the cluster.
func TestTwoCloudsRunTheirSessions(t *testing.T) {
	w := federate(limited(t), t, 2)
	for _, c := range w.bed.Clusters {
		w.inside(c)
	}
	w.live(w.bed.Clusters...)
	for _, c := range w.bed.Clusters {
		w.applyAt(c, "counter-"+c.Name, imageOfAgents, "small")
	}
	t.Run("at once", func(t *testing.T) {
		for _, c := range w.bed.Clusters {
			t.Run(c.Name, func(t *testing.T) {
				t.Parallel()
				w.at(t).life(c, "counter-"+c.Name)
			})
		}
	})
}

// TestASpokeMakesTheNamespacesOfOrganizations gives the spoke the rights to manage namespaces and makes none: it makes what the first session
// needs, and finds it again when another pod of it starts in a turn.
func TestASpokeMakesTheNamespacesOfOrganizations(t *testing.T) {
	w := federateAs(limited(t), t, 1, true)
	c := w.bed.Clusters[0]
	w.inside(c)
	w.live(c)
	w.spokeReady(c)
	w.apply("counter", imageOfAgents, "small", nil)
	w.life(c, "counter")
	is, err := c.Client.CoreV1().Namespaces().Get(w.ctx, namespaceOfOrg, metav1.GetOptions{})
	w.must(err)
	if is.Labels["pod-security.kubernetes.io/enforce"] != "restricted" || is.Labels["nave.dev/organization"] != string(api.DefaultOrg) {
		t.Errorf("the namespace has the labels %v", is.Labels)
	}
	w.losesItsSpoke(c)
}

// life shows in a cluster that an agent's session is a pod while there is work, and how long it takes.
func (w *federated) life(c *testcluster.Cluster, agent string) {
	w.t.Helper()
	session, accepted := w.signal(agent, "life", "hello")
	first := w.first(session, accepted)
	w.said(session, "done 1")
	if pods := w.pods(c, session); len(pods) != 1 || pods[0].Spec.Containers[0].Image != imageOfAgents {
		w.t.Errorf("the session has %d pods, want one with the agent's image", len(pods))
	}
	w.sleeps(c, session)
	again, accepted := w.signal(agent, "life", "hello again")
	w.said(session, "done 2") // counted in its home, of which the pod had nothing left
	w.t.Logf("%s: signal accepted to first event of the agent: new session %v, woken with its state %v", c.Name, first.Round(time.Millisecond), w.since(again, "turn 2", accepted).Round(time.Millisecond))
	w.sleeps(c, session)
	log := w.log(session)
	if d := cmp.Diff([]string{"turn 1", "done 1", "turn 2", "done 2"}, log.messages()); again != session || d != "" {
		w.t.Errorf("what the agent said (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"[1] done", "[2] done"}, log.outcomes()); d != "" {
		w.t.Errorf("turns (-want +got):\n%s\n%s", d, log)
	}
}

// first waits for the first thing that a session's agent says.
func (w *federated) first(session string, accepted time.Time) time.Duration {
	w.t.Helper()
	return w.since(session, "turn 1", accepted)
}

// since is how long it took until a session's agent said a line: by the event's own time and that of the test, which are one clock.
func (w *federated) since(session, line string, from time.Time) time.Duration {
	w.t.Helper()
	w.said(session, line)
	for _, e := range w.log(session).of(api.EventMessage) {
		if e.GetText() == line {
			return e.GetTime().AsTime().Sub(from)
		}
	}
	return 0
}

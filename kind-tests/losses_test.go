//go:build kindtests

package kindtests

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/testcluster"
)

// counted are the messages of a turn that counts.
func counted(turn int) []string {
	out := []string{fmt.Sprintf("turn %d", turn)}
	for i := 1; i <= 30; i++ {
		out = append(out, fmt.Sprintf("line %d", i))
	}
	return append(out, fmt.Sprintf("done %d", turn))
}

// TestLossesInACluster takes away, one after the other, what a session in a cluster lives on.
func TestLossesInACluster(t *testing.T) {
	w := federate(limited(t), t, 1)
	c := w.bed.Clusters[0]
	w.inside(c)
	w.live(c)
	w.spokeReady(c)
	w.apply("counter", imageOfAgents, "small", nil)
	for _, test := range []struct {
		name string
		do   func(*federated, *testcluster.Cluster)
	}{
		{"the spoke", (*federated).losesItsSpoke},
		{"the link", (*federated).losesItsLink},
		{"the pod", (*federated).losesItsPod},
	} {
		t.Run(test.name, func(t *testing.T) { test.do(w.at(t), c) })
	}
}

// losesItsSpoke deletes the spoke's pod in a turn: the session's pod works on and belongs to the next spoke.
func (w *federated) losesItsSpoke(c *testcluster.Cluster) {
	session, _ := w.signal("counter", "spoke", "count")
	w.said(session, "line 3")
	was := w.onlyPod(c, session)
	former := w.spokeReady(c)
	began := time.Now()
	w.must(c.Client.CoreV1().Pods(namespaceOfSpoke).Delete(w.ctx, spokePod, metav1.DeleteOptions{}))
	w.await("another pod of the spoke", func() (bool, error) {
		pod, err := c.Client.CoreV1().Pods(namespaceOfSpoke).Get(w.ctx, spokePod, metav1.GetOptions{})
		return err == nil && pod.UID != former.UID, nil
	})
	w.spokeReady(c)
	w.t.Logf("the spoke's pod was deleted and is ready again after %v", time.Since(began).Round(time.Millisecond))
	w.said(session, "line 30")
	is := w.pods(c, session) // it may end now
	if len(is) > 0 && is[0].UID != was.UID {
		w.t.Errorf("the session has the pod %s, had %s", is[0].UID, was.UID)
	}
	w.sleeps(c, session)
	w.once(session)
}

// losesItsLink cuts the cluster off from the hub for half a minute: the agent works on, and nothing of it is missing.
func (w *federated) losesItsLink(c *testcluster.Cluster) {
	session, _ := w.signal("counter", "link", "count")
	w.said(session, "line 3")
	was := w.onlyPod(c, session)
	w.must(c.Cut(w.ctx))
	began := time.Now()
	w.await("the hub does not hear the cluster", func() (bool, error) {
		out, err := w.Quiet(w.ctx, "clusters", "-o", "json")
		return err == nil && strings.Contains(out, `"`+string(api.HealthLost)+`"`), err
	})
	w.await("half a minute", func() (bool, error) { return time.Since(began) > 30*time.Second, nil })
	w.must(c.Heal(w.ctx))
	healed := time.Now()
	w.live(c)
	w.t.Logf("the hub hears the cluster %v after a cut of %v", time.Since(healed).Round(time.Millisecond), healed.Sub(began).Round(time.Second))
	w.said(session, "done 1")
	if is := w.pods(c, session); len(is) > 0 && is[0].UID != was.UID {
		w.t.Errorf("the session has the pod %s, had %s", is[0].UID, was.UID)
	}
	w.sleeps(c, session)
	w.once(session)
}

// once checks that a session's log has one turn that counted, whole, by one workload.
func (w *federated) once(session string) {
	w.t.Helper()
	log := w.log(session)
	if d := cmp.Diff(counted(1), log.messages()); d != "" {
		w.t.Errorf("what the agent said (-want +got):\n%s", d)
	}
	if n := len(log.of(api.EventStarted)); n != 1 || !cmp.Equal(log.outcomes(), []string{"[1] done"}) {
		w.t.Errorf("%d workloads were started and turns ended %q; want one of each:\n%s", n, log.outcomes(), log)
	}
}

// losesItsPod deletes a session's pod in a turn, as a person does: the signal is delivered again and done.
func (w *federated) losesItsPod(c *testcluster.Cluster) {
	session, _ := w.signal("counter", "pod", "once")
	w.said(session, "waits")
	was := w.onlyPod(c, session)
	w.must(c.Client.CoreV1().Pods(namespaceOfOrg).Delete(w.ctx, was.Name, metav1.DeleteOptions{}))
	deleted := time.Now()
	w.await("the signal is done", func() (bool, error) {
		log := w.log(session)
		o := log.outcomes()
		return len(o) > 0 && strings.HasSuffix(o[len(o)-1], " done"), fmt.Errorf("the log:\n%s", log)
	})
	w.t.Logf("a signal whose pod was deleted is done %v later", time.Since(deleted).Round(time.Millisecond))
	w.sleeps(c, session)
	log := w.log(session)
	if n := len(log.of(api.EventStarted)); n != 2 {
		w.t.Errorf("%d workloads were started, want two:\n%s", n, log)
	}
	if n := len(log.of(api.EventDead)); n != 0 {
		w.t.Errorf("the signal is a dead letter:\n%s", log)
	}
}

// onlyPod is the one pod of a session.
func (w *federated) onlyPod(c *testcluster.Cluster, session string) corev1.Pod {
	w.t.Helper()
	pods := w.pods(c, session)
	if len(pods) != 1 {
		w.t.Fatalf("session %s has %d pods, want one", session, len(pods))
	}
	return pods[0]
}

// at is the same federation, whose failures are those of a subtest.
func (w *federated) at(t testing.TB) *federated {
	c := *w
	c.t = t
	return &c
}

// TestWhyASessionDoesNotStartIsSeen: people see by `nave` alone why a cluster does not run a session.
func TestWhyASessionDoesNotStartIsSeen(t *testing.T) {
	w := federate(limited(t), t, 1)
	c := w.bed.Clusters[0]
	w.outside(c)
	w.live(c)
	for _, test := range []struct {
		name, image, flavor string
		says                []string
	}{
		{"an image that is nowhere", testcluster.Registry + "/test/nowhere:1", "small", []string{"ErrImagePull", "nowhere:1"}},
		{"an image without the command", testcluster.ProbeImage, "small", []string{"/bin/sh", "no such file"}},
		{"a flavor that no node has room for", imageOfAgents, "huge", []string{"Insufficient cpu"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := w.at(t)
			agent := strings.ReplaceAll(test.name, " ", "-")
			w.apply(agent, test.image, test.flavor, nil)
			session, accepted := w.signal(agent, "why", "hello")
			var shown string
			w.await("people see why", func() (ok bool, err error) {
				shown, err = w.Quiet(w.ctx, "sessions", "get", session)
				return err == nil && saysAll(shown, test.says), fmt.Errorf("%v: they see:\n%s", err, shown)
			})
			t.Logf("seen %v after the signal:\n%s", time.Since(accepted).Round(time.Millisecond), shown)
			// What holds a start up is shown at once; the log has it when the start is given up.
			w.await("the session's log says why", func() (bool, error) {
				ended := w.log(session).of(api.EventEnded)
				return len(ended) > 0 && saysAll(ended[0].GetText(), test.says), fmt.Errorf("it says %v", ended)
			})
			t.Logf("given up %v after the signal", time.Since(accepted).Round(time.Millisecond))
			_, err := w.Quiet(w.ctx, "terminate", session, "--yes")
			w.must(err)
			w.await("nothing is left of the session", func() (bool, error) { return len(w.pods(c, session)) == 0, nil })
		})
	}
}

// TestAnAgentThatEatsItsMemoryHarmsNobodyElse: what the flavor gives is all that there is, the signal is a dead letter that says why,
// and the session goes on with the next one. Where control groups are of version 1 the kernel ends the agent alone, else all of the pod.
func TestAnAgentThatEatsItsMemoryHarmsNobodyElse(t *testing.T) {
	w := federate(limited(t), t, 1)
	c := w.bed.Clusters[0]
	w.outside(c)
	w.live(c)
	w.apply("eater", imageOfAgents, "small", map[string]any{"max_deliveries": 1})
	session, _ := w.signal("eater", "memory", "eat")
	neighbour, _ := w.signal("eater", "neighbour", "count")
	var log eventLog
	w.await("the signal is dead", func() (bool, error) {
		log = w.log(session)
		return len(log.of(api.EventDead)) > 0, fmt.Errorf("the log:\n%s", log)
	})
	t.Logf("the log:\n%s", log)
	turns := log.of(api.EventTurnDone)
	if why := turns[0].GetText(); len(turns) != 1 || turns[0].GetOutcome() != string(api.OutcomeFailed) || !strings.Contains(why, "out of memory: the container had 128Mi") {
		t.Errorf("%d turns ended, the first as %s for the reason %q", len(turns), turns[0].GetOutcome(), why)
	}
	if shown := w.nave("events", session); !strings.Contains(shown, "out of memory: the container had 128Mi") {
		t.Errorf("people see:\n%s", shown)
	}
	again, _ := w.signal("eater", "memory", "hello")
	w.said(again, "done 2")
	w.said(neighbour, "done 1")
	w.once(neighbour)
}

func saysAll(text string, all []string) bool {
	for _, s := range all {
		if !strings.Contains(text, s) {
			return false
		}
	}
	return true
}

//go:build kindtests

package kindtests

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/internal/testcluster"
	"github.com/nave-dev/nave/spoke"
	"github.com/nave-dev/nave/spoke/kube"
)

// testTurns: a pod has its label while a long turn runs, for two writes; a short turn costs none, and a runtime that starts takes away what
// another left.
func testTurns(ctx context.Context, t *testing.T, b *apiBench) {
	begin := func(told func(*kube.Runtime)) (rt *kube.Runtime, end func()) {
		rt, err := kube.New(b.config(b.spoke))
		if err != nil {
			t.Fatal(err)
		}
		told(rt)
		g := run.NewGroup(ctx)
		g.Go("runtime", rt.Run)
		await(ctx, t, "the runtime knows what runs", func() bool { return rt.Ready() == nil })
		return rt, func() {
			g.Stop()
			_ = g.Wait()
		}
	}
	rt, end := begin(func(*kube.Runtime) {})
	long, short := session(), session()
	for _, w := range []spoke.WorkloadSpec{long, short} {
		b.startWorkload(ctx, rt, w)
		b.become(ctx, w.ID, corev1.PodStatus{Phase: corev1.PodRunning})
		rt.Busy(w.ID, false)
	}
	rt.Busy(session().ID, true) // of nothing it is no error
	labelled := func(w spoke.WorkloadSpec) bool { return b.pod(ctx, w.ID).Labels[kube.LabelTurn] == kube.TurnRuns }
	patched := func(w spoke.WorkloadSpec) int {
		return len(b.requests.of(func(q *http.Request) bool {
			return q.Method == http.MethodPatch && strings.HasSuffix(q.URL.Path, "/pods/"+w.ID.String())
		}))
	}
	began := time.Now()
	for range 3 { // level: what is said again is nothing new
		rt.Busy(long.ID, true)
	}
	for range 20 {
		rt.Busy(short.ID, true)
		rt.Busy(short.ID, false)
	}
	await(ctx, t, "the pod of a long turn is labelled", func() bool { return labelled(long) })
	if took := time.Since(began); took < 2*time.Second || took > 10*time.Second {
		t.Errorf("labelled after %v", took)
	}
	rt.Busy(long.ID, false)
	over := time.Now()
	await(ctx, t, "the label is taken away", func() bool { return !labelled(long) })
	t.Logf("the label is gone %v after the turn", time.Since(over).Round(time.Millisecond))
	if n := patched(long); n != 2 {
		t.Errorf("a long turn took %d writes, want 2", n)
	}
	if n := patched(short); n != 0 || labelled(short) {
		t.Errorf("short turns took %d writes, want none", n)
	}

	// A spoke that died in a turn: the next one takes the label away when no turn runs, and leaves it alone when one does.
	rt.Busy(long.ID, true)
	rt.Busy(short.ID, true)
	await(ctx, t, "both are labelled", func() bool { return labelled(long) && labelled(short) })
	end()
	former := patched(short)
	_, end = begin(func(rt *kube.Runtime) { // the spoke says it before the runtime knows anything
		rt.Busy(long.ID, false)
		rt.Busy(short.ID, true)
	})
	defer end()
	await(ctx, t, "the stale label is taken away", func() bool { return !labelled(long) })
	if !labelled(short) || patched(short) != former {
		t.Errorf("the label of a turn that goes on was written %d times", patched(short)-former)
	}
}

// drained empties a node in the middle of a long turn: the eviction is refused exactly as long as the turn runs. With the only node closed
// the session waits, and people see for what; when the node is open again it goes on with its state.
func (w *witnessed) drained(c *testcluster.Cluster) {
	session := w.sessions["drained"]
	w.begin("drained", "second")
	pod := w.onlyPod(c, session)
	w.await("the pod is labelled", func() (bool, error) {
		p := w.onlyPod(c, session)
		return p.Labels[kube.LabelTurn] == kube.TurnRuns, nil
	})
	err := c.Client.CoreV1().Pods(namespaceOfOrg).EvictV1(w.ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: pod.Name}})
	if !apierrors.IsTooManyRequests(err) {
		w.t.Errorf("the eviction of a pod in whose turn is not refused: %v", err)
	}
	began := time.Now()
	drained := make(chan error, 1)
	g := run.NewGroup(w.ctx)
	g.Go("drain", func(ctx context.Context) error {
		drained <- c.Drain(ctx)
		return nil
	})
	defer func() { _ = g.Wait() }()
	w.acts("drained", 40) // 8 s at least
	select {
	case err := <-drained:
		w.t.Fatalf("drained after %v, in a turn: %v", time.Since(began), err)
	default:
	}
	if is := w.onlyPod(c, session); is.UID != pod.UID || is.DeletionTimestamp != nil {
		w.t.Errorf("the pod %s became %s, deleted %v", pod.UID, is.UID, is.DeletionTimestamp)
	}
	w.release("second")
	over := time.Now()
	select {
	case err := <-drained:
		w.must(err)
	case <-time.After(waitLimit):
		w.t.Fatalf("the drain does not end within %v of the turn", waitLimit)
	}
	w.t.Logf("drain: waited %v for the turn, done %v after it", over.Sub(began).Round(time.Millisecond), time.Since(over).Round(time.Millisecond))
	w.settled("drained", "second", 1)

	again, _ := w.signal("drained", "drained", "third")
	if again != session {
		w.t.Fatalf("another session: %s", again)
	}
	w.await("people see why it waits", func() (bool, error) {
		shown, err := w.Quiet(w.ctx, "sessions", "get", session)
		return err == nil && strings.Contains(shown, "unschedulable"), fmt.Errorf("%v: they see:\n%s", err, shown)
	})
	w.must(c.Uncordon(w.ctx))
	open := time.Now()
	w.release("third")
	w.settled("drained", "third", 1)
	w.t.Logf("drain: goes on %v after the node is open", time.Since(open).Round(time.Millisecond))
	w.judge("drained", "first", "second", "third")
}

//go:build kindtests

package kindtests

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/testcluster"
	"github.com/nave-dev/nave/spoke"
	"github.com/nave-dev/nave/spoke/kube"
)

// What the tests of watches measure by.
const (
	feeds      = 2                // of a namespace: its pods and its claims
	silence    = time.Minute      // that a connection is silent: the client library asks after 30 s and waits 15 s for the answer
	noticed    = 5 * time.Second  // that a watch has ended and no other begins
	recovered  = 15 * time.Second // from the answer of the API server until the runtime knows what there is
	growing    = 10 * time.Second // until the pauses between questions have grown
	grownFor   = 20 * time.Second // how long requests are counted then
	askEvery   = 2 * time.Second  // by each feed, at most
	watchEnds  = 2 * time.Second  // how long a watch lasts that ends as watches do
	watchesFor = 16 * time.Second
)

// TestTheRuntimeBelievesNoOldPicture takes the watches from a runtime in each way that a network and an API server know: it says that it
// knows nothing, asks seldom, and when watches are back it shows what there is and not what there was.
func TestTheRuntimeBelievesNoOldPicture(t *testing.T) {
	ctx := limited(t)
	bed, err := testcluster.StartControlPlane(ctx, testcluster.Config{Bin: programs(ctx, t), Log: logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, bed) })
	for i, tt := range []struct {
		name string
		test func(context.Context, *testing.T, *apiBench)
	}{
		{"connections are closed at once", func(ctx context.Context, t *testing.T, b *apiBench) { testNoWatch(ctx, t, b, closes) }},
		{"connections are never answered", func(ctx context.Context, t *testing.T, b *apiBench) { testNoWatch(ctx, t, b, keeps) }},
		{"connections are refused", func(ctx context.Context, t *testing.T, b *apiBench) { testNoWatch(ctx, t, b, refuses) }},
		{"connections fall silent", testSilence},
		{"requests are held", testHeld},
		{"watches are closed at once", testClosed},
		{"connections are reset", testReset},
		{"watches end as they do", testWatchEnds},
		{"no right to watch pods", func(ctx context.Context, t *testing.T, b *apiBench) {
			testRevoked(ctx, t, b, "watch", allow("pods", "get list create patch delete"), allow("configmaps", "get list watch create patch delete"))
		}},
		{"no right to list pods or watch them", func(ctx context.Context, t *testing.T, b *apiBench) {
			testRevoked(ctx, t, b, "list", allow("pods", "get create patch delete"), allow("configmaps", "get list watch create patch delete"))
		}},
	} {
		ns, cluster := fmt.Sprintf("feeds-%d", i), fmt.Sprintf("01FEED%d", i)
		t.Run(tt.name, func(t *testing.T) { tt.test(ctx, t, newAPIBench(ctx, t, bed.Clusters[0], ns, cluster)) })
	}
}

// testNoWatch: nothing is known as long as no watch is, and what happened meanwhile is known as soon as one is.
func testNoWatch(ctx context.Context, t *testing.T, b *apiBench, m manner) {
	g, access := newGate(t, b.spoke)
	rt, w := b.ready(ctx, b.config(access)), session()
	b.startWorkload(ctx, rt, w)
	b.become(ctx, w.ID, corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: "as shown"}}})
	await(ctx, t, "the watch shows the pod", func() bool { return strings.Contains(b.workload(ctx, rt, w.ID).Waiting, "as shown") })
	made := session() // its pod is perhaps not shown before the watch ends
	b.startWorkload(ctx, rt, made)
	g.behave(m)
	began := time.Now()
	b.unknown(ctx, rt, noticed, api.CodeUnavailable, b.namespace)
	t.Logf("noticed after %v", time.Since(began).Round(time.Millisecond))
	for _, w := range []spoke.WorkloadSpec{w, made} {
		if err := b.Client.CoreV1().Pods(b.namespace).Delete(ctx, w.ID.String(), metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	b.seldom(ctx, rt, g)
	lists := b.lists()
	g.behave(passes)
	began = time.Now()
	ws := b.first(ctx, rt, recovered)
	t.Logf("known again after %v", time.Since(began).Round(time.Millisecond))
	if n := b.lists() - lists; n < feeds {
		t.Errorf("%d lists before anything is known again, want one of each of %d", n, feeds)
	}
	if len(ws) != 2 {
		t.Errorf("the first list is %+v, want both workloads", ws)
	}
	for _, w := range ws {
		if w.State == spoke.WorkloadRunning && !strings.Contains(w.Waiting, "not seen") {
			t.Errorf("the first list has %+v, and its pod is deleted since long", w)
		}
	}
	b.awaitState(ctx, rt, w.ID, spoke.WorkloadEnded)
	b.awaitState(ctx, rt, made.ID, spoke.WorkloadEnded)
}

// testSilence: a connection over which nothing comes is noticed by the pings of the client library, as it sends them by itself.
func testSilence(ctx context.Context, t *testing.T, b *apiBench) {
	g, access := newGate(t, b.spoke)
	rt := b.ready(ctx, b.config(access))
	g.hush()
	began := time.Now()
	b.unknown(ctx, rt, silence, api.CodeUnavailable, b.namespace)
	t.Logf("noticed after %v", time.Since(began).Round(time.Millisecond))
	g.speak()
	began = time.Now()
	b.first(ctx, rt, recovered)
	t.Logf("known again after %v", time.Since(began).Round(time.Millisecond))
}

// testHeld: a connection that lives is no sign that anybody answers. A proxy may hold a request for ever; no question waits as long.
func testHeld(ctx context.Context, t *testing.T, b *apiBench) {
	g, access := newGate(t, b.spoke)
	var held atomic.Pointer[chan struct{}] // until it is closed watches are held
	var lists atomic.Bool                  // lists too
	access.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if hold := held.Load(); hold != nil && (lists.Load() || r.URL.Query().Get("watch") == "true") {
				select {
				case <-r.Context().Done():
					return nil, r.Context().Err()
				case <-*hold:
				}
			}
			return next.RoundTrip(r)
		})
	})
	rt := b.ready(ctx, b.config(access))
	hold := make(chan struct{})
	held.Store(&hold)
	g.behave(passes)
	b.unknown(ctx, rt, noticed, api.CodeUnavailable, b.namespace, "begins no other")
	b.unknown(ctx, rt, 2*recovered, api.CodeUnavailable, b.namespace, "no answer within 10s")
	lists.Store(true)
	b.unknown(ctx, rt, 4*recovered, api.CodeUnavailable, b.namespace, "list ", "deadline exceeded")
	close(hold)
	b.first(ctx, rt, recovered)
}

// testClosed: lists that are answered are no watch, and what the client library makes of a closed connection is none either.
func testClosed(ctx context.Context, t *testing.T, b *apiBench) {
	g, access := newGate(t, b.spoke)
	var closed atomic.Bool
	access.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if closed.Load() && r.URL.Query().Get("watch") == "true" {
				return nil, io.EOF
			}
			return next.RoundTrip(r)
		})
	})
	rt := b.ready(ctx, b.config(access))
	closed.Store(true)
	g.behave(passes)
	b.unknown(ctx, rt, noticed, api.CodeUnavailable, b.namespace, "the connection was closed")
	b.seldom(ctx, rt, g)
	closed.Store(false)
	b.first(ctx, rt, recovered)
}

// testReset: who can connect again at once does.
func testReset(ctx context.Context, t *testing.T, b *apiBench) {
	g, access := newGate(t, b.spoke)
	rt := b.ready(ctx, b.config(access))
	for range 3 {
		asked := b.requests.count()
		g.behave(passes)
		await(ctx, t, "watches began again", func() bool { return b.requests.count() >= asked+feeds })
		within(ctx, t, noticed, "the runtime knows what runs", func() bool { return rt.Ready() == nil })
		if n := b.requests.count() - asked; n > 4*feeds {
			t.Errorf("%d requests to watch anew", n)
		}
		w := session()
		b.startWorkload(ctx, rt, w)
		await(ctx, t, "the pod is shown", func() bool { _, _, _, ok := rt.Pod(w.ID); return ok })
	}
}

// testWatchEnds: the API server ends watches by their times, and nobody notices.
func testWatchEnds(ctx context.Context, t *testing.T, b *apiBench) {
	var watches atomic.Int64
	access := rest.CopyConfig(b.spoke)
	access.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			q := r.URL.Query()
			if q.Get("watch") != "true" {
				return next.RoundTrip(r)
			}
			watches.Add(1)
			q.Set("timeoutSeconds", fmt.Sprint(int(watchEnds/time.Second)))
			r = r.Clone(r.Context())
			r.URL.RawQuery = q.Encode()
			return next.RoundTrip(r)
		})
	})
	rt, w := b.ready(ctx, b.config(access)), session()
	b.startWorkload(ctx, rt, w)
	before, began := b.lists(), time.Now()
	for look := time.NewTicker(2 * time.Millisecond); time.Since(began) < watchesFor; <-look.C {
		ws, err := rt.List(ctx)
		if err != nil || len(ws) != 1 || ws[0].State != spoke.WorkloadRunning {
			t.Fatalf("after %v: List = %v, %v", time.Since(began), ws, err)
		}
	}
	if n, least := watches.Load(), int64(feeds*(watchesFor/watchEnds)/2); n < least {
		t.Errorf("%d watches in %v, want at least %d", n, watchesFor, least)
	}
	if n := b.lists() - before; n > 0 {
		t.Errorf("%d lists after watches that ended as they do", n)
	}
}

// testRevoked: a right that is taken away is named, and one that is given back is used without anybody's help.
func testRevoked(ctx context.Context, t *testing.T, b *apiBench, verb string, left ...rbacv1.PolicyRule) {
	g, access := newGate(t, b.spoke)
	rt := b.ready(ctx, b.config(access))
	client, err := corev1client.NewForConfig(b.spoke)
	if err != nil {
		t.Fatal(err)
	}
	may := func() bool {
		watch, err := client.Pods(b.namespace).Watch(ctx, metav1.ListOptions{})
		if err == nil {
			watch.Stop()
		} else if !apierrors.IsForbidden(err) {
			t.Fatal(err)
		}
		return err == nil
	}
	b.entitle(ctx, left...)
	await(ctx, t, "the right is gone", func() bool { return !may() })
	g.behave(passes) // a watch that runs is not ended by the API server when its right is taken away
	err = b.unknown(ctx, rt, noticed, api.CodeDenied, b.namespace, fmt.Sprintf("the right %q on %q", verb, "pods"), "give it a role")
	t.Log(err)
	b.seldom(ctx, rt, g)
	b.entitle(ctx, rights()...)
	await(ctx, t, "the right is back", may)
	began := time.Now()
	within(ctx, t, recovered, "the runtime knows what runs", func() bool { return rt.Ready() == nil })
	t.Logf("known again after %v", time.Since(began).Round(time.Millisecond))
	b.startWorkload(ctx, rt, session())
}

// lists is how many lists of pods and claims were asked for.
func (b *apiBench) lists() int {
	return len(b.requests.of(func(r *http.Request) bool {
		q := r.URL.Query()
		return r.Method == http.MethodGet && q.Get("watch") == "" && q.Get("labelSelector") != ""
	}))
}

// entitle replaces the rights of the spoke.
func (b *apiBench) entitle(ctx context.Context, rules ...rbacv1.PolicyRule) {
	b.t.Helper()
	if _, err := b.Client.RbacV1().Roles(b.namespace).Update(ctx, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "spoke"}, Rules: rules}, metav1.UpdateOptions{}); err != nil {
		b.t.Fatal(err)
	}
}

// unknown waits until a runtime says that it does not know what runs, and why.
func (b *apiBench) unknown(ctx context.Context, rt *kube.Runtime, limit time.Duration, code api.Code, says ...string) (err error) {
	b.t.Helper()
	within(ctx, b.t, limit, "the runtime knows nothing", func() bool { err = rt.Ready(); return err != nil })
	within(ctx, b.t, limit, "it says why", func() bool {
		err = rt.Ready()
		ok := api.CodeOf(err) == code
		for _, text := range says {
			ok = ok && strings.Contains(err.Error(), text)
		}
		return ok
	})
	if ws, err := rt.List(ctx); err == nil {
		b.t.Errorf("List = %v and nothing is known", ws)
	}
	return err
}

// seldom checks that a runtime that knows nothing says so all the time, and how much it asks when its pauses have grown.
func (b *apiBench) seldom(ctx context.Context, rt *kube.Runtime, g *gate) {
	b.t.Helper()
	requests, connections := 0, 0
	began := time.Now()
	for look := time.NewTicker(waitLook); time.Since(began) < growing+grownFor; <-look.C {
		if ws, err := rt.List(ctx); err == nil {
			b.t.Fatalf("after %v: List = %v, and nothing is known", time.Since(began), ws)
		}
		if requests == 0 && time.Since(began) >= growing {
			requests, connections = b.requests.count(), g.accepted()
		}
	}
	requests, connections = b.requests.count()-requests, g.accepted()-connections
	b.t.Logf("%d requests by %d connections in %v", requests, connections, grownFor)
	if most := feeds * int(grownFor/askEvery); requests > most || connections > most {
		b.t.Errorf("%d requests by %d connections in %v, want at most one in %v of each of %d", requests, connections, grownFor, askEvery, feeds)
	}
	if requests == 0 {
		b.t.Errorf("it has ceased to ask")
	}
}

// first is what a runtime lists as soon as it lists anything.
func (b *apiBench) first(ctx context.Context, rt *kube.Runtime, limit time.Duration) []spoke.Workload {
	b.t.Helper()
	var err error
	for began, look := time.Now(), time.NewTicker(time.Millisecond); time.Since(began) < limit; <-look.C {
		var ws []spoke.Workload
		if ws, err = rt.List(ctx); err == nil {
			return ws
		}
	}
	b.t.Fatalf("not known again within %v: %v", limit, err)
	return nil
}

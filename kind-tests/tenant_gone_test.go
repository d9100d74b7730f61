//go:build kindtests

package kindtests

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/spoke"
	"github.com/nave-dev/nave/spoke/door"
	"github.com/nave-dev/nave/spoke/kube"
	"github.com/nave-dev/nave/spoke/kube/tenant"
)

// lines are connections that a test can cut.
type lines struct {
	mu   sync.Mutex
	open []net.Conn
}

func (l *lines) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, address)
	if err == nil {
		l.mu.Lock()
		l.open = append(l.open, c)
		l.mu.Unlock()
	}
	return c, err
}

func (l *lines) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.open {
		_ = c.Close()
	}
	l.open = nil
}

// remove deletes a namespace with all that is in it, as the controller of namespaces does.
func (p *tenants) remove(ctx context.Context, t *testing.T, namespace string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	now, all := int64(0), metav1.ListOptions{}
	core, rbac := p.Client.CoreV1(), p.Client.RbacV1()
	must(core.Namespaces().Delete(ctx, namespace, metav1.DeleteOptions{}))
	must(rbac.RoleBindings(namespace).DeleteCollection(ctx, metav1.DeleteOptions{}, all))
	must(core.Pods(namespace).DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: &now}, all))
	must(core.ConfigMaps(namespace).DeleteCollection(ctx, metav1.DeleteOptions{}, all))
	n, err := core.Namespaces().Get(ctx, namespace, metav1.GetOptions{})
	must(err)
	n.Spec.Finalizers = nil
	_, err = core.Namespaces().Finalize(ctx, n, metav1.UpdateOptions{})
	must(err)
	if _, err := core.Namespaces().Get(ctx, namespace, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Fatalf("the namespace is still there: %v", err)
	}
}

// TestANamespaceThatIsDeletedHidesNoOther: an administrator deletes the namespace of one organization while sessions of two run.
func TestANamespaceThatIsDeletedHidesNoOther(t *testing.T) {
	ctx := limited(t)
	p := newTenants(ctx, t)
	p.managing(ctx, t)
	s := acmeSpec()
	c := p.careful(ctx, t, s, time.Hour)
	var wires lines
	own := p.as(ctx, t, spokeNamespace, spokeAccount)
	own.Dial = wires.dial
	var refused atomic.Int32
	own.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(q *http.Request) (*http.Response, error) {
			answer, err := next.RoundTrip(q)
			if err == nil && answer.StatusCode == http.StatusForbidden {
				refused.Add(1)
			}
			return answer, err
		})
	})
	authority, err := door.OpenAuthority(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	rt, err := kube.New(kube.Config{Rest: own, Authority: authority.PEM(), Cluster: func() string { return s.Cluster }, Namespace: spokeNamespace, Log: logger(t), Tenant: c.Make,
		Settings: kube.Settings{Service: "nave-spoke.test:7443", Namespaces: kube.Namespaces{Manage: true}, Harness: kube.Harness{Image: harnessImage}}})
	if err != nil {
		t.Fatal(err)
	}
	g := run.NewGroup(ctx)
	g.Go("runtime", rt.Run)
	t.Cleanup(func() { g.Stop(); _ = g.Wait() })
	await(ctx, t, "the runtime knows what runs", func() bool { return rt.Ready() == nil })
	of := map[api.OrgID]spoke.WorkloadSpec{}
	start := func(org api.OrgID) spoke.WorkloadID {
		t.Helper()
		w := session()
		w.Org = org
		await(ctx, t, "a session starts", func() bool {
			err := rt.Start(ctx, w)
			if err != nil {
				t.Log(err)
			}
			return err == nil
		})
		of[org] = w
		return w.ID
	}
	stays, goes := start("acme"), start("umbrella")
	listed := func(id spoke.WorkloadID) bool {
		all, err := rt.List(ctx)
		for _, w := range all {
			if err == nil && w.ID == id {
				return true
			}
		}
		return false
	}
	await(ctx, t, "both are listed", func() bool { return listed(stays) && listed(goes) })

	t.Run("its rights in one are taken", func(t *testing.T) {
		if err := p.Client.RbacV1().RoleBindings("nave-umbrella").Delete(ctx, tenant.RoleSpoke, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		refused.Store(0)
		wires.cut()
		await(ctx, t, "the runtime is refused", func() bool { return refused.Load() > 0 })
		await(ctx, t, "it sees everything again", func() bool { return rt.Ready() == nil && listed(stays) && listed(goes) })
	})
	p.remove(ctx, t, "nave-umbrella")
	await(ctx, t, "its session is gone", func() bool { return !listed(goes) })
	refused.Store(0)
	wires.cut() // what watches has to ask anew, which nobody allows any more
	await(ctx, t, "the runtime is refused", func() bool { return refused.Load() > 0 })
	await(ctx, t, "the spoke no longer asks for what is gone", func() bool { return rt.Ready() == nil && listed(stays) && !listed(goes) })

	again := start("umbrella")
	await(ctx, t, "a new session of the organization is listed", func() bool { return listed(again) && listed(stays) })
	if _, err := p.Client.CoreV1().Pods("nave-umbrella").Get(ctx, again.String(), metav1.GetOptions{}); err != nil {
		t.Errorf("its pod: %v", err)
	}
}

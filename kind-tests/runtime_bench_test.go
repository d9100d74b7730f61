//go:build kindtests

package kindtests

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/internal/testcluster"
	"github.com/nave-dev/nave/spoke"
	"github.com/nave-dev/nave/spoke/door"
	"github.com/nave-dev/nave/spoke/kube"
)

// apiBench is a namespace of its own and what was asked of the API server.
type apiBench struct {
	*testcluster.Cluster
	t         *testing.T
	namespace string
	cluster   string
	authority []byte
	requests  requests
	spoke     *rest.Config // access with the rights that a spoke needs in the namespace of sessions, and no others
}

// rights are all that a runtime needs in a namespace of sessions.
func rights() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		allow("configmaps", "get list watch create patch delete"),
		allow("pods", "get list watch create patch delete"),
		allow("persistentvolumeclaims", "get list create patch delete"),
		allow("resourcequotas", "list"),
	}
}

func newAPIBench(ctx context.Context, t *testing.T, c *testcluster.Cluster, ns, cluster string) *apiBench {
	t.Helper()
	b := &apiBench{Cluster: c, t: t, namespace: ns, cluster: cluster}
	authority, err := door.OpenAuthority(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	b.authority = authority.PEM()
	if _, err := c.Client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: ns, Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"},
	}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Client.CoreV1().ServiceAccounts(ns).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "nave-session"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	b.spoke = b.as(ctx, "spoke", rights()...)
	client, err := corev1client.NewForConfig(b.spoke)
	if err != nil {
		t.Fatal(err)
	}
	await(ctx, t, "the API server knows the rights", func() bool {
		_, err := client.ResourceQuotas(ns).List(ctx, metav1.ListOptions{})
		return err == nil
	})
	return b
}

// requests are what a runtime asked.
type requests struct {
	mu   sync.Mutex
	all  []*http.Request
	lose func(*http.Request) bool // the API server does what these ask, and its answers are lost; nil: none
}

func (r *requests) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(q *http.Request) (*http.Response, error) {
		r.mu.Lock()
		r.all = append(r.all, q)
		lose := r.lose != nil && r.lose(q)
		r.mu.Unlock()
		answer, err := next.RoundTrip(q)
		if lose && err == nil {
			answer.Body.Close()
			return nil, errors.New("the answer is lost")
		}
		return answer, err
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip implements [http.RoundTripper].
func (f roundTripper) RoundTrip(q *http.Request) (*http.Response, error) { return f(q) }

// of returns the requests that are so, as "METHOD path".
func (r *requests) of(is func(*http.Request) bool) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, q := range r.all {
		if is(q) {
			out = append(out, q.Method+" "+q.URL.Path)
		}
	}
	return out
}

func (r *requests) count() int { return len(r.of(func(*http.Request) bool { return true })) }

func writes(q *http.Request) bool { return q.Method != http.MethodGet }

// config is a runtime's with this access.
func (b *apiBench) config(access *rest.Config) kube.Config {
	of := rest.CopyConfig(access)
	of.QPS, of.Burst = 0, 0
	of.Wrap(b.requests.wrap)
	return kube.Config{
		Rest: of, Authority: b.authority, Cluster: func() string { return b.cluster }, Log: logger(b.t), TidyEvery: 50 * time.Millisecond,
		Settings: kube.Settings{
			Service: "nave-spoke.test:7443", Namespaces: kube.Namespaces{Organizations: map[api.OrgID]string{api.DefaultOrg: b.namespace}},
			Harness: kube.Harness{Image: harnessImage}, StorageClasses: []string{"by-hand"},
		},
	}
}

// start runs a runtime until the test ends.
func (b *apiBench) start(c kube.Config) *kube.Runtime {
	b.t.Helper()
	rt, err := kube.New(c)
	if err != nil {
		b.t.Fatal(err)
	}
	g := run.NewGroup(context.Background())
	g.Go("runtime", rt.Run)
	b.t.Cleanup(func() {
		g.Stop()
		if err := g.Wait(); err != nil {
			b.t.Errorf("runtime: %v", err)
		}
	})
	return rt
}

func (b *apiBench) ready(ctx context.Context, c kube.Config) *kube.Runtime {
	b.t.Helper()
	rt := b.start(c)
	await(ctx, b.t, "the runtime knows what runs", func() bool { return rt.Ready() == nil })
	return rt
}

// session is a workload of a new session.
func session() spoke.WorkloadSpec {
	var entropy [10]byte
	rand.Read(entropy[:])
	return spoke.WorkloadSpec{
		ID:  spoke.WorkloadID{Session: api.NewSessionID(time.Now(), 0, entropy), Epoch: api.Epoch{N: 1}, Attempt: 1},
		Org: api.DefaultOrg, Key: "a key",
		Revision: &api.ResolvedRevision{
			AgentID: "01K84MCRBE0000000000000000", AgentName: "tester", AgentRevision: 1, EnvironmentRevision: 1,
			Agent:       (&api.AgentSpec{Environment: "test", Harness: api.HarnessSpec{Protocol: api.ProtocolACP, Command: []string{"agent"}}}).WithDefaults(),
			Environment: (&api.EnvironmentSpec{Image: "registry.example/agent:1"}).For(nil),
		},
	}
}

func (b *apiBench) startWorkload(ctx context.Context, rt *kube.Runtime, w spoke.WorkloadSpec) {
	b.t.Helper()
	if err := rt.Start(ctx, w); err != nil {
		b.t.Fatalf("Start: %v", err)
	}
}

// workload is what a runtime lists of one.
func (b *apiBench) workload(ctx context.Context, rt *kube.Runtime, id spoke.WorkloadID) spoke.Workload {
	b.t.Helper()
	ws, err := rt.List(ctx)
	if err != nil {
		b.t.Fatalf("List: %v", err)
	}
	for _, w := range ws {
		if w.ID == id {
			return w
		}
	}
	return spoke.Workload{}
}

func (b *apiBench) awaitState(ctx context.Context, rt *kube.Runtime, id spoke.WorkloadID, want spoke.WorkloadState) spoke.Workload {
	b.t.Helper()
	var w spoke.Workload
	await(ctx, b.t, fmt.Sprintf("the workload is %q", want), func() bool { w = b.workload(ctx, rt, id); return w.State == want })
	return w
}

func (b *apiBench) pod(ctx context.Context, id spoke.WorkloadID) *corev1.Pod {
	b.t.Helper()
	p, err := b.Client.CoreV1().Pods(b.namespace).Get(ctx, id.String(), metav1.GetOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	return p
}

// become says what a kubelet would say of a pod.
func (b *apiBench) become(ctx context.Context, id spoke.WorkloadID, status corev1.PodStatus) {
	b.t.Helper()
	p := b.pod(ctx, id)
	p.Status = status
	if _, err := b.Client.CoreV1().Pods(b.namespace).UpdateStatus(ctx, p, metav1.UpdateOptions{}); err != nil {
		b.t.Fatal(err)
	}
}

// nothingLeft asserts that neither a claim nor a pod of a workload exists.
func (b *apiBench) nothingLeft(ctx context.Context, id spoke.WorkloadID) {
	b.t.Helper()
	if _, err := b.Client.CoreV1().ConfigMaps(b.namespace).Get(ctx, id.String(), metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		b.t.Errorf("the claim is left: %v", err)
	}
	if _, err := b.Client.CoreV1().Pods(b.namespace).Get(ctx, id.String(), metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		b.t.Errorf("the pod is left: %v", err)
	}
}

// as is access with the rights of a role in the namespace alone.
func (b *apiBench) as(ctx context.Context, name string, rules ...rbacv1.PolicyRule) *rest.Config {
	b.t.Helper()
	user := name + "-of-" + b.namespace
	if _, err := b.Client.RbacV1().Roles(b.namespace).Create(ctx, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}, metav1.CreateOptions{}); err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.Client.RbacV1().RoleBindings(b.namespace).Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
	}, metav1.CreateOptions{}); err != nil {
		b.t.Fatal(err)
	}
	c := rest.CopyConfig(b.Rest)
	c.Impersonate.UserName = user
	return c
}

func allow(resources, verbs string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{""}, Resources: strings.Fields(resources), Verbs: strings.Fields(verbs)}
}

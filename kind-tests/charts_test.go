//go:build kindtests

package kindtests

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"

	"github.com/nave-dev/nave/internal/charts"
	"github.com/nave-dev/nave/internal/realpart"
	"github.com/nave-dev/nave/internal/testcluster"
)

// chartServer is an API server with what the tests of charts add to one.
type chartServer struct {
	*testcluster.Cluster
	dynamic dynamic.Interface
	helm    charts.Helm
	said    *warnings
}

// warnings keeps what the API server warns of.
type warnings struct {
	mu   sync.Mutex
	text []string
}

// HandleWarningHeader implements rest.WarningHandler.
func (w *warnings) HandleWarningHeader(_ int, _ string, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = append(w.text, text)
}

// taken returns what was said, and forgets it.
func (w *warnings) taken() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	text := w.text
	w.text = nil
	return text
}

func startChartServer(ctx context.Context, t *testing.T) *chartServer {
	t.Helper()
	program := realpart.Path(t, realpart.Helm)
	bed, err := testcluster.StartControlPlane(ctx, testcluster.Config{Bin: programs(ctx, t), Log: logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, bed) })
	c := &chartServer{Cluster: bed.Clusters[0], helm: charts.Helm{Path: program, Home: t.TempDir()}, said: &warnings{}}
	config := rest.CopyConfig(c.Rest)
	config.WarningHandler = c.said
	if c.dynamic, err = dynamic.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	return c
}

// namespace makes a namespace; a restricted one refuses and warns of every pod that is not.
func (c *chartServer) namespace(ctx context.Context, t *testing.T, name string, restricted bool) {
	t.Helper()
	n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if restricted {
		n.Labels = map[string]string{"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/warn": "restricted"}
	}
	if _, err := c.Client.CoreV1().Namespaces().Create(ctx, n, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
}

// apply gives an object to the API server.
func (c *chartServer) apply(ctx context.Context, m meta.RESTMapper, o *unstructured.Unstructured, options metav1.PatchOptions) error {
	mapping, err := m.RESTMapping(o.GroupVersionKind().GroupKind(), o.GroupVersionKind().Version)
	if err != nil {
		return err
	}
	text, err := o.MarshalJSON()
	if err != nil {
		return err
	}
	options.FieldManager, options.FieldValidation = "test", metav1.FieldValidationStrict
	var at dynamic.ResourceInterface = c.dynamic.Resource(mapping.Resource)
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		at = c.dynamic.Resource(mapping.Resource).Namespace(o.GetNamespace())
	}
	_, err = at.Patch(ctx, o.GetName(), types.ApplyPatchType, text, options)
	return err
}

func (c *chartServer) mapper(t *testing.T) meta.RESTMapper {
	t.Helper()
	groups, err := restmapper.GetAPIGroupResources(c.Client.Discovery())
	if err != nil {
		t.Fatal(err)
	}
	return restmapper.NewDiscoveryRESTMapper(groups)
}

// prometheus makes the kind ServiceMonitor known, as its operator would.
func (c *chartServer) prometheus(ctx context.Context, t *testing.T) {
	t.Helper()
	crd := map[string]any{}
	if err := json.Unmarshal([]byte(`{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"servicemonitors.monitoring.coreos.com"},
		"spec":{"group":"monitoring.coreos.com","scope":"Namespaced","names":{"kind":"ServiceMonitor","listKind":"ServiceMonitorList","plural":"servicemonitors","singular":"servicemonitor"},
		"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}}]}}`), &crd); err != nil {
		t.Fatal(err)
	}
	resource := schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	if _, err := c.dynamic.Resource(resource).Create(ctx, &unstructured.Unstructured{Object: crd}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	await(ctx, t, "the API server serves ServiceMonitor", func() bool {
		_, err := c.dynamic.Resource(schema.GroupVersionResource{Group: "monitoring.coreos.com", Version: "v1", Resource: "servicemonitors"}).List(ctx, metav1.ListOptions{})
		return err == nil
	})
}

// TestAnAPIServerTakesEveryRenderOfTheCharts, without a warning: what a pod security standard would warn of is a failure.
func TestAnAPIServerTakesEveryRenderOfTheCharts(t *testing.T) {
	ctx := limited(t)
	c := startChartServer(ctx, t)
	c.prometheus(ctx, t)
	mapper := c.mapper(t)
	dry := metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}}
	for _, k := range charts.Cases() {
		t.Run(k.String(), func(t *testing.T) {
			r, err := c.helm.Render(ctx, k.Folder(repository), k.Release, k.Namespace, "--values", k.Values(repository))
			if err != nil {
				t.Fatal(err)
			}
			all, err := charts.Objects(r.Manifest)
			if err != nil {
				t.Fatal(err)
			}
			c.namespace(ctx, t, k.Namespace, !k.Open)
			for _, o := range all { // a dry run makes no namespace for what follows
				if o.GetNamespace() != "" {
					c.namespace(ctx, t, o.GetNamespace(), !k.Open)
				}
			}
			c.said.taken()
			for _, o := range all {
				if err := c.apply(ctx, mapper, o, dry); err != nil {
					t.Errorf("%s %s/%s: %v", o.GetKind(), o.GetNamespace(), o.GetName(), err)
				}
				for _, w := range c.said.taken() {
					t.Errorf("%s %s/%s: the API server warns: %s", o.GetKind(), o.GetNamespace(), o.GetName(), w)
				}
			}
			if len(all) < 5 {
				t.Errorf("%d objects, at least 5 belong to every chart", len(all))
			}
		})
	}
	t.Run("a pod that is not restricted is warned of", func(t *testing.T) { // the judge can fail
		k := charts.Cases()[0]
		r, err := c.helm.Render(ctx, k.Folder(repository), k.Release, k.Namespace)
		if err != nil {
			t.Fatal(err)
		}
		all, err := charts.Objects(strings.ReplaceAll(r.Manifest, "runAsNonRoot: true", "runAsNonRoot: false"))
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(all, func(o *unstructured.Unstructured) bool { return o.GetKind() == "StatefulSet" })
		if err := c.apply(ctx, mapper, all[i], dry); err != nil {
			t.Fatal(err)
		}
		if said := c.said.taken(); len(said) != 1 || !strings.Contains(said[0], "runAsNonRoot") {
			t.Errorf("the API server warns of %q", said)
		}
	})
}

// TestAReleaseIsUpgradedAndKeepsWhatSessionsNeed installs the spoke's chart in earnest, on an API server without anybody who would start pods.
func TestAReleaseIsUpgradedAndKeepsWhatSessionsNeed(t *testing.T) {
	ctx := limited(t)
	c := startChartServer(ctx, t)
	chart := filepath.Join(repository, "charts", "nave-spoke")
	run := func(args ...string) {
		t.Helper()
		if _, err := c.helm.Run(ctx, append(args, "--namespace", "nave-system", "--kubeconfig", c.Kubeconfig)...); err != nil {
			t.Fatal(err)
		}
	}
	c.namespace(ctx, t, "nave-system", true)
	run("install", "nave-spoke", chart, "--set", "joinToken.value=first")
	session := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "session", Namespace: "nave-default", Labels: map[string]string{"app.kubernetes.io/name": "nave-session"}},
		Spec: probe("session", "http://192.0.2.1").Spec}
	session.Spec.ServiceAccountName = "nave-session"
	made := c.sessionPod(ctx, t, session)
	before := c.state(ctx, t)

	t.Run("rights", func(t *testing.T) { c.rights(ctx, t) })

	run("upgrade", "nave-spoke", chart, "--set", "joinToken.value=first", "--set", "settings.startLimit=7m")
	after := c.state(ctx, t)
	if after["StatefulSet nave-system/nave-spoke"] == before["StatefulSet nave-system/nave-spoke"] || after["ConfigMap nave-system/nave-spoke"] == before["ConfigMap nave-system/nave-spoke"] {
		t.Error("other settings changed neither the settings nor the spoke")
	}
	for of, version := range before {
		if of != "StatefulSet nave-system/nave-spoke" && of != "ConfigMap nave-system/nave-spoke" && after[of] != version {
			t.Errorf("other settings changed %s", of)
		}
	}

	run("uninstall", "nave-spoke")
	left := c.state(ctx, t)
	for of := range before {
		_, is := left[of]
		kept := strings.Contains(of, " nave-default/") && !strings.HasPrefix(of, "Role") || of == "Namespace /nave-default"
		if is != kept {
			t.Errorf("after the release was uninstalled %s is there: %t, want %t", of, is, kept)
		}
	}
	if pod, err := c.Client.CoreV1().Pods("nave-default").Get(ctx, "session", metav1.GetOptions{}); err != nil || pod.UID != made.UID {
		t.Errorf("the session's pod is %v, %v", pod.GetUID(), err)
	}

	run("install", "nave-spoke", chart, "--set", "joinToken.value=second")
	if again := c.state(ctx, t); len(again) != len(before) {
		t.Errorf("a release of the same name has %d objects, the former had %d", len(again), len(before))
	}
}

// sessionPod makes a pod of a session, when the service account that it needs is known.
func (c *chartServer) sessionPod(ctx context.Context, t *testing.T, pod *corev1.Pod) *corev1.Pod {
	t.Helper()
	made, err := c.Client.CoreV1().Pods(pod.Namespace).Create(ctx, pod, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// state is the resource version of every object of the chart's kinds, in the namespaces of the release and its sessions.
func (c *chartServer) state(ctx context.Context, t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for kind, resource := range map[string]schema.GroupVersionResource{
		"ConfigMap": {Version: "v1", Resource: "configmaps"}, "Secret": {Version: "v1", Resource: "secrets"}, "Service": {Version: "v1", Resource: "services"},
		"ServiceAccount": {Version: "v1", Resource: "serviceaccounts"}, "ResourceQuota": {Version: "v1", Resource: "resourcequotas"}, "LimitRange": {Version: "v1", Resource: "limitranges"},
		"StatefulSet": {Group: "apps", Version: "v1", Resource: "statefulsets"}, "NetworkPolicy": {Group: "networking.k8s.io", Version: "v1", Resource: "networkpolicies"},
		"Role": {Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "roles"}, "RoleBinding": {Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "rolebindings"},
		"Namespace": {Version: "v1", Resource: "namespaces"},
	} {
		list, err := c.dynamic.Resource(resource).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/part-of=nave"})
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range list.Items {
			out[fmt.Sprintf("%s %s/%s", kind, o.GetNamespace(), o.GetName())] = o.GetResourceVersion()
		}
	}
	return out
}

// rights asks the API server what the spoke's service account may do.
func (c *chartServer) rights(ctx context.Context, t *testing.T) {
	config := rest.CopyConfig(c.Rest)
	config.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:nave-system:nave-spoke",
		Groups: []string{"system:serviceaccounts", "system:serviceaccounts:nave-system", "system:authenticated"}}
	spoke, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	await(ctx, t, "the rights of the release are known", func() bool {
		_, err := spoke.CoreV1().Pods("nave-default").List(ctx, metav1.ListOptions{})
		return err == nil
	})
	if n, err := spoke.CoreV1().Namespaces().Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{}); err != nil || n.UID == "" {
		t.Errorf("the cluster's fingerprint: %v", err)
	}
	type right struct{ group, resource, sub, verb, namespace, name string }
	may := map[right]bool{
		{"", "namespaces", "", "get", "nave-default", "nave-default"}:            false,
		{"", "namespaces", "", "list", "", ""}:                                   false,
		{"", "namespaces", "", "create", "", ""}:                                 false,
		{"", "secrets", "", "get", "nave-system", "nave-spoke-join"}:             false,
		{"", "secrets", "", "list", "nave-default", ""}:                          false,
		{"", "pods", "", "list", "nave-system", ""}:                              false,
		{"", "pods", "", "list", "", ""}:                                         false,
		{"", "pods", "exec", "create", "nave-default", ""}:                       false,
		{"", "pods", "attach", "create", "nave-default", ""}:                     false,
		{"", "pods", "portforward", "create", "nave-default", ""}:                false,
		{"", "serviceaccounts", "token", "create", "nave-default", ""}:           false,
		{"", "nodes", "", "list", "", ""}:                                        false,
		{"rbac.authorization.k8s.io", "roles", "", "create", "nave-default", ""}: false,
		{"", "pods", "log", "get", "nave-default", ""}:                           true,
		{"", "resourcequotas", "", "list", "nave-default", ""}:                   true,
	}
	for _, resource := range []string{"pods", "configmaps", "persistentvolumeclaims"} {
		for _, verb := range []string{"create", "get", "list", "watch", "patch", "delete"} {
			may[right{"", resource, "", verb, "nave-default", ""}] = true
		}
		may[right{"", resource, "", "deletecollection", "nave-default", ""}] = false
	}
	for r, want := range may {
		review, err := spoke.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
			ResourceAttributes: &authorizationv1.ResourceAttributes{Group: r.group, Resource: r.resource, Subresource: r.sub, Verb: r.verb, Namespace: r.namespace, Name: r.name}}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if review.Status.Allowed != want {
			t.Errorf("%+v: allowed %t, want %t", r, review.Status.Allowed, want)
		}
	}
}

//go:build kindtests

package kindtests

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke/kube/tenant"
)

// tenants is a control plane with a spoke that may manage namespaces, or not.
type tenants struct {
	*plane
	admin  dynamic.Interface
	spoke  *kubernetes.Clientset // with the spoke's own token
	keeper *tenant.Keeper        // too
}

func newTenants(ctx context.Context, t testing.TB) *tenants {
	t.Helper()
	p := &tenants{plane: controlPlane(ctx, t)}
	p.namespace(ctx, t, spokeNamespace, spokeAccount)
	own := p.as(ctx, t, spokeNamespace, spokeAccount)
	var err error
	if p.admin, err = dynamic.NewForConfig(p.Rest); err != nil {
		t.Fatal(err)
	}
	if p.spoke, err = kubernetes.NewForConfig(own); err != nil {
		t.Fatal(err)
	}
	if p.keeper, err = tenant.New(tenant.Config{Rest: own, Log: logger(t)}); err != nil {
		t.Fatal(err)
	}
	return p
}

func acmeSpec() tenant.Spec {
	return tenant.Spec{
		Organization: "acme", Namespace: "nave-acme", Cluster: "01j9z3t8k5m0n1p2q3r4s5t6v7", Manage: true, PoliciesEnforced: true,
		SpokeNamespace: spokeNamespace, SpokeServiceAccount: spokeAccount, SpokePort: 7443,
		SpokeLabels: map[string]string{"app.kubernetes.io/name": "nave-spoke"},
		EgressCIDRs: []string{"0.0.0.0/0", "::/0"},
		Template: tenant.Template{
			Quota:      tenant.Quota{CPU: "16", Memory: "64Gi", Pods: "20", Storage: "1Ti"},
			Limits:     tenant.Limits{Memory: "256Mi", CPURequest: "50m", MemoryRequest: "128Mi"},
			APIServers: []string{"10.96.0.1", "192.0.2.4"},
		},
	}
}

// tenantResources are where the objects of tenant lie.
var tenantResources = map[string]schema.GroupVersionResource{
	"Namespace":                        {Version: "v1", Resource: "namespaces"},
	"ServiceAccount":                   {Version: "v1", Resource: "serviceaccounts"},
	"ResourceQuota":                    {Version: "v1", Resource: "resourcequotas"},
	"LimitRange":                       {Version: "v1", Resource: "limitranges"},
	"NetworkPolicy":                    {Group: "networking.k8s.io", Version: "v1", Resource: "networkpolicies"},
	"PodDisruptionBudget":              {Group: "policy", Version: "v1", Resource: "poddisruptionbudgets"},
	"Role":                             {Group: rbacv1.GroupName, Version: "v1", Resource: "roles"},
	"RoleBinding":                      {Group: rbacv1.GroupName, Version: "v1", Resource: "rolebindings"},
	"ClusterRole":                      {Group: rbacv1.GroupName, Version: "v1", Resource: "clusterroles"},
	"ClusterRoleBinding":               {Group: rbacv1.GroupName, Version: "v1", Resource: "clusterrolebindings"},
	"ValidatingAdmissionPolicy":        {Group: "admissionregistration.k8s.io", Version: "v1", Resource: "validatingadmissionpolicies"},
	"ValidatingAdmissionPolicyBinding": {Group: "admissionregistration.k8s.io", Version: "v1", Resource: "validatingadmissionpolicybindings"},
}

// at is an object's place, for the administrator.
func (p *tenants) at(u *unstructured.Unstructured) dynamic.ResourceInterface {
	r := p.admin.Resource(tenantResources[u.GetKind()])
	if u.GetNamespace() != "" {
		return r.Namespace(u.GetNamespace())
	}
	return r
}

func asUnstructured(t testing.TB, o runtime.Object) *unstructured.Unstructured {
	t.Helper()
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		t.Fatal(err)
	}
	return &unstructured.Unstructured{Object: content}
}

// make makes objects as an operator or a chart does.
func (p *tenants) make(ctx context.Context, t testing.TB, objects []runtime.Object, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		u := asUnstructured(t, o)
		if _, err := p.at(u).Create(ctx, u, metav1.CreateOptions{FieldValidation: "Strict"}); err != nil {
			t.Fatalf("make %s %s: %v", u.GetKind(), u.GetName(), err)
		}
	}
}

// managing gives the spoke what it needs in the whole cluster, and waits until the API server judges by the admission policy.
func (p *tenants) managing(ctx context.Context, t testing.TB) {
	t.Helper()
	objects, err := tenant.ClusterObjects(tenant.Managing{Name: "nave-spoke-managing", SpokeNamespace: spokeNamespace, SpokeServiceAccount: spokeAccount, Prefix: "nave-"})
	p.make(ctx, t, objects, err)
	await(ctx, t, "the admission policy counts", func() bool {
		_, err := p.spoke.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "other"}}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err != nil && strings.Contains(err.Error(), "begins with nave-")
	})
}

// versions are the resource versions of what belongs into a namespace.
func (p *tenants) versions(ctx context.Context, t testing.TB, s tenant.Spec) map[string]string {
	t.Helper()
	objects, err := tenant.Objects(s)
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]string)
	for _, o := range objects {
		u := asUnstructured(t, o)
		is, err := p.at(u).Get(ctx, u.GetName(), metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		out[u.GetKind()+" "+u.GetName()] = is.GetResourceVersion()
	}
	return out
}

func (p *tenants) apply(ctx context.Context, t testing.TB, s tenant.Spec) {
	t.Helper()
	if err := p.keeper.Apply(ctx, s); err != nil {
		t.Fatal(err)
	}
}

// clean fails when Check finds anything.
func (p *tenants) clean(ctx context.Context, t testing.TB, s tenant.Spec) {
	t.Helper()
	found, err := p.keeper.Check(ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		t.Errorf("found %s", f)
	}
}

func TestASpokeManagesNamespaces(t *testing.T) {
	ctx := limited(t)
	p := newTenants(ctx, t)
	s := acmeSpec()
	if err := p.keeper.Apply(ctx, s); api.CodeOf(err) != api.CodeDenied || !strings.Contains(err.Error(), "cluster role of a spoke that manages namespaces") {
		t.Errorf("apply without rights: %v, want %s with the remedy", err, api.CodeDenied)
	}
	if found, err := p.keeper.CheckManaging(ctx, "nave-"); err != nil || len(found) != 3 || found[0].Weight != tenant.Missing || !strings.Contains(found[0].What, "may not create, get, list, patch namespaces") {
		t.Errorf("the check without rights finds %v, %v", found, err)
	}
	p.managing(ctx, t)
	await(ctx, t, "the check finds the rights", func() bool { found, err := p.keeper.CheckManaging(ctx, "nave-"); return err == nil && len(found) == 0 })
	p.apply(ctx, t, s)
	p.clean(ctx, t, s)
	found, err := p.spoke.CoreV1().Namespaces().List(ctx, metav1.ListOptions{LabelSelector: tenant.LabelCluster + "=" + s.Cluster})
	if err != nil || len(found.Items) != 1 || found.Items[0].Name != s.Namespace {
		t.Errorf("a spoke that starts again finds %d namespaces, %v; want its own", len(found.Items), err)
	}
	first := p.versions(ctx, t, s)
	p.apply(ctx, t, s)
	if diff := cmp.Diff(first, p.versions(ctx, t, s)); diff != "" {
		t.Errorf("a second apply changed something (-first +second):\n%s", diff)
	}
	t.Run("drift", func(t *testing.T) { p.drift(ctx, t, s) })
	t.Run("less", func(t *testing.T) {
		less := s
		less.Quota, less.Limits, less.EgressCIDRs = tenant.Quota{}, tenant.Limits{}, nil
		p.apply(ctx, t, less)
		for _, name := range []string{"ResourceQuota nave-session spec hard", "LimitRange nave-session spec limits", "NetworkPolicy allow-egress spec egress"} {
			f := strings.Fields(name)
			is, err := p.admin.Resource(tenantResources[f[0]]).Namespace(s.Namespace).Get(ctx, f[1], metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if v, _, _ := unstructured.NestedFieldNoCopy(is.Object, f[2:]...); v != nil && fmt.Sprint(v) != "[]" && fmt.Sprint(v) != "map[]" {
				t.Errorf("%s is left: %v", name, v)
			}
		}
		p.clean(ctx, t, less)
	})
	t.Run("refused", func(t *testing.T) { p.refused(ctx, t, s) })
	t.Run("guard", func(t *testing.T) { p.guarded(ctx, t, s) })
}

// drift damages each object and lets the spoke repair it.
func (p *tenants) drift(ctx context.Context, t *testing.T, s tenant.Spec) {
	for name, patch := range map[string]string{
		"Namespace nave-acme":           `{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"privileged","pod-security.kubernetes.io/enforce-version":"v1.25"}}}`,
		"RoleBinding nave-spoke":        `{"subjects":[{"kind":"User","name":"mallory","apiGroup":"rbac.authorization.k8s.io"}]}`,
		"NetworkPolicy default-deny":    `{"spec":{"ingress":[{}],"egress":[{}],"podSelector":{"matchLabels":{"a":"b"}},"policyTypes":["Ingress"]}}`,
		"NetworkPolicy allow-dns":       `{"spec":{"egress":[{}]}}`,
		"NetworkPolicy allow-spoke":     `{"spec":{"egress":[{}],"ingress":[{}],"policyTypes":["Ingress","Egress"]}}`,
		"NetworkPolicy allow-egress":    `{"spec":{"egress":[{"to":[{"ipBlock":{"cidr":"0.0.0.0/0"}}]}]}}`,
		"ResourceQuota nave-session":    `{"spec":{"hard":{"pods":"1000"}}}`,
		"LimitRange nave-session":       `{"spec":{"limits":[]}}`,
		"ServiceAccount nave-session":   `{"automountServiceAccountToken":true}`,
		"RoleBinding nave-spoke-tenant": "", // deleted
	} {
		t.Run(name, func(t *testing.T) {
			kind, object, _ := strings.Cut(name, " ")
			at := p.admin.Resource(tenantResources[kind]).Namespace(s.Namespace)
			if kind == "Namespace" {
				at = p.at(&unstructured.Unstructured{Object: map[string]any{"kind": kind}}).(dynamic.NamespaceableResourceInterface)
			}
			content := func() map[string]any {
				u, err := at.Get(ctx, object, metav1.GetOptions{})
				if err != nil {
					t.Fatal(err)
				}
				out := map[string]any{"labels": u.GetLabels()}
				for key, value := range u.Object {
					if key != "metadata" && key != "status" {
						out[key] = value
					}
				}
				return out
			}
			good := content()
			var err error
			if patch == "" {
				err = at.Delete(ctx, object, metav1.DeleteOptions{})
			} else {
				_, err = at.Patch(ctx, object, types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: "somebody"})
			}
			if err != nil {
				t.Fatal(err)
			}
			if patch != "" && cmp.Equal(good, content()) {
				t.Fatal("the damage changed nothing: this shows nothing")
			}
			p.apply(ctx, t, s)
			if diff := cmp.Diff(good, content()); diff != "" {
				t.Errorf("not repaired (-was +is):\n%s", diff)
			}
		})
	}
	t.Run("what others add stays", func(t *testing.T) {
		at := p.Client.CoreV1().Namespaces()
		if _, err := at.Patch(ctx, s.Namespace, types.MergePatchType, []byte(`{"metadata":{"labels":{"team":"a"},"annotations":{"note":"b"}}}`), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		p.apply(ctx, t, s)
		is, err := at.Get(ctx, s.Namespace, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if is.Labels["team"] != "a" || is.Annotations["note"] != "b" {
			t.Errorf("labels %v and annotations %v lack what others wrote", is.Labels, is.Annotations)
		}
	})
}

// refused shows the spoke namespaces that are not its own.
func (p *tenants) refused(ctx context.Context, t *testing.T, s tenant.Spec) {
	at := p.Client.CoreV1().Namespaces()
	create := func(name string, labels, annotations map[string]string) {
		t.Helper()
		if _, err := at.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels, Annotations: annotations}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	organization := map[string]string{tenant.LabelOrganization: "acme"}
	create("nave-foreign", nil, nil)
	create("nave-chart", organization, nil)
	create("nave-twin", map[string]string{tenant.LabelOrganization: "acme", tenant.LabelManagedBy: tenant.Manager, tenant.LabelCluster: "another"}, nil)
	create("nave-adopted", nil, map[string]string{tenant.AnnotationAdopt: "acme"})
	create("nave-others-adopted", nil, map[string]string{tenant.AnnotationAdopt: "other"})
	create("nave-ending", nil, map[string]string{tenant.AnnotationAdopt: "acme"})
	if err := at.Delete(ctx, "nave-ending", metav1.DeleteOptions{}); err != nil { // nobody is there to finish it
		t.Fatal(err)
	}
	for _, c := range []struct {
		organization, namespace string
		code                    api.Code
		say                     string
	}{
		{"acme", "nave-foreign", api.CodeExists, "annotation nave.dev/adopt=acme"},
		{"acme", "nave-chart", api.CodeExists, "annotation nave.dev/adopt=acme"},
		{"acme", "nave-twin", api.CodeExists, `the spoke of cluster "another"`},
		{"acme", "nave-others-adopted", api.CodeExists, "nave.dev/adopt=acme"},
		{"other", "nave-acme", api.CodeExists, `belongs to organization "acme"`},
		{"acme", "nave-ending", api.CodeUnavailable, "being deleted"},
		{"acme", "nave-system", api.CodeInvalid, "the spoke itself"},
		{"acme", "kube-system", api.CodeInvalid, "belongs to Kubernetes"},
		{"acme", "elsewhere", api.CodeDenied, "begins with nave-"},
		{"acme", "nave-adopted", "", ""},
	} {
		s := s
		s.Organization, s.Namespace = api.OrgID(c.organization), c.namespace
		before, err := at.Get(ctx, c.namespace, metav1.GetOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			t.Fatal(err)
		}
		err = p.keeper.Apply(ctx, s)
		if api.CodeOf(err) != c.code || err != nil && !strings.Contains(err.Error(), c.say) {
			t.Errorf("apply to %s for %s: %v, want %q with %q", c.namespace, c.organization, err, c.code, c.say)
		}
		after, err := at.Get(ctx, c.namespace, metav1.GetOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			t.Fatal(err)
		}
		if c.code != "" && before != nil && after != nil && before.ResourceVersion != after.ResourceVersion {
			t.Errorf("%s was refused and changed", c.namespace)
		}
	}
	s.Manage = false
	if err := p.keeper.Apply(ctx, s); api.CodeOf(err) != api.CodeInvalid || api.FieldOf(err) != "manage" {
		t.Errorf("apply where the spoke does not manage namespaces: %v", err)
	}
}

// guarded tries what a stolen credential of a spoke that manages namespaces would try.
func (p *tenants) guarded(ctx context.Context, t *testing.T, s tenant.Spec) {
	bind := func(namespace, name, role, subject string) error {
		_, err := p.spoke.RbacV1().RoleBindings(namespace).Create(ctx, &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
			Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: spokeNamespace, Name: subject}},
		}, metav1.CreateOptions{})
		return err
	}
	label := func(namespace, patch string) error {
		_, err := p.spoke.CoreV1().Namespaces().Patch(ctx, namespace, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
		return err
	}
	ours := `{"metadata":{"labels":{"app.kubernetes.io/managed-by":"nave-spoke","nave.dev/organization":"acme","pod-security.kubernetes.io/enforce":"restricted"}}}`
	tries := map[string]struct {
		try func() error
		say string
	}{
		"its role in kube-system":    {func() error { return bind("kube-system", "a", tenant.RoleSessions, spokeAccount) }, "its own namespaces only"},
		"its role in the spoke's":    {func() error { return bind(spokeNamespace, "b", tenant.RoleSessions, spokeAccount) }, "its own namespaces only"},
		"its role in a foreign one":  {func() error { return bind("nave-foreign", "c", tenant.RoleSessions, spokeAccount) }, "its own namespaces only"},
		"its role for somebody else": {func() error { return bind(s.Namespace, "d", tenant.RoleSessions, "mallory") }, "to itself"},
		"another role":               {func() error { return bind(s.Namespace, "e", "cluster-admin", spokeAccount) }, "is forbidden"},
		"labels of kube-system":      {func() error { return label("kube-system", ours) }, "begins with nave-"},
		"labels of the spoke's own":  {func() error { return label(spokeNamespace, ours) }, "is not its own"},
		"taking a foreign namespace": {func() error { return label("nave-foreign", ours) }, "gives it over"},
		"handing one over to itself": {func() error { return label("nave-foreign", `{"metadata":{"annotations":{"nave.dev/adopt":"acme"}}}`) }, "carries its labels"},
		"weaker pods": {func() error {
			return label(s.Namespace, `{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"privileged"}}}`)
		}, "restricted standard"},
		"an older standard": {func() error {
			return label(s.Namespace, `{"metadata":{"labels":{"pod-security.kubernetes.io/enforce-version":"v1.0"}}}`)
		}, "restricted standard"},
		"another organization": {func() error { return label(s.Namespace, `{"metadata":{"labels":{"nave.dev/organization":"other"}}}`) }, "gives it over"},
		"another cluster":      {func() error { return label(s.Namespace, `{"metadata":{"labels":{"nave.dev/cluster":"x"}}}`) }, "gives it over"},
		"no label": {func() error {
			return label(s.Namespace, `{"metadata":{"labels":{"app.kubernetes.io/managed-by":null}}}`)
		}, "carries its labels"},
		"deleting a namespace": {func() error { return p.spoke.CoreV1().Namespaces().Delete(ctx, s.Namespace, metav1.DeleteOptions{}) }, "cannot delete"},
		"making a role": {func() error {
			_, err := p.spoke.RbacV1().Roles(s.Namespace).Create(ctx, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "r"}}, metav1.CreateOptions{})
			return err
		}, "cannot create"},
		"policies of another namespace": {func() error {
			return p.spoke.NetworkingV1().NetworkPolicies("kube-system").Delete(ctx, "x", metav1.DeleteOptions{})
		}, "cannot delete"},
	}
	for name, c := range tries {
		if err := c.try(); err == nil || !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s: %v, want forbidden with %q", name, err, c.say)
		}
	}
	// Without the policy the first one succeeds: it is the policy that holds the spoke.
	if err := p.admin.Resource(tenantResources["ValidatingAdmissionPolicyBinding"]).Delete(ctx, "nave-spoke-managing", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	await(ctx, t, "the policy counts no more", func() bool { return tries["its role in kube-system"].try() == nil })
}

// TestTheRightsOfASpoke walks through everything that the API server has.
func TestTheRightsOfASpoke(t *testing.T) {
	ctx := limited(t)
	p := newTenants(ctx, t)
	s := acmeSpec()
	s.Manage = false
	objects, err := tenant.Objects(s)
	p.make(ctx, t, objects, err)
	await(ctx, t, "the rights are known", func() bool {
		found, err := p.keeper.Check(ctx, s)
		return err == nil && len(found) == 0
	})

	want := make(map[string]bool)
	for _, r := range tenant.Rules() {
		for _, resource := range r.Resources {
			for _, verb := range r.Verbs {
				want[verb+" "+resource] = true
			}
		}
	}
	p.namespace(ctx, t, "nobodys", "nobody")
	nobody, err := kubernetes.NewForConfig(p.as(ctx, t, "nobodys", "nobody"))
	if err != nil {
		t.Fatal(err)
	}
	everybodys, _ := p.may(ctx, t, nobody, s.Namespace) // as to read which authorities the cluster trusts
	beyond := func(namespace string) (map[string]bool, int) {
		got, asked := p.may(ctx, t, p.spoke, namespace)
		maps.DeleteFunc(got, func(right string, _ bool) bool { return everybodys[right] })
		return got, asked
	}
	got, asked := beyond(s.Namespace)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("in the namespace of sessions (-rules +allowed):\n%s", diff)
	}
	if asked < 500 {
		t.Errorf("only %d rights were asked for: this shows little", asked)
	}
	for _, namespace := range []string{spokeNamespace, "kube-system", "default", ""} {
		if got, _ := beyond(namespace); len(got) > 0 {
			t.Errorf("in namespace %q the spoke may: %v", namespace, slices.Sorted(maps.Keys(got)))
		}
	}

	t.Run("each of them works", func(t *testing.T) { p.works(ctx, t, s) })
	t.Run("others do not", func(t *testing.T) {
		core := p.spoke.CoreV1()
		pod := func(sub string) error {
			return core.RESTClient().Post().Namespace(s.Namespace).Resource("pods").Name("p").SubResource(sub).Do(ctx).Error()
		}
		_, secrets := core.Secrets(s.Namespace).List(ctx, metav1.ListOptions{})
		_, all := core.Pods("").List(ctx, metav1.ListOptions{})
		_, other := core.Pods("default").List(ctx, metav1.ListOptions{})
		_, nodes := core.Nodes().List(ctx, metav1.ListOptions{})
		_, roles := p.spoke.RbacV1().Roles(s.Namespace).List(ctx, metav1.ListOptions{})
		for name, err := range map[string]error{
			"secrets": secrets, "pods everywhere": all, "pods elsewhere": other, "nodes": nodes, "roles": roles,
			"exec": pod("exec"), "attach": pod("attach"), "port-forward": pod("portforward"),
			"tokens": core.RESTClient().Post().Namespace(s.Namespace).Resource("serviceaccounts").Name(sessionAccount).SubResource("token").Body([]byte(`{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest"}`)).Do(ctx).Error(),
		} {
			if !apierrors.IsForbidden(err) {
				t.Errorf("%s: %v, want forbidden", name, err)
			}
		}
	})
	t.Run("pod security", func(t *testing.T) {
		bad, yes := restrictedPod(s.Namespace, "bad"), true
		bad.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: &yes}
		if _, err := p.spoke.CoreV1().Pods(s.Namespace).Create(ctx, bad, metav1.CreateOptions{}); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `violates PodSecurity "restricted`) {
			t.Errorf("a privileged pod: %v", err)
		}
		if _, err := p.spoke.CoreV1().Pods(s.Namespace).Create(ctx, restrictedPod(s.Namespace, "good"), metav1.CreateOptions{}); err != nil {
			t.Errorf("a restricted pod: %v", err)
		}
	})
}

// may returns everything of the API that an account may do in a namespace, or in the whole cluster.
func (p *tenants) may(ctx context.Context, t testing.TB, who *kubernetes.Clientset, namespace string) (map[string]bool, int) {
	t.Helper()
	_, lists, err := p.Client.Discovery().ServerGroupsAndResources()
	if err != nil {
		t.Fatal(err)
	}
	out, asked := make(map[string]bool), 0
	for _, list := range lists {
		group, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range list.APIResources {
			if strings.HasPrefix(r.Name, "selfsubject") {
				continue // to ask about oneself
			}
			name, sub, _ := strings.Cut(r.Name, "/")
			verbs := append([]string{"bind", "escalate", "impersonate", "deletecollection", "update"}, r.Verbs...)
			slices.Sort(verbs)
			for _, verb := range slices.Compact(verbs) {
				asked++
				a, err := who.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
					ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: namespace, Group: group.Group, Version: group.Version, Resource: name, Subresource: sub, Verb: verb},
				}}, metav1.CreateOptions{})
				if err != nil {
					t.Fatal(err)
				}
				if a.Status.Allowed {
					out[verb+" "+r.Name] = true
				}
			}
		}
	}
	return out, asked
}

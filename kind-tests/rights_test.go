//go:build kindtests

package kindtests

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nave-dev/nave/spoke/kube/tenant"
)

// lifeVerbs are the calls of one resource, by the spoke's client.
type lifeVerbs[T any] interface {
	Create(context.Context, T, metav1.CreateOptions) (T, error)
	Get(context.Context, string, metav1.GetOptions) (T, error)
	Patch(context.Context, string, types.PatchType, []byte, metav1.PatchOptions, ...string) (T, error)
	Delete(context.Context, string, metav1.DeleteOptions) error
}

// lives goes once through the life of an object named x.
func lives[T any](ctx context.Context, client lifeVerbs[T], object T) (string, error) {
	if _, err := client.Create(ctx, object, metav1.CreateOptions{}); err != nil {
		return "create", err
	}
	if _, err := client.Get(ctx, "x", metav1.GetOptions{}); err != nil {
		return "get", err
	}
	if _, err := client.Patch(ctx, "x", types.MergePatchType, []byte(`{"metadata":{"annotations":{"a":"b"}}}`), metav1.PatchOptions{}); err != nil {
		return "patch", err
	}
	now := int64(0)
	return "delete", client.Delete(ctx, "x", metav1.DeleteOptions{GracePeriodSeconds: &now})
}

// works does everything that Rules allow.
func (p *tenants) works(ctx context.Context, t *testing.T, s tenant.Spec) {
	core, meta := p.spoke.CoreV1(), metav1.ObjectMeta{Name: "x", Namespace: s.Namespace}
	did := func(what, verb string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s %s: %v", verb, what, err)
		}
	}
	verb, err := lives(ctx, core.ConfigMaps(s.Namespace), &corev1.ConfigMap{ObjectMeta: meta})
	did("configmaps", verb, err)
	verb, err = lives(ctx, core.Pods(s.Namespace), restrictedPod(s.Namespace, "x"))
	did("pods", verb, err)
	verb, err = lives(ctx, core.PersistentVolumeClaims(s.Namespace), &corev1.PersistentVolumeClaim{ObjectMeta: meta, Spec: corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
	}})
	did("persistentvolumeclaims", verb, err)

	_, err = core.ConfigMaps(s.Namespace).List(ctx, metav1.ListOptions{})
	did("configmaps", "list", err)
	_, err = core.Pods(s.Namespace).List(ctx, metav1.ListOptions{})
	did("pods", "list", err)
	_, err = core.PersistentVolumeClaims(s.Namespace).List(ctx, metav1.ListOptions{})
	did("persistentvolumeclaims", "list", err)
	_, err = core.ResourceQuotas(s.Namespace).List(ctx, metav1.ListOptions{})
	did("resourcequotas", "list", err)
	_, err = core.ResourceQuotas(s.Namespace).Get(ctx, sessionAccount, metav1.GetOptions{})
	did("resourcequotas", "get", err)
	// There is no node that could have a log: not found, or no host yet, is an answer of who may ask.
	if err := core.Pods(s.Namespace).GetLogs("x", &corev1.PodLogOptions{}).Do(ctx).Error(); err == nil || apierrors.IsForbidden(err) {
		t.Errorf("get pods/log: %v", err)
	}
	one := int64(1)
	for what, watch := range map[string]func(context.Context, metav1.ListOptions) (interface{ Stop() }, error){
		"configmaps": func(ctx context.Context, o metav1.ListOptions) (interface{ Stop() }, error) {
			return core.ConfigMaps(s.Namespace).Watch(ctx, o)
		},
		"pods": func(ctx context.Context, o metav1.ListOptions) (interface{ Stop() }, error) {
			return core.Pods(s.Namespace).Watch(ctx, o)
		},
		"persistentvolumeclaims": func(ctx context.Context, o metav1.ListOptions) (interface{ Stop() }, error) {
			return core.PersistentVolumeClaims(s.Namespace).Watch(ctx, o)
		},
	} {
		w, err := watch(ctx, metav1.ListOptions{TimeoutSeconds: &one})
		did(what, "watch", err)
		if err == nil {
			w.Stop()
		}
	}
}

// TestTheSelfTestOfNamespaces breaks a namespace in each way and reads what the self-test says.
func TestTheSelfTestOfNamespaces(t *testing.T) {
	ctx := limited(t)
	p := newTenants(ctx, t)
	rights := p.Client.RbacV1()
	for i, c := range []struct {
		name   string
		spoil  func(t *testing.T, s *tenant.Spec) error
		weight tenant.Weight // empty: nothing is found
		say    string
		remedy string
	}{
		{"nothing", func(*testing.T, *tenant.Spec) error { return nil }, "", "", ""},
		{"no namespace", func(t *testing.T, s *tenant.Spec) error {
			s.Namespace = "nave-nowhere"
			role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "everywhere"}, Rules: tenant.Rules()}
			if _, err := rights.ClusterRoles().Create(ctx, role, metav1.CreateOptions{}); err != nil {
				return err
			}
			t.Cleanup(func() {
				_ = rights.ClusterRoleBindings().Delete(context.Background(), "everywhere", metav1.DeleteOptions{})
			})
			_, err := rights.ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
				ObjectMeta: metav1.ObjectMeta{Name: "everywhere"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "everywhere"},
				Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: spokeNamespace, Name: spokeAccount}},
			}, metav1.CreateOptions{})
			return err
		}, tenant.Missing, "does not exist", "chart"},
		{"no service account", func(_ *testing.T, s *tenant.Spec) error {
			return p.Client.CoreV1().ServiceAccounts(s.Namespace).Delete(ctx, sessionAccount, metav1.DeleteOptions{})
		}, tenant.Missing, "no service account nave-session", "chart"},
		{"no rights", func(_ *testing.T, s *tenant.Spec) error {
			return rights.RoleBindings(s.Namespace).Delete(ctx, tenant.RoleSpoke, metav1.DeleteOptions{})
		}, tenant.Missing, "has no right here", "Role nave-spoke"},
		{"one right less", func(_ *testing.T, s *tenant.Spec) error {
			_, err := rights.Roles(s.Namespace).Patch(ctx, tenant.RoleSpoke, types.JSONPatchType, []byte(`[{"op":"remove","path":"/rules/1"}]`), metav1.PatchOptions{})
			return err
		}, tenant.Missing, "may not get pods/log", "Role nave-spoke"},
		{"no right to make pods", func(_ *testing.T, s *tenant.Spec) error {
			_, err := rights.Roles(s.Namespace).Patch(ctx, tenant.RoleSpoke, types.JSONPatchType, []byte(`[{"op":"remove","path":"/rules/0/verbs/0"}]`), metav1.PatchOptions{})
			return err
		}, tenant.Missing, "may not create pods", "Role nave-spoke"},
		{"too many rights", func(_ *testing.T, s *tenant.Spec) error {
			_, err := rights.Roles(s.Namespace).Patch(ctx, tenant.RoleSpoke, types.JSONPatchType,
				[]byte(`[{"op":"add","path":"/rules/-","value":{"apiGroups":[""],"resources":["*"],"verbs":["*"]}}]`), metav1.PatchOptions{})
			return err
		}, tenant.Unsafe, "may get, list secrets", "take the right away"},
		{"no pod security", func(_ *testing.T, s *tenant.Spec) error {
			_, err := p.Client.CoreV1().Namespaces().Patch(ctx, s.Namespace, types.MergePatchType, []byte(`{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":null}}}`), metav1.PatchOptions{})
			return err
		}, tenant.Unsafe, "beyond the restricted standard", "pod-security.kubernetes.io/enforce=restricted"},
		{"a weaker standard", func(_ *testing.T, s *tenant.Spec) error {
			_, err := p.Client.CoreV1().Namespaces().Patch(ctx, s.Namespace, types.MergePatchType, []byte(`{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"baseline"}}}`), metav1.PatchOptions{})
			return err
		}, tenant.Unsafe, "beyond the restricted standard", "pod-security.kubernetes.io/enforce=restricted"},
		{"no room", func(_ *testing.T, s *tenant.Spec) error {
			quota, err := p.Client.CoreV1().ResourceQuotas(s.Namespace).Get(ctx, sessionAccount, metav1.GetOptions{})
			if err != nil {
				return err
			}
			quota.Status.Hard, quota.Status.Used = quota.Spec.Hard, quota.Spec.Hard
			_, err = p.Client.CoreV1().ResourceQuotas(s.Namespace).UpdateStatus(ctx, quota, metav1.UpdateOptions{})
			return err
		}, tenant.Unknown, "quota is used up", "raise the quota"},
		{"a pod too small", func(_ *testing.T, s *tenant.Spec) error {
			_, err := p.Client.CoreV1().LimitRanges(s.Namespace).Create(ctx, &corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Name: "own"}, Spec: corev1.LimitRangeSpec{
				Limits: []corev1.LimitRangeItem{{Type: corev1.LimitTypeContainer, Min: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("4Gi")}}},
			}}, metav1.CreateOptions{})
			return err
		}, tenant.Missing, "a restricted pod is refused", "limit of this namespace"},
		{"nobody says that policies count", func(_ *testing.T, s *tenant.Spec) error { s.PoliciesEnforced = false; return nil },
			tenant.Unknown, "nobody says that network policies are enforced", "network_policies: enforced"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := acmeSpec()
			s.Manage, s.Namespace = false, s.Namespace+"-"+string(rune('a'+i))
			objects, err := tenant.Objects(s)
			p.make(ctx, t, objects, err)
			clean := func() bool {
				found, err := p.keeper.Check(ctx, s)
				if err != nil {
					t.Fatal(err)
				}
				return len(found) == 0
			}
			await(ctx, t, "the namespace is whole", clean)
			if err := c.spoil(t, &s); err != nil {
				t.Fatal(err)
			}
			if c.weight == "" {
				return
			}
			var found []tenant.Finding
			await(ctx, t, "the self-test finds "+c.say, func() bool {
				var err error
				if found, err = p.keeper.Check(ctx, s); err != nil {
					t.Fatal(err)
				}
				for _, f := range found {
					if f.Weight == c.weight && f.Namespace == s.Namespace && strings.Contains(f.What, c.say) && strings.Contains(f.Remedy, c.remedy) {
						return true
					}
				}
				return false
			})
			for _, f := range found {
				t.Log(f)
			}
			if pods, err := p.Client.CoreV1().Pods("").List(ctx, metav1.ListOptions{}); err != nil || len(pods.Items) > 0 {
				t.Errorf("the self-test left %d pods, %v", len(pods.Items), err)
			}
		})
	}
}

//go:build kindtests

package kindtests

import (
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/nave-dev/nave/internal/testcluster"
)

// TestAControlPlaneAloneKnowsRights shows what a control plane without nodes is for.
func TestAControlPlaneAloneKnowsRights(t *testing.T) {
	ctx := limited(t)
	bin, began := programs(ctx, t), time.Now()
	bed, err := testcluster.StartControlPlane(ctx, testcluster.Config{Bin: bin, Log: logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, bed) })
	t.Logf("the control plane is ready after %v; memory in MiB: %v", time.Since(began).Round(time.Millisecond), memory(t, bed.ID))
	cluster := bed.Clusters[0]
	rights := cluster.Client.RbacV1()
	if _, err := rights.Roles("default").Create(ctx, &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Name: "reader"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"list"}}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := rights.RoleBindings("default").Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "reader"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "reader"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "ada"}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	config := rest.CopyConfig(cluster.Rest)
	config.Impersonate.UserName = "ada"
	ada, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	await(ctx, t, "the right is known", func() bool {
		_, err := ada.CoreV1().ConfigMaps("default").List(ctx, metav1.ListOptions{})
		return err == nil
	})
	if _, err := ada.CoreV1().Secrets("default").List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("listing secrets without a right: %v, want forbidden", err)
	}
}

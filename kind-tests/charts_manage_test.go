//go:build kindtests

package kindtests

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nave-dev/nave/internal/charts"
	"github.com/nave-dev/nave/internal/realpart"
	"github.com/nave-dev/nave/internal/testcluster"
)

// TestTheSpokesChartLetsItManageNamespaces: the rights and the admission policy of the chart are enough for a namespace that the spoke makes.
func TestTheSpokesChartLetsItManageNamespaces(t *testing.T) {
	helm := charts.Helm{Path: realpart.Path(t, realpart.Helm), Home: t.TempDir()}
	w := federateWith(limited(t), t, 1, (*federated).namespace)
	c := w.bed.Clusters[0]
	w.volumeOf(c)
	token, err := os.ReadFile(w.Path(c.Name + ".token"))
	w.must(err)
	_, err = c.Client.CoreV1().Secrets(namespaceOfSpoke).Create(w.ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "nave-spoke-join"}, Data: map[string][]byte{"token": token}}, metav1.CreateOptions{})
	w.must(err)
	stamp := ofTests(t)
	_, err = helm.Run(w.ctx, "install", "nave-spoke", filepath.Join("..", "charts", "nave-spoke"), "--namespace", namespaceOfSpoke, "--kubeconfig", c.Kubeconfig,
		"--set", "image.registry="+testcluster.Registry, "--set", "image.repository=nave/nave-spoke", "--set", "image.tag="+stamp.Tag(),
		"--set", "settings.harness.image.registry="+testcluster.Registry, "--set", "settings.harness.image.repository=nave/nave-harness", "--set", "settings.harness.image.tag="+stamp.Tag(),
		"--set-json", `settings.flavors={"small":{"cpu":"50m","memory":"128Mi","count":20},"medium":null,"large":null}`,
		"--set-json", `settings.namespaces={"manage":true,"organizations":{"default":null}}`, "--set-json", `settings.egress=["198.51.100.0/24"]`,
		"--set-json", `cluster={"apiServer":["10.96.0.1/32"],"ranges":["198.51.100.128/25"]}`, "--set", "sessions.quota.pods=7", "--set-json", `sessions.imagePullSecrets=[{"name":"agents"}]`)
	w.must(err)
	w.live(c)
	w.applyAt(c, "counter", imageOfAgents, "small")
	w.life(c, "counter")
	session, _ := w.signal("counter", "restart", "count")
	w.said(session, "line 1")
	first := w.spokeReady(c)
	w.must(c.Client.CoreV1().Pods(namespaceOfSpoke).Delete(w.ctx, spokePod, metav1.DeleteOptions{}))
	w.await("the spoke is another pod", func() (bool, error) { return w.spokeReady(c).UID != first.UID, nil })
	w.said(session, "done 1")
	w.sleeps(c, session)
	n, err := c.Client.CoreV1().Namespaces().Get(w.ctx, namespaceOfOrg, metav1.GetOptions{})
	w.must(err)
	if n.Labels["app.kubernetes.io/managed-by"] != "nave-spoke" || n.Labels["pod-security.kubernetes.io/enforce"] != "restricted" {
		t.Errorf("the namespace has the labels %v", n.Labels)
	}
	quota, err := c.Client.CoreV1().ResourceQuotas(namespaceOfOrg).Get(w.ctx, "nave-session", metav1.GetOptions{})
	w.must(err)
	account, err := c.Client.CoreV1().ServiceAccounts(namespaceOfOrg).Get(w.ctx, "nave-session", metav1.GetOptions{})
	w.must(err)
	egress, err := c.Client.NetworkingV1().NetworkPolicies(namespaceOfOrg).Get(w.ctx, "allow-egress", metav1.GetOptions{})
	w.must(err)
	if quota.Spec.Hard.Pods().Value() != 7 || len(account.ImagePullSecrets) != 1 || len(egress.Spec.Egress) != 1 ||
		!slices.Equal(egress.Spec.Egress[0].To[0].IPBlock.Except, []string{"198.51.100.128/25"}) {
		t.Errorf("the values did not reach the namespace: quota %v, pull secrets %v, egress %v", quota.Spec.Hard, account.ImagePullSecrets, egress.Spec.Egress)
	}
	// What a refusal of egress tells an operator to look at: `kubectl --namespace default get service/kubernetes endpointslice/kubernetes`.
	service, err := c.Client.CoreV1().Services("default").Get(w.ctx, "kubernetes", metav1.GetOptions{})
	w.must(err)
	behind, err := c.Client.DiscoveryV1().EndpointSlices("default").Get(w.ctx, "kubernetes", metav1.GetOptions{})
	w.must(err)
	if service.Spec.ClusterIP == "" || len(behind.Endpoints) == 0 || len(behind.Endpoints[0].Addresses) == 0 {
		t.Errorf("the API server has the addresses %q and %v", service.Spec.ClusterIP, behind.Endpoints)
	}
}

//go:build kindtests

package kindtests

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nave-dev/nave/internal/charts"
	"github.com/nave-dev/nave/internal/images"
	"github.com/nave-dev/nave/internal/realpart"
	"github.com/nave-dev/nave/internal/testcluster"
)

// TestTheSpokesChartJoinsACluster installs the chart as its readme says, runs a session, and upgrades and uninstalls the release while a session's pod
// runs, which lives on.
func TestTheSpokesChartJoinsACluster(t *testing.T) {
	helm := charts.Helm{Path: realpart.Path(t, realpart.Helm), Home: t.TempDir()}
	w := federateWith(limited(t), t, 1, (*federated).namespace)
	c := w.bed.Clusters[0]
	w.volumeOf(c)
	token, err := os.ReadFile(w.Path(c.Name + ".token"))
	w.must(err)
	_, err = c.Client.CoreV1().Secrets(namespaceOfSpoke).Create(w.ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "nave-spoke-join"}, Data: map[string][]byte{"token": token}}, metav1.CreateOptions{})
	w.must(err)
	run := func(args ...string) {
		t.Helper()
		_, err := helm.Run(w.ctx, append(args, "--namespace", namespaceOfSpoke, "--kubeconfig", c.Kubeconfig)...)
		w.must(err)
	}
	chart, stamp := filepath.Join("..", "charts", "nave-spoke"), ofTests(t)
	values := []string{"--set", "image.registry=" + testcluster.Registry, "--set", "image.repository=nave/nave-spoke", "--set", "image.tag=" + stamp.Tag(),
		"--set", "settings.harness.image.registry=" + testcluster.Registry, "--set", "settings.harness.image.repository=nave/nave-harness", "--set", "settings.harness.image.tag=" + stamp.Tag(),
		"--set-json", `settings.flavors={"small":{"cpu":"50m","memory":"128Mi","count":20},"medium":null,"large":null}`}
	run(append([]string{"install", "nave-spoke", chart}, values...)...)
	w.live(c)
	first := w.spokeReady(c)
	w.applyAt(c, "counter", imageOfAgents, "small")
	w.life(c, "counter")

	session, _ := w.signal("counter", "upgrade", "count")
	w.said(session, "line 1")
	pod := w.onlyPod(c, session)
	w.must(c.Client.CoreV1().Secrets(namespaceOfSpoke).Delete(w.ctx, "nave-spoke-join", metav1.DeleteOptions{})) // the token is needed once
	run(append([]string{"upgrade", "nave-spoke", chart, "--set", "settings.startLimit=7m"}, values...)...)
	w.await("the spoke is another pod", func() (bool, error) { return w.spokeReady(c).UID != first.UID, nil })
	w.live(c)
	if is := w.onlyPod(c, session); is.UID != pod.UID {
		t.Errorf("the session's pod was %s before the upgrade, and is %s", pod.UID, is.UID)
	}
	w.said(session, "done 1")
	w.sleeps(c, session)

	session, _ = w.signal("counter", "uninstall", "count")
	w.said(session, "line 1")
	pod = w.onlyPod(c, session)
	run("uninstall", "nave-spoke")
	w.await("the spoke is gone", func() (bool, error) {
		_, err := c.Client.CoreV1().Pods(namespaceOfSpoke).Get(w.ctx, spokePod, metav1.GetOptions{})
		return apierrors.IsNotFound(err), nil
	})
	if is := w.onlyPod(c, session); is.UID != pod.UID || is.DeletionTimestamp != nil {
		t.Errorf("after the release was uninstalled the session's pod is %s (%v), want %s", is.UID, is.DeletionTimestamp, pod.UID)
	}
	run(append([]string{"install", "nave-spoke", chart}, values...)...)
	w.live(c)
	w.said(session, "done 1")
	w.sleeps(c, session)
	if got := w.log(session).messages(); strings.Count(strings.Join(got, "\n"), "turn ") != 1 {
		t.Errorf("the turn was not done once:\n%s", strings.Join(got, "\n"))
	}
}

// namespace makes the one that the chart is installed in.
func (w *federated) namespace(c *testcluster.Cluster) {
	w.t.Helper()
	_, err := c.Client.CoreV1().Namespaces().Create(w.ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespaceOfSpoke,
		Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}}}, metav1.CreateOptions{})
	w.must(err)
}

// volumeOf makes a volume for whatever claim asks for one.
func (w *federated) volumeOf(c *testcluster.Cluster) {
	w.t.Helper()
	dir := filepath.Join(w.volumes, c.Name)
	w.must(os.Mkdir(dir, 0o700))
	w.must(os.Chown(dir, images.User, images.User)) // the kubelet does not change who owns such a folder
	_, err := c.Client.CoreV1().PersistentVolumes().Create(w.ctx, &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: spokeName}, Spec: corev1.PersistentVolumeSpec{
		Capacity: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("10Gi")}, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain, PersistentVolumeSource: corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: dir}},
	}}, metav1.CreateOptions{})
	w.must(err)
}

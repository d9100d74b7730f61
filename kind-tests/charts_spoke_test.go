//go:build kindtests

package kindtests

import (
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nave-dev/nave/internal/testcluster"
)

// TestTheSpokesChartJoinsACluster installs the chart as its readme says, runs a session, and upgrades and uninstalls the release while a session's pod
// runs, which lives on.
func TestTheSpokesChartJoinsACluster(t *testing.T) {
	w := federateWith(limited(t), t, 1, (*federated).namespace)
	c := w.bed.Clusters[0]
	w.volumeOf(c)
	w.joinSecret(c)
	r := spokeRelease(w.ctx, t, c)
	r.make(install)
	w.live(c)
	first := w.spokeReady(c)
	w.applyAt(c, "counter", imageOfAgents, "small")
	w.life(c, "counter")

	session, _ := w.signal("counter", "upgrade", "count")
	w.said(session, "line 1")
	pod := w.onlyPod(c, session)
	w.must(c.Client.CoreV1().Secrets(namespaceOfSpoke).Delete(w.ctx, "nave-spoke-join", metav1.DeleteOptions{})) // the token is needed once
	r.make(upgrade, "--set", "settings.startLimit=7m")
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
	r.run("uninstall", r.chart)
	w.await("the spoke is gone", func() (bool, error) {
		_, err := c.Client.CoreV1().Pods(namespaceOfSpoke).Get(w.ctx, spokePod, metav1.GetOptions{})
		return apierrors.IsNotFound(err), nil
	})
	if is := w.onlyPod(c, session); is.UID != pod.UID || is.DeletionTimestamp != nil {
		t.Errorf("after the release was uninstalled the session's pod is %s (%v), want %s", is.UID, is.DeletionTimestamp, pod.UID)
	}
	r.make(install)
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
	makeNamespace(w.ctx, w.t, c, namespaceOfSpoke, true)
}

// volumeOf makes a volume for whatever claim asks for one.
func (w *federated) volumeOf(c *testcluster.Cluster) {
	w.t.Helper()
	offerVolume(w.ctx, w.t, c, spokeName, filepath.Join(w.volumes, c.Name))
}

// joinSecret makes the secret with the join token of a cluster, as the chart's readme says.
func (w *federated) joinSecret(c *testcluster.Cluster) {
	w.t.Helper()
	_, err := c.Client.CoreV1().Secrets(namespaceOfSpoke).Create(w.ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "nave-spoke-join"},
		Data: map[string][]byte{"token": []byte(content(w.t, w.Path(c.Name+".token")))}}, metav1.CreateOptions{})
	w.must(err)
}

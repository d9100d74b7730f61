//go:build kindtests

package kindtests

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/nave-dev/nave/internal/charts"
	"github.com/nave-dev/nave/internal/federation"
	"github.com/nave-dev/nave/internal/images"
	"github.com/nave-dev/nave/internal/realpart"
	"github.com/nave-dev/nave/internal/testcluster"
)

const (
	namespaceOfHub = "nave-hub"
	nameOfHub      = "hub.c1.test" // no DNS knows it
)

// charted is a federation of two clusters of which everything was installed by the charts: the hub in the first, a spoke in the second.
type charted struct {
	*federated
	test       *testing.T
	helm       charts.Helm
	hub, spoke *testcluster.Cluster
	volume     string // folder of the hub's volume
}

// TestAFederationOfChartsAlone installs the hub's chart in one cluster and the spoke's in another, upgrades both in the middle of turns, and uninstalls
// both.
func TestAFederationOfChartsAlone(t *testing.T) {
	w := chartFederation(limited(t), t)
	hubNotes := w.installHub()
	if !strings.Contains(hubNotes, "Spokes reach this hub at "+nameOfHub+", TCP ports 30410, 30411 and 30412") || strings.Contains(hubNotes, "NO SPOKE") {
		t.Errorf("the notes of the hub:\n%s", hubNotes)
	}
	spokeNotes := w.installSpoke()
	w.applyAt(w.spoke, "counter", imageOfAgents, "small")
	w.life(w.spoke, "counter")

	w.upgradesItsHub()
	w.upgradesItsSpoke()

	everything := w.objects(w.spoke, "nave-spoke")
	w.run(w.spoke, namespaceOfSpoke, "uninstall", "nave-spoke", "--wait")
	w.leaves(w.spoke, "nave-spoke", everything, func(object string) bool {
		return object == "persistentvolumeclaims nave-system/data-nave-spoke-0" || object == "namespaces /nave-default" ||
			strings.Contains(object, " nave-default/") && !strings.HasPrefix(object, "role")
	})
	for _, args := range [][]string{{"clusters", "cordon", w.spoke.Name}, {"clusters", "delete", w.spoke.Name}} {
		_, err := w.Nave(w.ctx, args...)
		w.must(err)
	}
	w.removeAsTold(w.spoke, spokeNotes, 2)
	w.leaves(w.spoke, "nave-spoke", everything, func(string) bool { return false })

	everything = w.objects(w.hub, "nave-hub")
	w.run(w.hub, namespaceOfHub, "uninstall", "nave-hub", "--wait")
	w.leaves(w.hub, "nave-hub", everything, func(object string) bool { return object == "persistentvolumeclaims nave-hub/data-nave-hub-0" })
	w.removeAsTold(w.hub, hubNotes, 1)
	w.leaves(w.hub, "nave-hub", everything, func(string) bool { return false })
}

// chartFederation starts two clusters that have namespaces, volumes and images, and nothing of Nave.
func chartFederation(ctx context.Context, t *testing.T) *charted {
	t.Helper()
	bin, err := filepath.Abs(filepath.Join("..", "bin"))
	if err != nil {
		t.Fatal(err)
	}
	f, err := federation.New(federation.Config{Bin: bin, Dir: t.TempDir(), Show: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	volumes := t.TempDir() // goes after the clusters
	w := &charted{test: t, helm: charts.Helm{Path: realpart.Path(t, realpart.Helm), Home: t.TempDir()}, volume: filepath.Join(volumes, "hub"),
		federated: &federated{Federation: f, t: t, ctx: ctx, bed: start(ctx, t, 2), spokes: map[string]*federation.Process{}, volumes: volumes}}
	t.Cleanup(w.end)
	w.hub, w.spoke = w.bed.Clusters[0], w.bed.Clusters[1]
	w.load()
	w.loadHub()
	_, err = w.hub.Client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespaceOfHub,
		Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}}}, metav1.CreateOptions{})
	w.must(err)
	w.must(os.Mkdir(w.volume, 0o700))
	w.must(os.Chown(w.volume, images.User, images.User)) // the kubelet does not change who owns such a folder
	offerVolume(ctx, t, w.hub, w.volume)
	w.namespace(w.spoke)
	w.volumeOf(w.spoke)
	return w
}

// loadHub makes the hub's image and gives it to its node.
func (w *charted) loadHub() {
	w.t.Helper()
	i, err := images.Named("nave-hub")
	w.must(err)
	scratch, stamp := w.t.TempDir(), ofTests(w.t)
	packed, err := i.Pack(runtime.GOARCH, map[string]string{"nave-hub": w.Bin("nave-hub"), "nave-overlay": w.Bin("nave-overlay")}, stamp, scratch)
	w.must(err)
	file := filepath.Join(scratch, "nave-hub.tar")
	w.must(packed.WriteArchive(file, stamp, scratch))
	w.must(w.hub.LoadImage(w.ctx, file))
}

// run runs helm in a cluster, and returns what it says.
func (w *charted) run(c *testcluster.Cluster, namespace string, args ...string) string {
	w.t.Helper()
	out, err := w.helm.Run(w.ctx, append(args, "--namespace", namespace, "--kubeconfig", c.Kubeconfig)...)
	w.must(err)
	return string(out)
}

// release are the arguments of an installation or an upgrade.
func (w *charted) release(how, chart string, more ...string) []string {
	return append([]string{how, chart, filepath.Join(repository, "charts", chart), "--set", "image.registry=" + testcluster.Registry, "--set", "image.repository=nave/" + chart,
		"--set", "image.tag=" + ofTests(w.t).Tag()}, more...)
}

func (w *charted) upgradeHub(how string, more ...string) string {
	w.t.Helper()
	return w.run(w.hub, namespaceOfHub, w.release(how, "nave-hub", append([]string{"--set", "config.overlay.advertise=" + nameOfHub, "--set", "config.overlay.port=30410",
		"--set", "overlayService.type=NodePort", "--set", "service.type=NodePort", "--set-json", `config.api.hosts=["` + w.node() + `"]`}, more...)...)...)
}

func (w *charted) upgradeSpoke(how string, more ...string) string {
	w.t.Helper()
	stamp := ofTests(w.t)
	return w.run(w.spoke, namespaceOfSpoke, w.release(how, "nave-spoke", append([]string{"--set-json", `hostAliases=[{"ip":"` + w.node() + `","hostnames":["` + nameOfHub + `"]}]`,
		"--set", "settings.harness.image.registry=" + testcluster.Registry, "--set", "settings.harness.image.repository=nave/nave-harness", "--set", "settings.harness.image.tag=" + stamp.Tag(),
		"--set-json", `settings.flavors={"small":{"cpu":"50m","memory":"128Mi","count":20},"medium":null,"large":null}`}, more...)...)...)
}

// node is the address of the hub's node, which the test and the other cluster reach.
func (w *charted) node() string {
	w.t.Helper()
	node, err := w.hub.Client.CoreV1().Nodes().Get(w.ctx, w.hub.Node(), metav1.GetOptions{})
	w.must(err)
	for _, a := range node.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			return a.Address
		}
	}
	w.t.Fatalf("the node has no address: %v", node.Status.Addresses)
	return ""
}

// installHub installs the hub, and makes the test its administrator. It returns the notes.
func (w *charted) installHub() string {
	w.t.Helper()
	notes := w.upgradeHub("install")
	hubReady(w.ctx, w.test, w.hub, "")
	service, err := w.hub.Client.CoreV1().Services(namespaceOfHub).Get(w.ctx, "nave-hub", metav1.GetOptions{})
	w.must(err)
	at := fmt.Sprintf("https://%s:%d", w.node(), service.Spec.Ports[0].NodePort)
	_, err = w.Nave(w.ctx, "context", "set", "charts", "--address", at, "--ca-file", filepath.Join(w.volume, "data", "ca.pem"), "--token-file", filepath.Join(w.volume, "data", "admin-token"))
	w.must(err)
	w.client, err = w.Client()
	w.must(err)
	return notes
}

// installSpoke registers the second cluster, and installs the spoke with its join token. It returns the notes.
func (w *charted) installSpoke() string {
	w.t.Helper()
	w.must(w.Join(w.ctx, w.spoke.Name, "cloud="+w.spoke.Name))
	token, err := os.ReadFile(w.Path(w.spoke.Name + ".token"))
	w.must(err)
	notes := w.upgradeSpoke("install", "--set", "joinToken.value="+strings.TrimSpace(string(token)))
	w.live(w.spoke)
	w.spokeReady(w.spoke)
	return notes
}

// upgradesItsHub gives the hub another configuration in a turn: the turn goes on without it, and nothing is lost.
func (w *charted) upgradesItsHub() {
	w.t.Helper()
	former, _ := w.signal("counter", "life", "hello") // its third turn
	w.said(former, "done 3")
	w.sleeps(w.spoke, former)
	log := w.log(former).String()

	session, _ := w.signal("counter", "hub", "count")
	w.said(session, "line 1")
	was, hub := w.onlyPod(w.spoke, session), hubReady(w.ctx, w.test, w.hub, "")
	w.upgradeHub("upgrade", "--set", "config.lease=5s")
	again := hubReady(w.ctx, w.test, w.hub, string(hub.UID))
	w.live(w.spoke)
	if is := w.pods(w.spoke, session); len(is) > 0 && is[0].UID != was.UID { // it may have ended
		w.t.Errorf("the session has the pod %s, had %s", is[0].UID, was.UID)
	}
	w.said(session, "done 1")
	w.sleeps(w.spoke, session)
	w.once(session)
	inside := 0 // what the agent said while there was no hub
	for _, e := range w.log(session) {
		if at := e.GetTime().AsTime(); at.After(again.CreationTimestamp.Time) && at.Before(ready(again)) {
			inside++
		}
	}
	if w.t.Logf("while the hub was upgraded the session had %d events", inside); inside == 0 {
		w.t.Errorf("the turn was not in the upgrade:\n%s", w.log(session))
	}
	// The hub writes that the session sleeps after it says so: the former log may go on.
	if is := w.log(former).String(); log == "" || !strings.HasPrefix(is, log) {
		w.t.Errorf("the log of a session before the upgrade (-before +after):\n%s", cmp.Diff(log, is))
	}
	_, _ = w.signal("counter", "life", "hello")
	w.said(former, "done 4") // its state, too
	w.sleeps(w.spoke, former)
}

// ready is when a pod became ready.
func ready(pod *corev1.Pod) (at time.Time) {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			at = c.LastTransitionTime.Time
		}
	}
	return at
}

// upgradesItsSpoke gives the spoke other settings in a turn: the session's pod lives on.
func (w *charted) upgradesItsSpoke() {
	w.t.Helper()
	session, _ := w.signal("counter", "spoke", "count")
	w.said(session, "line 1")
	was, spoke := w.onlyPod(w.spoke, session), w.spokeReady(w.spoke)
	w.upgradeSpoke("upgrade", "--set", "settings.startLimit=7m") // without the join token, which is needed once
	w.await("the spoke is another pod", func() (bool, error) { return w.spokeReady(w.spoke).UID != spoke.UID, nil })
	if is := w.onlyPod(w.spoke, session); is.UID != was.UID {
		w.t.Errorf("the session's pod was %s before the upgrade, and is %s", was.UID, is.UID)
	}
	w.said(session, "done 1")
	w.sleeps(w.spoke, session)
	w.once(session)
}

// objects are all objects of a cluster that have the labels of a release, or of Nave, and helm's own records of it.
func (w *charted) objects(c *testcluster.Cluster, release string) []string {
	w.t.Helper()
	lists, err := c.Client.Discovery().ServerPreferredResources()
	w.must(err)
	client, err := dynamic.NewForConfig(c.Rest)
	w.must(err)
	found := map[string]bool{}
	for _, list := range lists {
		group, err := schema.ParseGroupVersion(list.GroupVersion)
		w.must(err)
		for _, r := range list.APIResources {
			// What the API server warns of: it has both in another form too.
			if !slices.Contains(r.Verbs, "list") || r.Name == "events" || r.Name == "endpoints" || r.Name == "componentstatuses" {
				continue
			}
			for _, selector := range []string{"app.kubernetes.io/instance=" + release, "app.kubernetes.io/part-of=nave", "owner=helm,name=" + release} {
				all, err := client.Resource(group.WithResource(r.Name)).List(w.ctx, metav1.ListOptions{LabelSelector: selector})
				w.must(err)
				for _, o := range all.Items {
					found[fmt.Sprintf("%s %s/%s", r.Name, o.GetNamespace(), o.GetName())] = true
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// leaves waits until of the objects of a release only those are there that are kept.
func (w *charted) leaves(c *testcluster.Cluster, release string, of []string, kept func(string) bool) {
	w.t.Helper()
	if len(of) < 8 {
		w.t.Fatalf("the release had %d objects, at least 8 are known to belong to it: %q", len(of), of)
	}
	want := slices.DeleteFunc(slices.Clone(of), func(o string) bool { return !kept(o) })
	w.t.Logf("%s had %d objects, of which %d are kept: %s", release, len(of), len(want), strings.Join(want, ", "))
	w.await("only what is kept of "+release+" is there", func() (bool, error) {
		is := w.objects(c, release)
		return slices.Equal(want, is), fmt.Errorf("(-want +got):\n%s", cmp.Diff(want, is))
	})
}

// removal are the commands by which the notes remove what is kept.
var removal = regexp.MustCompile(`(?m)^  kubectl ((?:-n \S+ )?delete (?:persistentvolumeclaim|namespace) \S+)$`)

// removeAsTold does what notes say for what is kept.
func (w *charted) removeAsTold(c *testcluster.Cluster, notes string, commands int) {
	w.t.Helper()
	found := removal.FindAllStringSubmatch(notes, -1)
	if len(found) != commands {
		w.t.Fatalf("the notes have %d commands, want %d:\n%s", len(found), commands, notes)
	}
	for _, m := range found {
		_, err := kubectl(w.ctx, w.test, c, w.helm.Home, strings.Fields(m[1]))
		w.must(err)
	}
}

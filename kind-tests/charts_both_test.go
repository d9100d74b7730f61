//go:build kindtests

package kindtests

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/nave-dev/nave/internal/federation"
	"github.com/nave-dev/nave/internal/testcluster"
)

const nameOfHub = "hub.c1.test" // no DNS knows it

// charted is a federation of two clusters of which everything was installed by the charts: the hub in the first, a spoke in the second.
type charted struct {
	*federated
	hub       *hubRelease
	spoke     *testcluster.Cluster
	installed *release // of the spoke
	joinToken string   // its
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
	w.installed.run("uninstall", "nave-spoke", "--wait")
	w.leaves(w.spoke, "nave-spoke", everything, func(object string) bool {
		return object == "persistentvolumeclaims nave-system/data-nave-spoke-0" || object == "namespaces /nave-default" ||
			strings.Contains(object, " nave-default/") && !strings.HasPrefix(object, "role")
	})
	for _, args := range [][]string{{"clusters", "cordon", w.spoke.Name}, {"clusters", "delete", w.spoke.Name}} {
		_, err := w.Nave(w.ctx, args...)
		w.must(err)
	}
	w.installed.removeAsTold(spokeNotes, 2)
	w.leaves(w.spoke, "nave-spoke", everything, func(string) bool { return false })

	everything = w.objects(w.hub.cluster, "nave-hub")
	w.hub.run("uninstall", "nave-hub", "--wait")
	w.leaves(w.hub.cluster, "nave-hub", everything, func(object string) bool { return object == "persistentvolumeclaims nave-hub/data-nave-hub-0" })
	w.hub.removeAsTold(hubNotes, 1)
	w.leaves(w.hub.cluster, "nave-hub", everything, func(string) bool { return false })
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
	w := &charted{federated: &federated{Federation: f, t: t, ctx: ctx, bed: start(ctx, t, 2), spokes: map[string]*federation.Process{}, volumes: volumes}}
	t.Cleanup(w.end)
	w.load()
	hub := w.bed.Clusters[0]
	at := addressOf(ctx, t, hub) // the test and the other cluster reach it
	w.hub = releaseHub(ctx, t, hub, true, "--set", "config.overlay.advertise="+nameOfHub, "--set", "config.overlay.port=30410", "--set", "overlayService.type=NodePort",
		"--set", "service.type=NodePort", "--set-json", `config.api.hosts=["`+at+`"]`)
	w.spoke = w.bed.Clusters[1]
	w.installed = spokeRelease(ctx, t, w.spoke, "--set-json", `hostAliases=[{"ip":"`+at+`","hostnames":["`+nameOfHub+`"]}]`)
	w.namespace(w.spoke)
	w.volumeOf(w.spoke)
	return w
}

// installHub installs the hub, and makes the test its administrator as the notes say, which also register the second cluster. It returns the notes.
func (w *charted) installHub() string {
	w.t.Helper()
	notes := w.hub.make(install)
	dir := w.hub.follow(notes, w.spoke.Name+" --label cloud="+w.spoke.Name)
	token, at := filepath.Join(dir, "admin-token"), content(w.t, dir, "nave.yaml")
	address := regexp.MustCompile(`https://\S+:[0-9]+`).FindString(at)
	_, err := w.Nave(w.ctx, "context", "set", "charts", "--address", address, "--ca-file", filepath.Join(dir, "ca.pem"), "--token-file", token)
	w.must(err)
	w.joinToken = content(w.t, dir, "join.token")
	w.client, err = w.Client()
	w.must(err)
	return notes
}

// installSpoke installs the spoke with the join token. It returns the notes.
func (w *charted) installSpoke() string {
	w.t.Helper()
	notes := w.installed.make(install, "--set", "joinToken.value="+strings.TrimSpace(w.joinToken))
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
	was, hub := w.onlyPod(w.spoke, session), w.hub.ready(nil)
	w.hub.make(upgrade, "--set", "config.lease=5s")
	again := w.hub.ready(hub)
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
	w.installed.make(upgrade, "--set", "settings.startLimit=7m") // without the join token, which is needed once
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

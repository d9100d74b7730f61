//go:build kindtests

package kindtests

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/internal/images"
	"github.com/nave-dev/nave/internal/testcluster"
	"github.com/nave-dev/nave/spoke/kube"
)

// keeperScript counts its turns in its home, which is in every checkpoint, and on a volume, which is in none. It waits in a turn that is asked
// to hold, where both have counted the same, and in one that is asked to stay until there is a file.
const keeperScript = `set -eu
in=$(cat)
more() { n=0; if [ -e "$1" ]; then n=$(cat "$1"); fi; n=$((n+1)); echo $n > "$1"; }
more "$HOME/turns"; home=$n
more /data/turns
case "$in" in
*'"payload":"hold'*) if [ $home = $n ]; then echo waits; sleep 300; fi ;;
*'"payload":"stay'*) echo stays; while [ ! -e /data/go ]; do sleep 0.1; done ;;
esac
echo "home $home data $n"
`

// TestStateOfASession follows the volumes of sessions over sleeps, through what people do to them, and to another cluster.
func TestStateOfASession(t *testing.T) {
	w := federate(limited(t), t, 2)
	for _, c := range w.bed.Clusters {
		w.disks(c, 12)
		w.inside(c, "--tidy-every", "1s")
	}
	w.live(w.bed.Clusters...)
	environment := map[string]any{"flavor": "small", "image": imageOfAgents, "volumes": []any{
		map[string]any{"name": "state", "mount": "/nave/state", "size_bytes": 1 << 20, "class": classOfVolumes},
		map[string]any{"name": "data", "mount": "/data", "size_bytes": 1 << 20, "class": classOfVolumes, "time_to_live": "1h"},
	}}
	for name, stop := range map[string]string{"keeper": "120s", "mover": "13s"} {
		w.applyIn(name, environment, map[string]any{"stop_after": stop, "harness": map[string]any{"protocol": "command", "command": []string{"/bin/sh", "-c", keeperScript}}})
	}
	t.Run("over sleeps, and by cordon", func(t *testing.T) { w.at(t).keepsItsState() })
	t.Run("by a cut", func(t *testing.T) { w.at(t).movesByACut() })
}

// disks makes volumes of folders of this machine, for there is nobody who does it when they are claimed.
func (w *federated) disks(c *testcluster.Cluster, n int) {
	w.t.Helper()
	for i := range n {
		name := fmt.Sprintf("%s-%d", c.Name, i)
		dir := filepath.Join(w.volumes, name)
		w.must(os.Mkdir(dir, 0o700))
		w.must(os.Chown(dir, images.User, images.User)) // the kubelet does not change who owns such a folder
		_, err := c.Client.CoreV1().PersistentVolumes().Create(w.ctx, &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PersistentVolumeSpec{
			Capacity: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Mi")}, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			StorageClassName: classOfVolumes, PersistentVolumeSource: corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: dir}},
		}}, metav1.CreateOptions{})
		w.must(err)
	}
}

// claim is that of a session's volume in a cluster; nil when there is none.
func (w *federated) claim(c *testcluster.Cluster, session, volume string) *corev1.PersistentVolumeClaim {
	w.t.Helper()
	v, err := c.Client.CoreV1().PersistentVolumeClaims(namespaceOfOrg).Get(w.ctx, strings.ToLower(session)+"-"+volume, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	w.must(err)
	return v
}

// folder is where a claim's volume is on this machine.
func (w *federated) folder(c *testcluster.Cluster, claim *corev1.PersistentVolumeClaim) string {
	w.t.Helper()
	v, err := c.Client.CoreV1().PersistentVolumes().Get(w.ctx, claim.Spec.VolumeName, metav1.GetOptions{})
	w.must(err)
	return v.Spec.HostPath.Path
}

// where is the cluster in which a session's last turn ended, and the other one.
func (w *federated) where(log eventLog) (here, other *testcluster.Cluster) {
	w.t.Helper()
	ends := log.of(api.EventTurnDone)
	one, two := w.bed.Clusters[0], w.bed.Clusters[1]
	switch name := ends[len(ends)-1].GetCluster(); name {
	case one.Name:
		return one, two
	case two.Name:
		return two, one
	default:
		w.t.Fatalf("the last turn ended in cluster %q", name)
		return nil, nil
	}
}

// cordon lets a session wake elsewhere.
func (w *federated) cordon(c *testcluster.Cluster, session string, to *testcluster.Cluster) {
	w.t.Helper()
	w.nave("clusters", "cordon", c.Name)
	w.await("placement knows", func() (bool, error) {
		res, err := w.client.Sessions.Explain(w.ctx, &navev1.ExplainRequest{SessionId: session, Present: true})
		closed := slices.ContainsFunc(res.GetPresent().GetCandidates(), func(x *navev1.Candidate) bool { return x.GetCluster() == c.Name && x.GetReason() != "" })
		return closed && res.GetPresent().GetCluster() == to.Name, err
	})
}

// turn takes a session through one more turn and to sleep, and says where that was. It fails unless the agent counts as wanted and the
// attempt's state is from there.
func (w *federated) turn(session, says, from string) (here, other *testcluster.Cluster) {
	w.t.Helper()
	log := w.again(session, "hello")
	here, other = w.where(log)
	w.counts(log, says, from)
	w.sleeps(here, session)
	return here, other
}

func (w *federated) counts(log eventLog, says, from string) {
	w.t.Helper()
	messages, state := log.messages(), restores(log)
	if messages[len(messages)-1] != says || state[len(state)-1] != from {
		w.t.Errorf("the agent says %q and its state is from %q, want %q and %q:\n%s", messages[len(messages)-1], state[len(state)-1], says, from, log)
	}
}

func (w *federated) keepsItsState() {
	session, _ := w.signal("keeper", "notes", "hello")
	log := w.ended(session, "[1] done")
	w.counts(log, "home 1 data 1", "empty")
	here, other := w.where(log)
	w.sleeps(here, session)
	state, data := w.claim(here, session, "state"), w.claim(here, session, "data")
	w.turn(session, "home 2 data 2", "kept")

	// The same folder without its marker, and other than it was: it is made anew of the checkpoint that lies beside it.
	folder := w.folder(here, state)
	w.must(os.WriteFile(filepath.Join(folder, "home", "turns"), []byte("40\n"), 0o600))
	w.must(os.Chown(filepath.Join(folder, "home", "turns"), images.User, images.User))
	w.must(os.Remove(w.marker(folder)))
	w.turn(session, "home 3 data 3", "local")

	// A person deletes the claim: the next one is empty, and the state is brought from the hub.
	w.must(here.Client.CoreV1().PersistentVolumeClaims(namespaceOfOrg).Delete(w.ctx, state.Name, metav1.DeleteOptions{}))
	w.await("the claim is gone", func() (bool, error) { return w.claim(here, session, "state") == nil, nil })
	w.turn(session, "home 4 data 4", "bucket")
	if is := w.claim(here, session, "state"); is == nil || is.UID == state.UID {
		w.t.Errorf("the claim of the state is %v, want another than the one that was deleted", is)
	}

	// In the other cluster. What is on a volume beside the state stays where it is.
	// The claim that it left goes when it is saved there, and not before.
	left := w.claim(here, session, "state")
	w.followed(session, here, other)
	w.nave("clusters", "uncordon", here.Name)
	w.cordon(other, session, here)
	if is, _ := w.turn(session, "home 6 data 5", "bucket"); is != here {
		w.t.Fatalf("it is in %s, want %s", is.Name, here.Name)
	}
	w.nave("clusters", "uncordon", other.Name)
	if is := w.claim(here, session, "state"); is == nil || is.UID == left.UID {
		w.t.Errorf("the claim of the state is %v, want another than the one that was left", is)
	}
	w.await("the state in "+other.Name+" goes", func() (bool, error) { return w.claim(other, session, "state") == nil, nil })
	if is := w.claim(here, session, "data"); is == nil || is.UID != data.UID {
		w.t.Errorf("the claim of the data is %v, want the first one, %s", is, data.UID)
	}

	// When it is over, its volumes go in every cluster where it was: at once, or after their time to live.
	w.nave("terminate", session, "--yes")
	for _, c := range w.bed.Clusters {
		w.await("the volumes in "+c.Name+" go", func() (bool, error) {
			state, data := w.claim(c, session, "state"), w.claim(c, session, "data")
			return state == nil && data != nil && data.Annotations["nave.dev/ended"] != "", fmt.Errorf("state: %v; data: %v", state, data)
		})
	}
}

// followed moves a session by cordon. While its first turn in the other cluster is under way, its state stays where it was, though the
// spoke there asks: of another session, that is over, it does what it hears. With the checkpoint of that turn the state goes.
func (w *federated) followed(session string, here, other *testcluster.Cluster) {
	w.t.Helper()
	w.cordon(other, session, here)
	witness, _ := w.signal("keeper", "witness", "hello")
	if is, _ := w.where(w.ended(witness, "[1] done")); is != here {
		w.t.Fatalf("the other session is in %s, want %s", is.Name, here.Name)
	}
	w.sleeps(here, witness)
	w.nave("clusters", "uncordon", other.Name)
	w.cordon(here, session, other)
	turns := w.log(session).outcomes()
	a, err := w.client.Sessions.Signal(w.ctx, &navev1.SignalRequest{Agent: "keeper", Key: "notes", Payload: []byte("stay")})
	w.must(err)
	w.said(session, "stays")
	w.nave("terminate", witness, "--yes")
	w.await("the state of what is over goes", func() (bool, error) { return w.claim(here, witness, "state") == nil, nil })
	if is := w.claim(here, session, "state"); is == nil || is.DeletionTimestamp != nil {
		w.t.Fatalf("before it is saved elsewhere the claim of its state is %v", is)
	}
	w.must(os.WriteFile(filepath.Join(w.folder(other, w.claim(other, session, "data")), "go"), nil, 0o644))
	log := w.ended(session, append(turns, fmt.Sprintf("[%d] done", a.GetSequence()))...)
	w.counts(log, "home 5 data 1", "bucket")
	if is, _ := w.where(log); is != other {
		w.t.Fatalf("it is in %s, want %s", is.Name, other.Name)
	}
	w.sleeps(other, session)
	w.await("the state in "+here.Name+" goes", func() (bool, error) { return w.claim(here, session, "state") == nil, nil })
	if w.claim(other, session, "state") == nil || w.claim(here, session, "data") == nil {
		w.t.Error("the state where it is, or what is in no checkpoint, is gone too")
	}
}

// marker is the file that says that what is on a volume is as in a checkpoint.
func (w *federated) marker(folder string) string {
	w.t.Helper()
	var found []string
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == "marker" {
			found = append(found, path)
		}
		return err
	})
	if err != nil || len(found) != 1 {
		w.t.Fatalf("markers in %s: %v (%v), want one", folder, found, err)
	}
	return found[0]
}

// movesByACut cuts a cluster off in a turn, for longer than the session's agent may act without the hub. The session goes on in the
// other one from its last checkpoint; what the pod that was cut off did to its volume is nothing that it ever begins from.
func (w *federated) movesByACut() {
	session, _ := w.signal("mover", "notes", "hello")
	log := w.ended(session, "[1] done")
	w.counts(log, "home 1 data 1", "empty")
	here, other := w.where(log)
	w.sleeps(here, session)
	if _, err := w.client.Sessions.Signal(w.ctx, &navev1.SignalRequest{Agent: "mover", Key: "notes", Payload: []byte("hold")}); err != nil {
		w.t.Fatal(err)
	}
	w.said(session, "waits")
	was := w.onlyPod(here, session)
	w.must(here.Cut(w.ctx))
	cut := time.Now()
	w.await("the hub has lost it", func() (bool, error) { return len(w.log(session).of(api.EventLost)) == 1, nil })
	w.await("the pod ends by itself", func() (bool, error) {
		_, err := here.Client.CoreV1().Pods(namespaceOfOrg).Get(w.ctx, was.Name, metav1.GetOptions{})
		return apierrors.IsNotFound(err), err
	})
	w.t.Logf("the pod is gone %v after the cut", time.Since(cut).Round(time.Millisecond))
	turns, err := os.ReadFile(filepath.Join(w.folder(here, w.claim(here, session, "state")), "home", "turns"))
	if string(turns) != "2\n" || err != nil {
		w.t.Errorf("the pod that was cut off counted %q (%v), want 2: nothing is shown by what follows", turns, err)
	}
	w.nave("clusters", "cordon", here.Name) // the hub waits for the cluster; it is not to begin there again
	w.must(here.Heal(w.ctx))
	healed := time.Now()
	w.said(session, "home 2 data 1")
	w.t.Logf("it works elsewhere %v after the cluster is heard again", time.Since(healed).Round(time.Millisecond))
	log = w.log(session)
	w.counts(log, "home 2 data 1", "bucket")
	w.sleeps(other, session)
	w.nave("clusters", "uncordon", here.Name)
	w.cordon(other, session, here)
	if _, err := w.client.Sessions.Signal(w.ctx, &navev1.SignalRequest{Agent: "mover", Key: "notes", Payload: []byte("hello")}); err != nil {
		w.t.Fatal(err)
	}
	w.said(session, "home 3 data 3") // 3 in its home by the checkpoints; on the volume the turn that was cut off counts too
	w.sleeps(here, session)
	w.nave("clusters", "uncordon", other.Name)
	log = w.log(session)
	w.counts(log, "home 3 data 3", "bucket")
	if d := cmp.Diff([]string{"home 1 data 1", "waits", "home 2 data 1", "home 3 data 3"}, log.messages()); d != "" {
		w.t.Errorf("what the agent said (-want +got):\n%s\n%s", d, log)
	}
	if v := w.claim(here, session, "state"); v == nil || v.Labels[kube.LabelVolume] != "state" {
		w.t.Errorf("the claim of the state is %v", v)
	}
}
